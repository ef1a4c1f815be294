"""The bridge registers itself at LMSs: only with an admin's ticket, only where it was asked, and only once."""

from __future__ import annotations

import html
import http.server
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import responses
from fastapi.testclient import TestClient
from sqlalchemy import select

from bridge.connect import ConnectorError
from bridge.flows import operate, register_at_platform
from bridge.flows.runtime import Runtime
from bridge.lti.tool.registration import MAX_BYTES
from bridge.settings import Settings
from bridge.store import tables
from bridge.web.app import create_app
from tests.lti.conftest import ISSUER, Office, form_of
from tests.lti.test_races import CALLERS, at_once
from tests.lti.test_registration import HTML, admin_of, page, press, row_of, token_for

LMS = "https://lms.example"
WHERE = f"{LMS}/mod/lti/openid-configuration.php"
REGISTER = f"{LMS}/mod/lti/openid-registration.php"
TOOL_CONFIGURATION = "https://purl.imsglobal.org/spec/lti-tool-configuration"
HERE = "/lti/tool/register"


def configuration(**changes: Any) -> dict[str, Any]:
    told = {
        "issuer": LMS,
        "authorization_endpoint": f"{LMS}/mod/lti/auth.php",
        "token_endpoint": f"{LMS}/mod/lti/token.php",
        "jwks_uri": f"{LMS}/mod/lti/certs.php",
        "registration_endpoint": REGISTER,
        "id_token_signing_alg_values_supported": ["RS256"],
        "https://purl.imsglobal.org/spec/lti-platform-configuration": {"product_family_code": "moodle"},
    }
    return {name: value for name, value in (told | changes).items() if value is not None}


class Lms:
    """An LMS as the bridge meets it."""

    def __init__(self, wire: responses.RequestsMock) -> None:
        self.wire = wire
        self.says(configuration())
        self.answers({"client_id": "c-1", TOOL_CONFIGURATION: {"deployment_id": "6"}})

    def says(self, told: Any) -> None:
        self.wire.upsert(responses.GET, WHERE, body=told if isinstance(told, str | bytes) else json.dumps(told))

    def answers(self, told: Any, **more: Any) -> None:
        # Moodle's answers are JSON, whatever their content type says.
        body = told if isinstance(told, str | bytes) else json.dumps(told)
        self.wire.upsert(responses.POST, REGISTER, **({"body": body, "content_type": "text/html"} | more))

    @property
    def registrations(self) -> list[Any]:
        return [call.request for call in self.wire.calls if call.request.method == "POST"]


@pytest.fixture
def lms() -> Iterator[Lms]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as wire:
        yield Lms(wire)


def ticket_for(office: Office, name: str = "moodle", url: str = LMS) -> str:
    made = register_at_platform.invite(office.runtime, name, url, admin_of(office))
    office.client.cookies.clear()  # from here on it is the LMS's window, where nobody is signed in
    return dict(parse_qsl(urlsplit(made.url).query))["ticket"]


def ask(office: Office, ticket: str, **changes: str | None) -> Any:
    """What the LMS's window opens."""
    query = {"ticket": ticket, "openid_configuration": WHERE, "registration_token": "reg-1", **changes}
    told = {name: value for name, value in query.items() if value is not None}
    return office.client.get(HERE, params=told, headers=HTML)


def confirm(office: Office, ticket: str, **changes: str | None) -> Any:
    """Ask, and press the button."""
    seen = ask(office, ticket, **changes)
    assert seen.status_code == 200, seen.text
    action, fields = form_of(seen.text)
    return office.client.post(action, data=fields, headers=HTML)


def code_of(answer: Any) -> str:
    found = re.search(r'<span class="tag warn">([^<]+)</span>', answer.text)
    assert found, answer.text
    return found[1].replace(" ", "_")


def platforms(office: Office) -> list[tables.Connection]:
    with office.runtime.db.read() as session:
        query = select(tables.Connection).where(tables.Connection.connector == "lti_platform")
        return list(session.scalars(query.order_by(tables.Connection.id)))


