"""The real systems start and do what the journey needs of them, so that a failing journey is the product's fault."""

import re
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests

from tests.live.practice_platform import CLAIM, DEEP_LINKING, LEARNER, PracticePlatform, practice_platform
from tests.live.systems import Kolibri, LearningLocker, Ltijs, NotInstalled, PyLti1p3, StartFailed, Tryton

pytestmark = pytest.mark.live

TIMEOUT = 30


class TestKolibri:
    @staticmethod
    def resources(kolibri: Kolibri) -> dict[str, dict[str, Any]]:
        url = f"{kolibri.base_url}/api/public/v2/contentnode/"
        query: dict[str, str | int] = {"channel_id": kolibri.channel_id, "kind": "html5", "max_results": 50}
        answer = requests.get(url, params=query, timeout=TIMEOUT)
        answer.raise_for_status()
        return {node["title"]: node for node in answer.json()["results"]}

    def test_public_catalogue_shows_the_channel_and_its_resources(self, kolibri: Kolibri) -> None:
        channels = requests.get(f"{kolibri.base_url}/api/public/v2/channel/", timeout=TIMEOUT).json()
        assert [(channel["id"], channel["name"]) for channel in channels] == [(kolibri.channel_id, "Sales academy")]
        renewal = self.resources(kolibri)["Negotiating a renewal"]
        assert renewal["id"] == kolibri.node_ids["Negotiating a renewal"]
        assert (renewal["description"], renewal["duration"]) == ("How to defend the price when a customer renews", 300)

    def test_running_server_shows_what_was_added_changed_and_removed(self, kolibri: Kolibri) -> None:
        node_id = kolibri.add_resource("Reading a contract", "What to look for", topic="Products", duration=120)
        assert self.resources(kolibri)["Reading a contract"]["id"] == node_id
        kolibri.add_resource("Reading a contract", "What to look for first", topic="Products", duration=120)
        assert self.resources(kolibri)["Reading a contract"]["description"] == "What to look for first"
        kolibri.remove_resource("Reading a contract")
        assert "Reading a contract" not in self.resources(kolibri)
        gone = requests.get(f"{kolibri.base_url}/api/public/v2/contentnode/{node_id}/", timeout=TIMEOUT)
        assert gone.status_code == 404

    @pytest.mark.parametrize("who", ["admin", "ana", "bob"])
    def test_people_can_log_in(self, kolibri: Kolibri, who: str) -> None:
        user = {"admin": kolibri.admin, **kolibri.learners}[who]
        with requests.Session() as browser:
            browser.get(f"{kolibri.base_url}/api/auth/session/current/", timeout=TIMEOUT)
            answer = browser.post(
                f"{kolibri.base_url}/api/auth/session/",
                json={"username": user.username, "password": user.password, "facility": kolibri.facility_id},
                headers={"X-CSRFToken": browser.cookies["kolibri_csrftoken"]},
                timeout=TIMEOUT,
            )
        assert (answer.status_code, answer.json()["username"]) == (200, user.username)


class TestTryton:
    def test_opportunity_names_the_person_who_entered_it(self, tryton: Tryton) -> None:
        number = tryton.enter_opportunity("ana", description="Renewal of Umbrella Retail", amount=12000)
        fields = ["description", "amount", "create_uid.email", "party.name", "employee.party.name"]
        found = tryton.rest("GET", f"sale.opportunity/{number}", params={"f": fields})
        assert found["description"] == "Renewal of Umbrella Retail"
        assert found["amount"]["decimal"] == "12000"
        assert found["create_uid"]["email"] == "ana@example.com"
        assert (found["party"]["name"], found["employee"]["party"]["name"]) == ("Umbrella Retail", "Ana Sales")

    def test_note_and_link_left_by_a_program_are_read_back(self, tryton: Tryton) -> None:
        number = tryton.enter_opportunity("bob", description="A new shop")
        record = f"sale.opportunity,{number}"
        tryton.rest("POST", "ir.note", json={"resource": record, "message": "Before you call: two minutes on renewals"})
        link = {"resource": record, "type": "link", "name": "Negotiating a renewal", "link": "https://lms.example/r1"}
        tryton.rest("POST", "ir.attachment", json=link)
        note, attachment = tryton.notes(number)[0], tryton.attachments(number)[0]
        assert (note["message"], note["create_uid"]["login"]) == ("Before you call: two minutes on renewals", "bridge")
        assert (attachment["type"], attachment["link"]) == ("link", "https://lms.example/r1")

    def test_unknown_key_is_refused(self, tryton: Tryton) -> None:
        url = f"{tryton.base_url}/{tryton.database}/rest/model/sale.opportunity"
        assert requests.get(url, headers={"Authorization": "bearer nope"}, timeout=TIMEOUT).status_code == 401


