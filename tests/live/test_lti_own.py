"""Both LTI roles at once: a bridge whose company launches content from the bridge of another one, its academy.

Each has a host name of its own, so that they are different sites in a browser.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import jwt
import pytest

from tests.journeys.bridge_process import BridgeProcess, until
from tests.live.company import Company, company
from tests.live.visitor import Browser, Page

pytestmark = pytest.mark.live

OFFICE = """
people:
  - {key: E003, name: Ana Twin, email: ana@example.com, accounts: {desk: twin}}
rules:
  - {name: renewal, on: desk.renewal.due, offer: {search: renewal talk}, say: Tick these first.}
  - {name: objection, on: desk.objection.raised, offer: {search: objections}, say: Read this first.}
  - {name: contract, on: desk.contract.drafted, offer: {search: contract}, say: Read this first.}
"""
ACADEMY = """
connections:
  - {{name: guides, connector: files, config: {{path: "{folder}"}}}}
"""
HELP = {
    "Before a renewal talk": ("checklist", "- [ ] Know the price\n- [ ] Know the users\n"),
    "Five objections": ("guide", "Let the customer finish.\n"),
    "Reading a contract": ("guide", "Begin with the end of it.\n"),
}


@pytest.fixture(scope="module")
def companies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Company, Company]]:
    """The office, whose bridge launches, and the academy, whose bridge is launched; started side by side."""
    folder = tmp_path_factory.mktemp("own")
    homes = [folder / name for name in ("office", "academy", "guides")]
    for home in homes:
        home.mkdir()
    office, academy, guides = homes
    for title, (kind, text) in HELP.items():
        (guides / f"{title}.md").write_text(f"---\ntitle: {title}\nkind: {kind}\n---\n{text}")
    bridges = BridgeProcess(office / "home"), BridgeProcess(academy / "home", known_as="localhost")
    with ExitStack() as running, ThreadPoolExecutor() as pool:
        starting = (
            pool.submit(running.enter_context, company(bridges[0], office, OFFICE)),
            pool.submit(running.enter_context, company(bridges[1], academy, ACADEMY.format(folder=guides))),
        )
        yield starting[0].result(), starting[1].result()


@pytest.fixture(scope="module")
def academy(companies: tuple[Company, Company]) -> Company:
    until("the guides", lambda: len(companies[1].get("assets")["assets"]) == len(HELP))
    return companies[1]


@pytest.fixture(scope="module")
def office(companies: tuple[Company, Company], academy: Company) -> Company:
    """The academy is registered and approved there, and its content chosen."""
    office = companies[0]
    page = registered(office, academy)
    page = office.admin.press(page, "Approve", {"send_name": "true", "send_email": "true"})
    for title, (kind, _) in HELP.items():
        page = office.admin.press(page, "Choose content")
        page = office.admin.press(page, "Place in course", page.box(title))
        page = office.admin.press(page, "Add to the catalogue", {"kind": kind})
    return office


def registered(office: Company, academy: Company) -> Page:
    """The academy's admin makes its registration URL, the office's admin opens it; the page that asks for approval."""
    page = academy.admin.click(academy.console("connections"), "Connect an LMS")
    page = academy.admin.press(page, "Go on", {"name": "office", "url": office.url})
    invitation = re.search(re.escape(academy.url) + r"/lti/tool/register[^\"<\s]+", page.html)
    assert invitation
    page = office.admin.click(office.console("connections"), "Connect a tool by its registration URL")
    page = office.admin.press(page, "Go on", {"name": "academy", "url": invitation[0]})
    asked = office.admin.click(page, f"Open {academy.url}")
    assert "flowbridge is registered" in office.admin.press(asked, "Register")
    return office.admin.click(page, "I am done")


def opened(office: Company, browser: Browser, account: str, kind: str) -> tuple[str, str, Page]:
    """A person opens the prompt of a new event; the event, their name in the launch, and where they got to."""
    event = office.happens(kind, account)
    page = office.open_prompt(browser, account, event)
    claims = jwt.decode(browser.sent["id_token"], options={"verify_signature": False})
    return event, claims["sub"], page


def people(academy: Company) -> dict[str, tuple[str, str]]:
    """Who has an account of the office in the academy: name and key, by the account."""
    query = "select subject, name, key from account join person on person.id = person_id where issuer = 'office'"
    with closing(sqlite3.connect(academy.bridge.home / "flowbridge.db")) as database:
        return {subject: (name, key) for subject, name, key in database.execute(query)}


def tick(browser: Browser, page: Page) -> None:
    """Tick every step, as the page's script does."""
    for step in re.findall(r'<input[^>]* data-step="([^"]+)"', page.html):
        form = {"csrf": page.field("csrf"), "done": "true"}
        assert browser.http.post(f"{page.url}/steps/{step}", data=form, timeout=30).ok


def test_what_is_finished_there_is_recorded_here(office: Company, academy: Company) -> None:
    with Browser() as ana:
        event, subject, page = opened(office, ana, "ana", "desk.renewal.due")
        assert page.url.startswith(f"{academy.url}/launches/")
        assert "Before a renewal talk" in page
        assert people(academy)[subject] == ("Ana Sales", f"office:{subject}")
        tick(ana, page)
        assert "Completed" in ana.press(page, "All done")
    launch = office.outcome(event)
    assert (launch["score"], launch["outcomes"][0]["source"]) == (1.0, "ags")
    told = {record["verb"].rpartition("/")[2]: office.statement(record["id"]) for record in launch["statements"]}
    assert told["completed"]["context"]["registration"] == launch["id"]
    (prompt,) = (one for one in academy.get("prompts")["prompts"] if one["asset_title"] == "Before a renewal talk")
    assert prompt["person"] == f"office:{subject}"
    assert academy.outcome(prompt["event_id"])["outcomes"][0]["source"] == "checklist"


def test_account_decides_who_somebody_is_and_not_the_address(office: Company, academy: Company) -> None:
    with Browser() as first, Browser() as second:
        ana = opened(office, first, "ana", "desk.objection.raised")[1]
        twin = opened(office, second, "twin", "desk.objection.raised")[1]
    known = people(academy)
    assert (known[ana], known[twin]) == (("Ana Sales", f"office:{ana}"), ("Ana Twin", f"office:{twin}"))


def test_members_are_known_before_they_come(office: Company, academy: Company) -> None:
    with Browser() as browser:
        browser.leaves_at = f"{academy.url}/lti/tool/launch"
        left = office.open_prompt(browser, "bob", office.happens("desk.contract.drafted", "bob"))
        bob = jwt.decode(left.field("id_token"), options={"verify_signature": False})["sub"]
    assert bob not in people(academy)
    with Browser() as ana:
        opened(office, ana, "ana", "desk.contract.drafted")
    until("Bob in the academy", lambda: people(academy).get(bob))
    assert people(academy)[bob] == ("Bob Project", f"office:{bob}")