# the way through


def test_the_bridge_registers_itself(office: Office, lms: Lms) -> None:
    ticket = ticket_for(office)
    seen = ask(office, ticket)
    assert "Register flowbridge with lms.example?" in html.unescape(seen.text)
    assert lms.registrations == [], "a link alone changes nothing"
    done = confirm(office, ticket)
    assert done.status_code == 200
    (sent,) = lms.registrations
    assert sent.headers["authorization"] == "Bearer reg-1"
    assert sent.headers["content-type"] == "application/json"
    asked = json.loads(sent.body)
    assert asked["redirect_uris"] == [f"{ISSUER}/lti/tool/launch"]
    assert asked["initiate_login_uri"] == f"{ISSUER}/lti/tool/login"
    assert asked["jwks_uri"] == f"{ISSUER}/lti/tool/jwks"
    tool = asked[TOOL_CONFIGURATION]
    assert tool["domain"] == urlsplit(tool["target_link_uri"]).netloc, "Moodle wants them equal, port included"
    assert {message["type"] for message in tool["messages"]} == {"LtiResourceLinkRequest", "LtiDeepLinkingRequest"}
    row = row_of(office, "moodle")
    assert (row.connector, row.enabled, row.options) == ("lti_platform", True, {"self_registered": True})
    assert row.config == {
        "issuer": LMS,
        "client_id": "c-1",
        "auth_login_url": f"{LMS}/mod/lti/auth.php",
        "auth_token_url": f"{LMS}/mod/lti/token.php",
        "jwks_uri": f"{LMS}/mod/lti/certs.php",
        "deployment_ids": ["6"],
    }
    with office.runtime.db.read() as session:
        audit = session.scalars(select(tables.Audit).where(tables.Audit.action == "lti_platform.register")).one()
    assert (audit.actor, audit.detail) == ("admin", {"issuer": LMS, "pending": False})


def test_what_a_real_moodle_says_is_understood(
    office: Office, lms: Lms, recorded: Callable[[str], dict[str, Any]]
) -> None:
    moodle = "http://127.0.0.1:18080/mod/lti"
    told, reply = (
        recorded(f"moodle-platform-{name}")["response"] for name in ("02-openid-configuration", "03-registration")
    )
    lms.wire.add(responses.GET, f"{moodle}/openid-configuration.php", body=told["body"])
    lms.wire.add(responses.POST, f"{moodle}/openid-registration.php", body=reply["body"])
    ticket = ticket_for(office, url="http://127.0.0.1:18080")
    assert confirm(office, ticket, openid_configuration=f"{moodle}/openid-configuration.php").status_code == 200
    row = row_of(office, "moodle")
    assert (row.config["client_id"], row.config["deployment_ids"]) == ("mSaor4X8KZxa0U1", ["6"])
    assert row.config["auth_login_url"] == f"{moodle}/auth.php"


def test_without_a_registration_token_none_is_sent(office: Office, lms: Lms) -> None:
    assert confirm(office, ticket_for(office), registration_token=None).status_code == 200
    assert "authorization" not in lms.registrations[0].headers


def test_without_a_deployment_the_first_launch_has_to_be_approved(office: Office, lms: Lms) -> None:
    lms.answers({"client_id": "c-1"})
    done = confirm(office, ticket_for(office))
    assert "named no deployment" in done.text
    assert row_of(office, "moodle").config["deployment_ids"] == []


def test_the_window_is_closed_by_the_lms_and_nobody_else(office: Office, lms: Lms) -> None:
    ticket = ticket_for(office)
    for answer in (ask(office, ticket), confirm(office, ticket)):
        policy = answer.headers["content-security-policy"]
        assert policy.endswith(f"frame-ancestors 'self' {LMS}")
        assert "unsafe" not in policy.partition("style-src")[0]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer", "the ticket must not leave with a Referer"
    assert f'data-lms="{LMS}"' in answer.text
    script = office.client.get("/static/registered.js").text
    assert "org.imsglobal.lti.close" in script
    assert '"*"' not in script