@pytest.fixture(scope="module")
def platform(ltijs: Ltijs) -> Iterator[PracticePlatform]:
    with practice_platform() as platform:
        ltijs.register_platform(client_id=platform.client_id, **platform.endpoints)
        yield platform


@pytest.fixture
def browser() -> Iterator[requests.Session]:
    with requests.Session() as browser:
        yield browser


Launch = Callable[[dict[str, Any]], requests.Response]


@pytest.fixture
def open_tool(ltijs: Ltijs, platform: PracticePlatform, browser: requests.Session) -> Launch:
    return lambda claims: platform.launch(browser, ltijs.login_url, ltijs.launch_url, claims)


def resource_link(platform: PracticePlatform) -> dict[str, Any]:
    return {
        f"{CLAIM}message_type": "LtiResourceLinkRequest",
        f"{CLAIM}resource_link": {"id": "r1", "title": "Negotiating <a> renewal"},
        f"{CLAIM}custom": {"opportunity": "42 & more"},
        "https://purl.imsglobal.org/spec/lti-ags/claim/endpoint": {
            "scope": ["https://purl.imsglobal.org/spec/lti-ags/scope/score"],
            "lineitem": f"{platform.issuer}/items/1",
        },
        "https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice": {
            "context_memberships_url": f"{platform.issuer}/members",
            "service_versions": ["2.0"],
        },
    }


