"""The bridge as LTI 1.3 platform of real tools: one of ltijs that registers itself, and a plain one of pylti1p3."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
import requests

from tests.conftest import database, url_of
from tests.journeys.bridge_process import BridgeProcess, until
from tests.live.company import Company, company
from tests.live.systems import Ltijs, PyLti1p3
from tests.live.visitor import Browser, Page

pytestmark = pytest.mark.live

CONFIGURATION = """
connections:
  - name: plain
    connector: lti_tool
    config:
      client_id: plain-tool
      initiate_login_uri: "{tool.login_url}"
      redirect_uris: ["{tool.launch_url}"]
      target_link_uri: "{tool.launch_url}"
      jwks_uri: "{tool.jwks_url}"
      deployment_id: "7"
      send_name: true
      scopes:
        - https://purl.imsglobal.org/spec/lti-ags/scope/lineitem
        - https://purl.imsglobal.org/spec/lti-ags/scope/result.readonly
        - https://purl.imsglobal.org/spec/lti-ags/scope/score
        - https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly
      resources:
        - {{id: discounts, title: When to give a discount, custom: {{deal: $FlowBridge.event.data.customer}}}}
rules:
  - {{name: discount, on: desk.discount.asked, offer: {{asset: plain/discounts}}, say: Read this first.}}
  - {{name: renewal, on: desk.renewal.due, offer: {{search: Negotiating renewal}}, say: Practise this first.}}
  - {{name: objection, on: desk.objection.raised, offer: {{search: Handling objections}}, say: Practise this first.}}
