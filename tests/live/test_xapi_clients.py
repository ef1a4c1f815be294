"""Real clients of an LRS against a bridge that runs: @xapi/xapi and @xapi/cmi5 from npm, and tincan's RemoteLRS."""

from __future__ import annotations

import html
import json
import re
import textwrap
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import tincan
from playwright.sync_api import Route
from tincan.documents import StateDocument

from tests.browser.chromium import chromium
from tests.journeys.bridge_process import BridgeProcess, until
from tests.live.company import Company, company
from tests.live.systems import XapiClients
from tests.live.visitor import Browser

pytestmark = pytest.mark.live

CONFIGURATION = """
connections:
  - {{name: academy, connector: academy, config: {{path: "{folder}", packages_base_url: "http://academy.example/"}}}}
people:
  - {{key: E003, name: Cleo Quotes, email: cleo@example.com, accounts: {{desk: cleo, academy: c-1}}}}
rules:
  - {{name: defend, on: desk.quote.created, offer: {{asset: academy/negotiation.zip}}, say: Defend your price.}}
"""
CMI5 = """<courseStructure xmlns="https://w3id.org/xapi/profiles/cmi5/v1/CourseStructure.xsd">
  <course id="https://learn.example/negotiation"><title><langstring lang="en">Negotiate</langstring></title>
    <description><langstring lang="en">Defend the price</langstring></description></course>
  <au id="https://learn.example/negotiation/1" moveOn="CompletedAndPassed" masteryScore="0.8"><url>start.html</url></au>
</courseStructure>"""
#: An LMS whose packages the bridge launches, and which takes what came of it; installed as anybody's connector is.
ACADEMY = """
    import json

    from bridge.connect import Manifest, Outcome, Receipt, WriteBack
    from connectors.files import Files


    class Academy(Files, WriteBack):
        manifest = Manifest(
            key="academy", name="Academy", summary="", api_docs="https://academy.example", verified="live", proof=""
        )

        def record(self, outcome: Outcome, *, idempotency_key: str) -> Receipt:
            with (self.config.path / "record.jsonl").open("a") as record:
                told = [idempotency_key, outcome.account_id, outcome.completed, outcome.success, outcome.score]
                record.write(json.dumps(told) + "\\n")
            return Receipt(idempotency_key)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the packages."""
    made: Path = tmp_path_factory.mktemp("academy")
    with zipfile.ZipFile(made / "negotiation.zip", "w") as archive:
        archive.writestr("cmi5.xml", CMI5)
    return made