class TestLtijs:
    @staticmethod
    def ltik(page: requests.Response) -> str:
        found = re.search(r'name="ltik" value="([^"]+)"', page.text)
        assert found, page.text
        return found[1]

    def test_login_of_an_unknown_platform_is_refused(self, ltijs: Ltijs) -> None:
        hints = {"iss": "https://nobody.example", "login_hint": "1", "target_link_uri": ltijs.launch_url}
        answer = requests.get(ltijs.login_url, params=hints, timeout=TIMEOUT)
        assert (answer.status_code, answer.json()["details"]["message"]) == (400, "UNREGISTERED_PLATFORM")

    def test_registered_platform_gets_a_key_and_a_login(self, ltijs: Ltijs, platform: PracticePlatform) -> None:
        keys = requests.get(ltijs.jwks_url, timeout=TIMEOUT).json()["keys"]
        assert {key["kty"] for key in keys} == {"RSA"}
        hints = {"iss": platform.issuer, "client_id": platform.client_id, "login_hint": "1"}
        hints["target_link_uri"] = ltijs.launch_url
        answer = requests.get(ltijs.login_url, params=hints, allow_redirects=False, timeout=TIMEOUT)
        assert answer.status_code == 302
        assert answer.headers["location"].startswith(f"{platform.issuer}/auth?")

    def test_launch_shows_title_person_and_custom_parameters(
        self, open_tool: Launch, platform: PracticePlatform
    ) -> None:
        page = open_tool(resource_link(platform))
        assert page.status_code == 200
        assert "<h1>Negotiating &lt;a&gt; renewal</h1>" in page.text
        assert '<p id="person">Ana Sales</p>' in page.text
        assert "<dt>opportunity<dd>42 &amp; more" in page.text

    def test_launch_without_line_item_offers_no_score(self, open_tool: Launch) -> None:
        page = open_tool({f"{CLAIM}message_type": "LtiResourceLinkRequest", f"{CLAIM}resource_link": {"id": "r2"}})
        assert (page.status_code, "<form" in page.text) == (200, False), page.text

    def test_button_posts_a_score_with_a_token_got_by_client_credentials(
        self,
        ltijs: Ltijs,
        open_tool: Launch,
        platform: PracticePlatform,
        browser: requests.Session,
    ) -> None:
        form = {"ltik": self.ltik(open_tool(resource_link(platform))), "scoreGiven": "85"}
        sent = browser.post(f"{ltijs.base_url}/score", data=form, timeout=TIMEOUT)
        assert (sent.status_code, '<p id="sent">85 of 100</p>' in sent.text) == (200, True), sent.text
        score = platform.scores[-1]
        assert (score["userId"], score["scoreGiven"], score["scoreMaximum"]) == (LEARNER["user_id"], 85, 100)
        assert (score["activityProgress"], score["gradingProgress"]) == ("Completed", "FullyGraded")
        asked = platform.token_requests[-1]
        assert asked["grant_type"] == "client_credentials"
        key = jwt.PyJWKClient(ltijs.jwks_url).get_signing_key_from_jwt(asked["client_assertion"])
        audience = platform.endpoints["token_endpoint"]
        claims = jwt.decode(asked["client_assertion"], key, algorithms=["RS256"], audience=audience)
        assert claims["sub"] == platform.client_id

    def test_members_come_from_names_and_roles(
        self,
        ltijs: Ltijs,
        open_tool: Launch,
        platform: PracticePlatform,
        browser: requests.Session,
    ) -> None:
        query = {"ltik": self.ltik(open_tool(resource_link(platform)))}
        assert browser.get(f"{ltijs.base_url}/members", params=query, timeout=TIMEOUT).json()["members"] == [LEARNER]

    def test_chosen_item_is_sent_back_by_deep_linking(
        self,
        ltijs: Ltijs,
        open_tool: Launch,
        platform: PracticePlatform,
        browser: requests.Session,
    ) -> None:
        settings = {
            "deep_link_return_url": f"{platform.issuer}/content",
            "accept_types": ["ltiResourceLink"],
            "accept_presentation_document_targets": ["window"],
            "data": "opaque",
        }
        request = {f"{CLAIM}message_type": "LtiDeepLinkingRequest", f"{DEEP_LINKING}deep_linking_settings": settings}
        form = {"ltik": self.ltik(open_tool(request)), "item": "0"}
        page = browser.post(f"{ltijs.base_url}/choose", data=form, timeout=TIMEOUT)
        found = re.search(r'name="JWT" value="([^"]+)"', page.text)
        assert found, page.text
        key = jwt.PyJWKClient(ltijs.jwks_url).get_signing_key_from_jwt(found[1])
        claims = jwt.decode(found[1], key, algorithms=["RS256"], audience=platform.issuer)
        assert claims[f"{DEEP_LINKING}data"] == "opaque"
        assert [item["title"] for item in claims[f"{DEEP_LINKING}content_items"]] == ["Negotiating a renewal"]

    def test_tool_registers_itself_dynamically(self, ltijs: Ltijs, platform: PracticePlatform) -> None:
        query = {"openid_configuration": f"{platform.issuer}/configuration", "registration_token": "once"}
        answer = requests.get(ltijs.registration_url, params=query, timeout=TIMEOUT)
        assert (answer.status_code, "org.imsglobal.lti.close" in answer.text) == (200, True), answer.text
        registration = platform.registrations[-1]
        assert (registration["initiate_login_uri"], registration["jwks_uri"]) == (ltijs.login_url, ltijs.jwks_url)


class TestPyLti1p3:
    @pytest.fixture
    def launched(self, pylti1p3: PyLti1p3, platform: PracticePlatform, browser: requests.Session) -> requests.Response:
        pylti1p3.register_platform(client_id=platform.client_id, **platform.endpoints)
        return platform.launch(browser, pylti1p3.login_url, pylti1p3.launch_url, resource_link(platform))

    @staticmethod
    def launch(page: requests.Response) -> str:
        found = re.search(r'name="launch" value="([^"]+)"', page.text)
        assert found, page.text
        return found[1]

    def test_launch_shows_title_person_and_custom_parameters(self, launched: requests.Response) -> None:
        assert launched.status_code == 200
        assert "<h1>Negotiating &lt;a&gt; renewal</h1>" in launched.text
        assert '<p id="person">Ana Sales</p>' in launched.text
        assert "<dt>opportunity<dd>42 &amp; more" in launched.text

    def test_score_and_members_use_the_platforms_services(
        self, pylti1p3: PyLti1p3, launched: requests.Response, platform: PracticePlatform, browser: requests.Session
    ) -> None:
        form = {"launch": self.launch(launched), "points": "85"}
        sent = browser.post(f"{pylti1p3.base_url}/score", data=form, timeout=TIMEOUT)
        assert (sent.status_code, '<p id="sent">85 of 100</p>' in sent.text) == (200, True), sent.text
        score = platform.scores[-1]
        assert (score["userId"], score["scoreGiven"], score["scoreMaximum"]) == (LEARNER["user_id"], 85, 100)
        query = {"launch": self.launch(launched)}
        assert browser.get(f"{pylti1p3.base_url}/members", params=query, timeout=TIMEOUT).json()["members"] == [LEARNER]