"""


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, pylti1p3: PyLti1p3) -> Iterator[Company]:
    """A company whose bridge keeps its data in PostgreSQL and knows the plain tool from its YAML."""
    folder = tmp_path_factory.mktemp("tools")
    with database() as name:
        bridge = BridgeProcess(folder / "home", database_url=url_of(name))
        pylti1p3.register_platform(
            issuer=bridge.base_url,
            client_id="plain-tool",
            deployment_id="7",
            authorization_endpoint=f"{bridge.base_url}/lti/authorize",
            token_endpoint=f"{bridge.base_url}/lti/token",
            jwks_uri=f"{bridge.base_url}/lti/jwks",
        )
        with company(bridge, folder, CONFIGURATION.format(tool=pylti1p3)) as made:
            bridge.run("sync", "plain")
            yield made


@pytest.fixture(scope="module")
def ana() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def bob() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


def registered(office: Company, ltijs: Ltijs, name: str) -> Page:
    """The tool opens from the console and registers itself; the page on which an admin decides about it."""
    page = office.admin.click(office.console("connections"), "Connect a tool by its registration URL")
    page = office.admin.press(page, "Go on", {"name": name, "url": ltijs.registration_url})
    assert "org.imsglobal.lti.close" in office.admin.click(page, f"Open {ltijs.base_url}").html
    return office.admin.click(page, "I am done")


def choose(office: Company, connection: str, title: str, kind: str) -> Page:
    """The admin chooses an item in the tool and adds it to the catalogue."""
    page = office.admin.press(office.console(f"connections/{connection}"), "Choose content")
    page = office.admin.press(page, title)
    assert "Add this to the catalogue?" in page
    return office.admin.press(page, "Add to the catalogue", {"kind": kind})


@pytest.fixture(scope="module")
def academy(office: Company, ltijs: Ltijs) -> Ltijs:
    """The ltijs tool as the approved connection "academy", with one item chosen in it."""
    page = office.admin.press(registered(office, ltijs, "academy"), "Approve", {"send_name": "true"})
    assert "Choose content" in page
    choose(office, "academy", "Handling objections", "quiz")
    return ltijs


@pytest.fixture(scope="module")
def plain(office: Company, pylti1p3: PyLti1p3) -> PyLti1p3:
    """The pylti1p3 tool with one item chosen in it beside the one that its YAML names."""
    choose(office, "plain", "Negotiating a renewal", "quiz")
    return pylti1p3


def asked(browser: Browser, url: str, **query: str) -> Any:
    """What the tool answers in JSON, having asked the bridge."""
    answer = browser.http.get(url, params=query, timeout=30)
    assert answer.ok, answer.text
    return answer.json()


class TestSelfRegistered:
    def test_waits_for_approval(self, office: Company, ltijs: Ltijs) -> None:
        page = registered(office, ltijs, "stranger")
        assert "Approve stranger?" in page
        assert "Send scores" in page
        client = re.search(r"Client id (\S+)", page.text)
        assert client
        hints = {"iss": office.url, "client_id": client[1], "login_hint": "1", "target_link_uri": ltijs.launch_url}
        assert "waits for an admin's approval" in office.admin.open(ltijs.login_url, hints, status=400)
        assert "Choose content" not in office.console("connections/stranger")

    def test_from_the_event_to_the_statement(self, office: Company, academy: Ltijs, ana: Browser) -> None:
        event = office.happens("desk.objection.raised", "ana")
        page = office.open_prompt(ana, "ana", event)
        assert page.url.startswith(academy.base_url)
        assert "Handling objections" in page
        assert "Ana Sales" in page
        assert "resource objections" in page
        assert "90 of 100" in ana.press(page, "Complete", {"scoreGiven": "90"})
        assert_reported(office, event, 0.9)

    def test_members_page_by_page_and_results(
        self, office: Company, academy: Ltijs, ana: Browser, bob: Browser
    ) -> None:
        bobs = office.open_prompt(bob, "bob", office.happens("desk.objection.raised", "bob"))
        anas = office.open_prompt(ana, "ana", office.happens("desk.objection.raised", "ana"))
        ana.press(anas, "Complete", {"scoreGiven": "40"})
        members = asked(bob, f"{academy.base_url}/members", ltik=bobs.field("ltik"), limit="1")["members"]
        assert sorted(member["name"] for member in members) == ["Ana Sales", "Bob Project"]
        assert not any("email" in member for member in members)
        subjects = {member["name"]: member["user_id"] for member in members}
        rows = asked(bob, f"{academy.base_url}/results", ltik=bobs.field("ltik"))
        assert {row["userId"]: row["resultScore"] for row in rows}[subjects["Ana Sales"]] == 40


class TestPlain:
    def test_from_the_event_to_the_statement(self, office: Company, pylti1p3: PyLti1p3, ana: Browser) -> None:
        event = office.happens("desk.discount.asked", "ana", customer="Acme & Söhne")
        page = office.open_prompt(ana, "ana", event)
        assert page.url == pylti1p3.launch_url
        assert "When to give a discount" in page
        assert "Ana Sales" in page
        assert "deal Acme & Söhne" in page
        assert "70 of 100" in ana.press(page, "Complete", {"points": "70"})
        assert_reported(office, event, 0.7)

    def test_chosen_content_is_launched(self, office: Company, plain: PyLti1p3, ana: Browser) -> None:
        event = office.happens("desk.renewal.due", "ana")
        page = office.open_prompt(ana, "ana", event)
        assert "Negotiating a renewal" in page
        assert "resource renewal" in page
        ana.press(page, "Complete", {"points": "55"})
        assert_reported(office, event, 0.55)

    def test_members_page_by_page_and_results(
        self, office: Company, pylti1p3: PyLti1p3, ana: Browser, bob: Browser
    ) -> None:
        anas = office.open_prompt(ana, "ana", office.happens("desk.discount.asked", "ana", customer="Acme"))
        bobs = office.open_prompt(bob, "bob", office.happens("desk.discount.asked", "bob", customer="Acme"))
        bob.press(bobs, "Complete", {"points": "30"})
        launch = anas.field("launch")
        members = asked(ana, f"{pylti1p3.base_url}/members", launch=launch, limit="1")["members"]
        assert sorted(member["name"] for member in members) == ["Ana Sales", "Bob Project"]
        subjects = {member["name"]: member["user_id"] for member in members}
        results = {
            row["userId"]: row["resultScore"] for row in asked(ana, f"{pylti1p3.base_url}/results", launch=launch)
        }
        assert results[subjects["Bob Project"]] == 30


def test_keys_are_rotated_without_a_failed_launch(
    office: Company, academy: Ltijs, plain: PyLti1p3, bob: Browser
) -> None:
    def signed_by(kind: str) -> str:
        """Bob launches and completes what the tool shows him; the key that signed the launch."""
        event = office.happens(kind, "bob", customer="Acme")
        page = office.open_prompt(bob, "bob", event)
        kid = str(jwt.get_unverified_header(bob.sent["id_token"])["kid"])
        bob.press(page, "Complete")
        office.outcome(event)
        return kid

    published = {key["kid"] for key in requests.get(f"{office.url}/lti/jwks", timeout=30).json()["keys"]}
    (following,) = published - {signed_by("desk.discount.asked")}
    office.bridge.run("keys", "rotate", "--now")
    until("a launch with the new key", lambda: signed_by("desk.discount.asked") == following)
    assert signed_by("desk.objection.raised") == following


def assert_reported(office: Company, event: str, score: float) -> None:
    """The score made an outcome, and the outcome a statement about the very launch."""
    launch = office.outcome(event)
    assert (launch["score"], launch["outcomes"][0]["source"]) == (score, "ags")
    told = {record["verb"].rpartition("/")[2]: office.statement(record["id"]) for record in launch["statements"]}
    assert set(told) == {"launched", "completed"}
    assert told["completed"]["result"]["score"]["scaled"] == score
    assert told["completed"]["context"]["registration"] == launch["id"]