def test_the_same_registration_twice_is_one(office: Office, lms: Lms) -> None:
    confirm(office, ticket_for(office))
    lms.says(configuration(jwks_uri=f"{LMS}/keys"))
    lms.answers({"client_id": "c-1", TOOL_CONFIGURATION: {"deployment_id": 7}})
    confirm(office, ticket_for(office, "again"))
    (row,) = platforms(office)
    assert (row.name, row.config["jwks_uri"], row.config["deployment_ids"]) == ("moodle", f"{LMS}/keys", ["6", "7"])
    lms.answers({"client_id": "c-2"})
    confirm(office, ticket_for(office, "another"))
    assert [one.name for one in platforms(office)] == ["moodle", "another"]


# an LMS that nobody named


def test_an_unexpected_lms_waits_for_an_admin(office: Office, lms: Lms) -> None:
    done = confirm(office, ticket_for(office, url="https://moodle.example"))
    assert "has to approve it first" in done.text
    row = row_of(office, "moodle")
    assert (row.enabled, row.options["pending"]) == (False, True)
    admin_of(office)
    assert LMS in page(office, "/console/peers/moodle")
    press(office, "/console/peers/moodle", "/console/peers/moodle/approve")
    row = row_of(office, "moodle")
    assert (row.enabled, "pending" in row.options) == (True, False)


def test_an_unexpected_lms_is_rejected(office: Office, lms: Lms) -> None:
    confirm(office, ticket_for(office, url="https://moodle.example"))
    admin_of(office)
    press(office, "/console/peers/moodle", "/console/peers/moodle/reject")
    assert platforms(office) == []


# the ticket


@pytest.mark.parametrize("ticket", ["", "guessed"])
def test_without_a_ticket_nobody_is_asked(office: Office, lms: Lms, ticket: str) -> None:
    ticket_for(office)
    answer = ask(office, ticket)
    assert (answer.status_code, code_of(answer)) == (401, "registration_token_unknown")
    data = {"ticket": ticket, "openid_configuration": WHERE}
    assert office.client.post(HERE, data=data, headers=HTML).status_code == 401
    assert len(lms.wire.calls) == 0, "not even its configuration is fetched"


def test_a_tools_token_is_no_ticket(office: Office, lms: Lms) -> None:
    assert code_of(ask(office, token_for(office))) == "registration_token_unknown"


def test_a_ticket_is_used_once(office: Office, lms: Lms) -> None:
    ticket = ticket_for(office)
    _, fields = form_of(ask(office, ticket).text)
    assert office.client.post(HERE, data=fields).status_code == 200
    again = office.client.post(HERE, data=fields, headers=HTML)
    assert (again.status_code, code_of(again)) == (401, "registration_token_used")
    assert code_of(ask(office, ticket)) == "registration_token_used"
    assert len(lms.registrations) == 1


def test_a_ticket_expires(office: Office, lms: Lms, expire: Callable[[Runtime, Any], None]) -> None:
    ticket = ticket_for(office)
    expire(office.runtime, tables.RegistrationTicket)
    assert code_of(ask(office, ticket)) == "registration_token_expired"


def test_one_of_many_uses_of_a_ticket_wins(either_office: Office, lms: Lms) -> None:
    _, fields = form_of(ask(either_office, ticket_for(either_office)).text)
    answers = at_once(lambda _: either_office.client.post(HERE, data=fields, headers=HTML))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 401: CALLERS - 1}
    assert len(platforms(either_office)) == len(lms.registrations) == 1