class TestLearningLocker:
    @staticmethod
    def post(learning_locker: LearningLocker, statement: dict[str, Any]) -> requests.Response:
        return requests.post(
            f"{learning_locker.endpoint}/statements",
            json=statement,
            auth=(learning_locker.key, learning_locker.secret),
            headers={"X-Experience-API-Version": "1.0.3"},
            timeout=TIMEOUT,
        )

    @staticmethod
    def statement(verb: str) -> dict[str, Any]:
        return {
            "id": str(uuid.uuid4()),
            "actor": {"objectType": "Agent", "mbox": "mailto:ana@example.com"},
            "verb": {"id": f"http://adlnet.gov/expapi/verbs/{verb}"},
            "object": {"objectType": "Activity", "id": f"https://lms.example/{uuid.uuid4()}"},
        }

    def test_statement_is_stored_and_an_identical_resend_is_harmless(self, learning_locker: LearningLocker) -> None:
        statement = self.statement("completed")
        assert [self.post(learning_locker, statement).status_code for _ in range(2)] == [200, 200]
        found = learning_locker.statements(activity=statement["object"]["id"])
        assert [stored["id"] for stored in found] == [statement["id"]]

    def test_same_id_with_another_content_conflicts(self, learning_locker: LearningLocker) -> None:
        statement = self.statement("launched")
        self.post(learning_locker, statement)
        assert self.post(learning_locker, self.statement("passed") | {"id": statement["id"]}).status_code == 409

    def test_invalid_statement_is_refused(self, learning_locker: LearningLocker) -> None:
        answer = self.post(learning_locker, self.statement("passed") | {"actor": {"name": "nobody"}})
        assert (answer.status_code, bool(answer.json()["warnings"])) == (400, True)

    def test_query_follows_all_pages(self, learning_locker: LearningLocker) -> None:
        activity = {"object": {"id": f"https://lms.example/{uuid.uuid4()}"}}
        sent = [self.statement("experienced") | activity for _ in range(3)]
        for statement in sent:
            self.post(learning_locker, statement)
        found = learning_locker.statements(activity=activity["object"]["id"], limit="1")
        assert {statement["id"] for statement in found} == {statement["id"] for statement in sent}


def is_refused_before(deadline: float, port: int) -> bool:
    """Whether nobody listens on a port of this machine any more; what was killed may take a moment to be gone."""
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return True
        time.sleep(0.05)
    return False


class TestEverySystem:
    def test_missing_installation_names_the_command_that_helps(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FLOWBRIDGE_LIVE_DIR", str(tmp_path))
        with pytest.raises(NotInstalled, match=r"python -m tests\.live\.systems install tryton"), Tryton():
            pass

    def test_failed_start_shows_the_log_and_leaves_nothing_behind(self) -> None:
        class Broken(LearningLocker):
            def command(self) -> list[str]:
                return ["/bin/sh", "-c", "echo the disk is full; exit 3"]

        broken = Broken()
        with pytest.raises(StartFailed, match=r"(?s)ended with 3.*the disk is full"), broken:
            pass
        assert not broken.folder.exists()

    def test_exit_ends_the_whole_session(self) -> None:
        class Stubborn(LearningLocker):
            ready_path = "/"

            def command(self) -> list[str]:
                server = f"{sys.executable} -m http.server --bind 127.0.0.1 {self.port}"
                return ["/bin/sh", "-c", f"(trap '' TERM; exec {server}) & wait"]

        with Stubborn() as system:
            assert requests.get(system.base_url, timeout=TIMEOUT).ok
        assert is_refused_before(time.monotonic() + 5, system.port)

    def test_two_of_a_kind_run_side_by_side(self, learning_locker: LearningLocker) -> None:
        with LearningLocker() as other:
            TestLearningLocker.post(other, TestLearningLocker.statement("interacted"))
            assert len(other.statements()) == 1
            assert other.port != learning_locker.port