@pytest.fixture(scope="module")
def office(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """A company whose catalogue is an LMS with a cmi5 course."""
    home = tmp_path_factory.mktemp("office")
    site = home / "site"
    about = site / "academy-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "academy.py").write_text(textwrap.dedent(ACADEMY))
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: academy\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[flowbridge.connectors]\nacademy = academy:Academy\n")
    bridge = BridgeProcess(home / "home")
    bridge.environment["PYTHONPATH"] = str(site)
    with company(bridge, home, CONFIGURATION.format(folder=folder)) as made:
        bridge.run("sync", "academy")
        yield made


@pytest.fixture(scope="module")
def credential(office: Company) -> tuple[str, str]:
    scopes = ("statements/write", "statements/read", "state", "profile")
    options = [word for scope in scopes for word in ("--scope", scope)]
    _, key, _, secret = office.bridge.run("credentials", "create", *options).split()
    return key, secret


@pytest.mark.parametrize("version", ["1.0.3", "2.0.0"])
def test_the_xapi_client_uses_every_resource(office: Company, credential: tuple[str, str], version: str) -> None:
    seen = XapiClients().run("client.js", f"{office.url}/xapi/", *credential, version)
    [first, second, attached] = seen["ids"]
    assert (seen["read"], seen["voided"]) == (first, second)
    assert seen["pages"] == [1, 1] and attached not in (first, second), "two of three are left when one is voided"
    assert seen["state"] == [{"slide": 1, "seen": True}, ["bookmark"], []]
    assert seen["profile"] == {"level": 2} and "habits" in seen["profiles"]
    assert (seen["person"], seen["activity"]) == ("Person", "Pricing")
    assert {"1.0.3", "2.0.0"} <= set(seen["versions"])


def lived(address: str) -> Any:
    """What the unit at that address saw, in a browser in which its own site serves it."""
    clients = XapiClients()
    files = {"start.html": '<script src="cmi5.js"></script><script src="unit.js"></script>'}
    files |= {"cmi5.js": clients.cmi5.read_text(), "unit.js": clients.unit.read_text()}

    def serve(route: Route) -> None:
        name = urlsplit(route.request.url).path.rpartition("/")[2]
        kind = "text/html" if name.endswith(".html") else "text/javascript"
        route.fulfill(body=files.get(name, ""), content_type=kind)

    # Its site is on the internet, as far as Chromium knows, and pages there may not ask this machine.
    with chromium("--disable-features=LocalNetworkAccessChecks") as browser:
        page = browser.new_page()
        page.route("http://academy.example/**", serve)
        page.goto(address)
        return page.evaluate(
            "life().catch(({config, message, response}) => ({message, url: config?.url, answer: response?.data}))"
        )


def test_a_cmi5_unit_lives_its_whole_life_from_a_prompt(office: Company, folder: Path) -> None:
    event = office.happens("desk.quote.created", "cleo")
    with Browser() as cleo:
        page = office.open_prompt(cleo, "cleo", event)
    found = re.search(r'href="(http://academy\.example/negotiation\.zip/start\.html\?[^"]*)"', page.html)
    assert found, page
    seen = lived(html.unescape(found[1]))
    [launch] = office.launches(event)
    assert seen == {
        "bookmark": {"slide": 7},
        "late": 403,
        "again": "2",
        "launchMode": "Normal",
        "moveOn": "CompletedAndPassed",
        "returnURL": f"{office.url}/launches/{launch['id']}",
    }
    assert (launch["how"], launch["success"], launch["score"]) == ("cmi5", True, 0.9)
    assert [(one["verb"], one["source"]) for one in launch["outcomes"]] == [("completed", "cmi5"), ("passed", "cmi5")]
    verbs = [one["verb"].rpartition("/")[2] for one in launch["statements"]]
    assert verbs == ["launched", "initialized", "answered", "completed", "passed", "terminated"]

    def written() -> Any:
        rows = json.loads(office.bridge.run("report", "completions", "--format", "json"))
        return next((row for row in rows if row["written_back"] == "academy: recorded"), None)

    row = until("the LMS to be told", written)
    assert (row["launch"], row["score"], row["statement"]) == (launch["id"], 0.9, launch["statements"][4]["id"])
    [told] = [json.loads(line) for line in (folder / "record.jsonl").read_text().splitlines()]
    assert told == [row["outcome"], "c-1", True, True, 0.9]


def test_tincan_writes_and_reads(office: Company, credential: tuple[str, str]) -> None:
    lrs = tincan.RemoteLRS(endpoint=f"{office.url}/xapi/", username=credential[0], password=credential[1])
    agent = tincan.Agent(account=tincan.AgentAccount(home_page="https://people.example.com", name="bob"))
    activity = tincan.Activity(id="https://learn.example.com/course/tincan")
    verb = tincan.Verb(id="http://adlnet.gov/expapi/verbs/completed")

    def done(answer: Any) -> Any:
        assert answer.success, answer.data
        return answer.content

    def statement() -> tincan.Statement:
        return tincan.Statement(actor=agent, verb=verb, object=activity, result=tincan.Result(completion=True))

    with pytest.raises(
        ValueError, match=r"2\.0\.0"
    ):  # of which tincan does not know: it asks, and can't take the answer
        lrs.about()
    one = done(lrs.save_statement(statement()))
    assert len(done(lrs.save_statements([statement(), statement()]))) == 2
    assert done(lrs.retrieve_statement(one.id)).actor.account.name == "bob"
    page = done(lrs.query_statements({"agent": agent, "limit": 2}))
    assert [len(page.statements), len(done(lrs.more_statements(page)).statements)] == [2, 1]

    done(lrs.save_state(StateDocument(id="bookmark", agent=agent, activity=activity, content="slide 3")))
    assert done(lrs.retrieve_state(activity, agent, "bookmark")).content == b"slide 3"
    assert done(lrs.retrieve_state_ids(activity, agent)) == ["bookmark"]
    done(lrs.clear_state(activity, agent))
    assert done(lrs.retrieve_state_ids(activity, agent)) == []
    # It can't make a profile, which needs If-None-Match, but change one.
    place = {"activityId": activity.id, "profileId": "hints"}
    headers = {"X-Experience-API-Version": "1.0.3", "If-None-Match": "*", "Content-Type": "text/plain"}
    made = requests.put(
        f"{office.url}/xapi/activities/profile",
        params=place,
        data=b"look",
        headers=headers,
        auth=credential,
        timeout=30,
    )
    assert made.status_code == 204, made.text
    profile = done(lrs.retrieve_activity_profile(activity, "hints"))
    profile.content = "listen"
    # Nor does it keep the ETag that came with what it read.
    read = requests.get(
        made.request.url or "", headers={"X-Experience-API-Version": "1.0.3"}, auth=credential, timeout=30
    )
    profile.etag = read.headers["ETag"]
    done(lrs.save_activity_profile(profile))
    assert done(lrs.retrieve_activity_profile(activity, "hints")).content == b"listen"
    assert done(lrs.retrieve_activity_profile_ids(activity)) == ["hints"]
    assert done(lrs.retrieve_agent_profile_ids(agent)) == []