def test_a_refused_registration_can_be_tried_again(office: Office, lms: Lms) -> None:
    ticket = ticket_for(office)
    lms.answers("token_already_used <script>", status=401)
    answer = confirm(office, ticket)
    assert (answer.status_code, code_of(answer)) == (400, "registration_refused")
    assert "<script>" not in answer.text.partition("<main")[2]
    assert platforms(office) == []
    lms.answers({"client_id": "c-1"})
    assert confirm(office, ticket).status_code == 200


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ("no JSON", "answer_malformed"),
        ("[]", "answer_malformed"),
        ({}, "field_invalid"),
        ({"client_id": 7}, "field_invalid"),
        ({"client_id": ""}, "field_invalid"),
        ({"client_id": "x" * 5000}, "field_invalid"),
        ({"client_id": "c-1", "more": "x" * MAX_BYTES}, "answer_too_large"),
    ],
)
def test_an_answer_that_can_not_be_kept_is_refused(office: Office, lms: Lms, told: Any, code: str) -> None:
    lms.answers(told)
    assert code_of(confirm(office, ticket_for(office))) == code
    assert platforms(office) == []


# whose configuration it is

OTHER = "https://evil.example"
REFUSED: dict[str, tuple[Any, str]] = {
    "another issuer": (configuration(issuer=OTHER), "issuer_elsewhere"),
    "a part of the host": (configuration(issuer="https://lms.example.evil.example"), "issuer_elsewhere"),
    "another port": (configuration(issuer=f"{LMS}:8443"), "issuer_elsewhere"),
    "no issuer": (configuration(issuer=None), "address_invalid"),
    "an issuer with a query": (configuration(issuer=f"{LMS}/?a=1"), "issuer_elsewhere"),
    "no key set": (configuration(jwks_uri=None), "address_invalid"),
    "no authorization": (configuration(authorization_endpoint=None), "address_invalid"),
    "no tokens": (configuration(token_endpoint=None), "address_invalid"),
    "no registration": (configuration(registration_endpoint=None), "address_invalid"),
    "a script": (configuration(authorization_endpoint="javascript:alert(1)"), "address_invalid"),
    "no RS256": (configuration(id_token_signing_alg_values_supported=["HS256"]), "algorithm_missing"),
    "no algorithms": (configuration(id_token_signing_alg_values_supported=None), "algorithm_missing"),
    "no object": ("[1]", "answer_malformed"),
    "no JSON": ("<html>", "answer_malformed"),
    "too much": (configuration(more="x" * MAX_BYTES), "answer_too_large"),
}


def test_a_configuration_that_is_not_the_lmss_own_is_refused(office: Office, lms: Lms) -> None:
    ticket, found = ticket_for(office), {}
    for why, (told, _) in REFUSED.items():
        lms.says(told)
        found[why] = code_of(ask(office, ticket))
    assert found == {why: code for why, (_, code) in REFUSED.items()}
    assert lms.registrations == []


@pytest.mark.parametrize(
    "where", ["", "file:///etc/passwd", "https://a@lms.example/c", "//lms.example", "https://[::1"]
)
def test_a_strange_address_is_not_fetched(office: Office, lms: Lms, where: str) -> None:
    answer = ask(office, ticket_for(office), openid_configuration=where)
    assert code_of(answer) == "address_invalid"
    assert answer.headers["content-security-policy"].endswith("frame-ancestors 'self'")
    assert len(lms.wire.calls) == 0


def test_a_redirect_is_not_followed(office: Office, lms: Lms) -> None:
    lms.wire.upsert(responses.GET, WHERE, status=302, headers={"Location": "http://169.254.169.254/"})
    assert code_of(ask(office, ticket_for(office))) == "configuration_unreachable"
    assert len(lms.wire.calls) == 1


def test_a_token_with_line_breaks_is_not_sent(office: Office, lms: Lms) -> None:
    answer = confirm(office, ticket_for(office), registration_token="a\r\nX-Evil: 1")
    assert code_of(answer) == "registration_token_malformed"
    assert lms.registrations == []


