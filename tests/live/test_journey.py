"""The whole loop once, on real systems.

A salesperson enters an opportunity in Tryton. The bridge notices it, decides, and puts a note and a link on that very
opportunity. The link opens a Kolibri resource by LTI 1.3 in an ltijs tool, in a real browser; the score comes back, the
statement reaches Learning Locker's LRS through a Celery worker, and the report shows the row.
"""

from __future__ import annotations

import csv
import io
import re
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page

from tests.journeys.bridge_process import BridgeProcess, until
from tests.live.systems import Kolibri, LearningLocker, Ltijs, Tryton

pytestmark = pytest.mark.live

CONFIGURATION = """
connections:
  - name: kolibri
    connector: kolibri
    config: {{base_url: "{kolibri.base_url}"}}
    options: {{open_with: player}}
  - name: tryton
    connector: tryton
    config: {{base_url: "{tryton.base_url}", database: "{tryton.database}", key: "env:TRYTON_KEY",
             records: [sale.opportunity]}}
  - name: player
    connector: lti_tool
    config:
      client_id: ltijs-player
      initiate_login_uri: "{ltijs.login_url}"
      redirect_uris: ["{ltijs.launch_url}"]
      target_link_uri: "{ltijs.launch_url}"
      jwks_uri: "{ltijs.jwks_url}"
      send_name: true
  - name: learning-locker
    connector: lrs
    config: {{endpoint: "{lrs.endpoint}", key: "{lrs.key}", secret: "env:LRS_SECRET"}}
people:
  - {{key: E001, name: Ana Sales, email: ana@example.com, accounts: {{tryton: ana, kolibri: ana}}}}
rules:
  - name: big-renewals
    on: sale.opportunity.created
    when: event.data.amount > 100000
    offer: {{search: renewal}}
    say: "Before you go back to {{{{ event.data.party }}}}, take these five minutes: {{{{ asset.title }}}}."
    through: [tryton]
    limits: {{once_per: object}}
"""


@pytest.fixture(scope="module")
def bridge(
    tmp_path_factory: pytest.TempPathFactory,
    kolibri: Kolibri,
    tryton: Tryton,
    ltijs: Ltijs,
    learning_locker: LearningLocker,
) -> Iterator[BridgeProcess]:
    """The bridge, configured and synchronised the way an LMS admin does it."""
    folder = tmp_path_factory.mktemp("journey")
    made = BridgeProcess(folder / "home")
    secrets = {"TRYTON_KEY": tryton.keys["bridge"], "LRS_SECRET": learning_locker.secret}
    file = folder / "flowbridge.yaml"
    file.write_text(CONFIGURATION.format(kolibri=kolibri, tryton=tryton, ltijs=ltijs, lrs=learning_locker))
    with made.serving(**secrets):
        ltijs.register_platform(
            issuer=made.base_url,
            client_id="ltijs-player",
            authorization_endpoint=f"{made.base_url}/lti/authorize",
            token_endpoint=f"{made.base_url}/lti/token",
            jwks_uri=f"{made.base_url}/lti/jwks",
        )
        made.run("apply", str(file))
        made.run("sync", "kolibri")
        yield made


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context() as context:
        yield context.new_page()


def test_every_system_is_checked_in_words(bridge: BridgeProcess) -> None:
    for name in ("kolibri", "tryton", "player", "learning-locker"):
        assert "works" in bridge.run("check", name), name


def test_from_the_opportunity_to_the_report(
    bridge: BridgeProcess, tryton: Tryton, kolibri: Kolibri, learning_locker: LearningLocker, page: Page
) -> None:
    until("the first poll", lambda: _polled(bridge))
    opportunity = tryton.enter_opportunity("ana", description="Renewal, three years", amount=250_000)

    note = until("the note on the opportunity", lambda: tryton.notes(opportunity))[0]
    assert "take these five minutes: Negotiating a renewal" in note["message"]
    (attachment,) = until("the link on the opportunity", lambda: tryton.attachments(opportunity))
    link = attachment["link"]
    assert link.startswith(f"{bridge.base_url}/go/")

    _a_link_preview_changes_nothing(bridge, link)
    sent = _ana_opens_and_scores(bridge, page, link)
    assert "Negotiating a renewal" in sent
    assert f"{kolibri.base_url}" in sent  # the tool got the address of what it is to show

    statements = until("both statements in the LRS", lambda: _at_least(2, _of(bridge, learning_locker)))
    verbs = {statement["verb"]["id"].rsplit("/", 1)[1] for statement in statements}
    assert verbs == {"launched", "completed"}

    (row,) = until("the report's row", lambda: _delivered(bridge))
    assert (row["person"], row["rule"], row["score"]) == ("E001", "big-renewals", "0.9")
    assert row["subject"] == f"sale.opportunity,{opportunity}"
    assert row["asset"].startswith("kolibri/")
    assert {row["launch"]} == {statement["context"]["registration"] for statement in statements}
    assert row["statement"] in {statement["id"] for statement in statements}


def test_the_catalogue_is_followed(bridge: BridgeProcess, kolibri: Kolibri) -> None:
    kolibri.add_resource("Reading a balance sheet", "For account managers")
    assert "1 changed, 0 retired" in bridge.run("sync", "kolibri")
    assert "0 changed, 0 retired" in bridge.run("sync", "kolibri")
    kolibri.remove_resource("Reading a balance sheet")
    assert "0 changed, 1 retired" in bridge.run("sync", "kolibri")


def _polled(bridge: BridgeProcess) -> bool:
    """A first poll only marks the place to go on from: what is entered before it is not news."""
    with sqlite3.connect(bridge.home / "flowbridge.db") as database:
        return bool(database.execute("select count(*) from checkpoint").fetchone()[0])


def _a_link_preview_changes_nothing(bridge: BridgeProcess, link: str) -> None:
    for method in ("HEAD", "GET"):
        assert requests.request(method, link, timeout=10, headers={"User-Agent": "Slackbot-LinkExpanding"}).ok
    assert list(csv.DictReader(io.StringIO(bridge.run("report", "completions")))) == []


def _ana_opens_and_scores(bridge: BridgeProcess, page: Page, link: str) -> str:
    password = bridge.run("people", "password", "ana@example.com").split()[-1]
    page.goto(link)
    page.get_by_role("link", name="Sign in and open").click()
    page.get_by_label("E-mail address").fill("ana@example.com")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("New password").fill("a new one for the journey")
    page.get_by_role("button", name="Save and go on").click()
    page.goto(link)
    page.wait_for_url(re.compile("/launch|ltik="))
    shown = page.locator("body").inner_text()
    page.locator("[name=scoreGiven]").fill("90")
    page.locator("form button").click()
    page.locator("#sent").wait_for()
    return shown


def _of(bridge: BridgeProcess, lrs: LearningLocker) -> list[dict[str, Any]]:
    """What this bridge has stated of its people; others use the same LRS."""
    return [one for one in lrs.statements() if one["actor"].get("account", {}).get("homePage") == bridge.base_url]


def _at_least(count: int, found: Any) -> Any:
    rows = list(found)
    return rows if len(rows) >= count else None


def _delivered(bridge: BridgeProcess) -> list[dict[str, str]] | None:
    rows = list(csv.DictReader(io.StringIO(bridge.run("report", "completions", "--since", "2020-01-01"))))
    return rows if rows and rows[0]["lrs"] == "learning-locker: delivered" else None