@pytest.fixture
def near() -> Iterator[tuple[str, list[str]]]:
    """A server on this machine, and what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_internal_address_is_not_called(office: Office, near: tuple[str, list[str]]) -> None:
    url, asked = near
    ticket = ticket_for(office)
    office.runtime = Runtime.start(Settings.load(home=office.runtime.settings.home, base_url=ISSUER))
    office.client = TestClient(create_app(office.runtime), base_url=ISSUER)
    assert code_of(ask(office, ticket, openid_configuration=f"{url}/c")) == "configuration_unreachable"
    assert code_of(ask(office, ticket, openid_configuration="http://lms.example/c")) == "address_insecure"
    assert asked == []
    office.runtime.db.close()


def test_a_check_of_what_registered_itself_stays_outside_too(office: Office, near: tuple[str, list[str]]) -> None:
    url, asked = near
    office.add_tool("typed", "client-7", jwks=None, jwks_uri=f"{url}/keys")
    strict = Runtime.start(Settings.load(home=office.runtime.settings.home, base_url=ISSUER))
    with pytest.raises(ConnectorError):  # no key set is there, but it was asked for: an admin typed the address in
        operate.check(strict, "typed", actor="admin")
    assert asked == ["/keys"]
    with strict.db.write() as session:
        session.scalars(select(tables.Connection).where(tables.Connection.name == "typed")).one().options = {
            "self_registered": True
        }
    with pytest.raises(ConnectorError, match="private network"):
        operate.check(strict, "typed", actor="admin")
    assert asked == ["/keys"]
    strict.db.close()


# the console


def test_an_admin_gets_the_address_to_paste(office: Office, lms: Lms) -> None:
    admin_of(office)
    answer = press(office, "/console/connect/lms", "/console/connect/lms", name="moodle", url=LMS)
    found = re.search(r'<input id="url" class="mono" value="([^"]+)" readonly>', answer.text)
    assert found
    url = html.unescape(found[1])
    assert url.startswith(f"{ISSUER}/lti/tool/register?ticket=")
    ticket = dict(parse_qsl(urlsplit(url).query))["ticket"]
    assert confirm(office, ticket).status_code == 200
    done = re.search(r'href="(/console/registrations/[0-9a-f]+)" data-done', answer.text)
    assert done
    followed = office.client.get(done[1], headers=HTML)
    assert followed.url.path == "/console/peers/moodle"
    for address in ("launch", "login", "jwks"):
        assert f"{ISSUER}/lti/tool/{address}" in followed.text


@pytest.fixture
def launched_from(office: Office, lms: Lms) -> Office:
    """The bridge was launched from two deployments that nobody has approved."""
    confirm(office, ticket_for(office))
    for name in ("d-1", "d-<2>"):
        office.add(tables.LmsDeployment(connection_id=office.connection("moodle"), deployment_id=name))
    admin_of(office)
    return office


def test_an_admin_approves_a_deployment(launched_from: Office) -> None:
    office = launched_from
    assert "2 deployments" in page(office, "/console/")
    assert "d-&lt;2&gt;" in page(office, "/console/peers/moodle")
    press(office, "/console/peers/moodle", "/console/peers/moodle/trust", deployment="d-<2>")
    assert row_of(office, "moodle").config["deployment_ids"] == ["6", "d-<2>"]
    answer = press(office, "/console/peers/moodle", "/console/peers/moodle/dismiss", deployment="d-1")
    assert "is dismissed" in answer.text
    assert row_of(office, "moodle").config["deployment_ids"] == ["6", "d-<2>"]
    with office.runtime.db.read() as session:
        assert session.scalars(select(tables.LmsDeployment)).all() == []
        actions = session.scalars(select(tables.Audit.action).order_by(tables.Audit.id)).all()
    assert actions[-2:] == ["lti_platform.trust", "lti_platform.dismiss"]


def test_only_a_deployment_that_waits_is_approved(launched_from: Office) -> None:
    answer = press(launched_from, "/console/peers/moodle", "/console/peers/moodle/trust", deployment="made-up")
    assert answer.status_code == 404
    assert row_of(launched_from, "moodle").config["deployment_ids"] == ["6"]
