"""Tools register themselves: what is taken, what is refused, and that nothing works before an admin approves it."""

from __future__ import annotations

import html
import json
import re
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml
from fastapi.testclient import TestClient
from sqlalchemy import select

from bridge.documents import DocumentError
from bridge.flows import configure, identity, register_tool
from bridge.flows.runtime import Runtime
from bridge.lti.platform import authorize
from bridge.lti.platform.registration import MAX_BYTES
from bridge.settings import Settings
from bridge.store import tables
from bridge.web.app import create_app
from tests.lti.conftest import CLAIM, ISSUER, LINE_ITEM, READ, RESULT, SCORE, TOOL, Office, form_of, jwk
from tests.lti.test_races import CALLERS, at_once, count

CONFIGURATION = "https://purl.imsglobal.org/spec/lti-tool-configuration"
MEMBERS = "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly"
AT = "http://127.0.0.1:19400"
HTML = {"accept": "text/html"}


def request(at: str = AT, **changes: Any) -> dict[str, Any]:
    """What a well-behaved tool asks; a change to None takes a member out."""
    asked: dict[str, Any] = {
        "application_type": "web",
        "response_types": ["id_token"],
        "grant_types": ["implicit", "client_credentials"],
        "client_name": "Academy",
        "initiate_login_uri": f"{at}/login?id=7",
        "redirect_uris": [f"{at}/launch"],
        "jwks_uri": f"{at}/keys",
        "token_endpoint_auth_method": "private_key_jwt",
        "scope": f"{LINE_ITEM} {SCORE}",
    }
    tool: dict[str, Any] = {
        "domain": urlsplit(at).netloc,
        "description": "Learning",
        "target_link_uri": f"{at}/open",
        "custom_parameters": {"level": "2", "about": "$FlowBridge.event.data.customer"},
        "claims": ["iss", "sub", "name", "email", "phone"],
        "messages": [
            {"type": "LtiResourceLinkRequest"},
            {"type": "LtiDeepLinkingRequest", "target_link_uri": f"{at}/choose", "label": "Choose"},
            {"type": "LtiSomethingElse"},
        ],
    }
    for name, value in changes.items():
        (tool if name in tool else asked)[name] = value
    told = {name: value for name, value in tool.items() if value is not None}
    return {name: value for name, value in asked.items() if value is not None} | {CONFIGURATION: told}


def admin_of(office: Office) -> identity.SignedIn:
    """The admin of the first start, with a password of their own, whose browser the client is from now on."""
    with office.runtime.db.write() as session:
        row = session.scalars(select(tables.Person).where(tables.Person.role == "admin")).one()
        row.password_once = False
    token = office.sign_in(row.key)
    found = identity.session(office.runtime, token)
    assert found is not None
    return found


def token_for(office: Office, name: str = "academy", url: str = f"{AT}/register?id=1") -> str:
    """The registration token of a ticket that an admin makes."""
    begun = register_tool.begin(office.runtime, name, url, admin_of(office))
    return dict(parse_qsl(urlsplit(begun.url).query))["registration_token"]


def send(office: Office, token: str, body: Any, **headers: str) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    told = {"authorization": f"Bearer {token}", "content-type": "application/json", **headers}
    return office.client.post("/lti/register", content=content, headers=told)


def refused(answer: Any, code: str, status: int = 400) -> None:
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert told["error"] == code or told["error_description"].endswith(f"({code})"), told


def row_of(office: Office, name: str = "academy") -> tables.Connection:
    with office.runtime.db.read() as session:
        return session.scalars(select(tables.Connection).where(tables.Connection.name == name)).one()


def page(office: Office, path: str) -> str:
    answer = office.client.get(path, headers=HTML)
    assert answer.status_code == 200, answer.text
    return answer.text


def press(office: Office, seen: str, path: str, **fields: Any) -> Any:
    """Send a form of the console's page ``seen``."""
    csrf = re.search(r'name="csrf" value="([^"]+)"', page(office, seen))
    assert csrf
    return office.client.post(path, data={"csrf": csrf[1], **fields}, headers=HTML)


# what is registered


def test_a_tool_registers_itself_and_waits(office: Office) -> None:
    answer = send(office, token_for(office), request())
    assert answer.status_code == 200
    told = answer.json()
    assert told["client_id"] not in ("", "client-1")
    assert told["scope"].split() == [LINE_ITEM, SCORE]
    tool = told[CONFIGURATION]
    assert tool["deployment_id"] == "1"
    assert tool["claims"] == ["iss", "sub", "name", "email"], "only what there is to be had"
    assert [message["type"] for message in tool["messages"]] == ["LtiResourceLinkRequest", "LtiDeepLinkingRequest"]
    row = row_of(office)
    assert (row.enabled, row.options) == (False, {"self_registered": True, "pending": True})
    assert row.config["deep_linking_uri"] == f"{AT}/choose"
    assert (
        row.config["custom"] == tool["custom_parameters"] == {"level": "2", "about": "$FlowBridge.event.data.customer"}
    )
    with office.runtime.db.read() as session:
        audit = session.scalars(select(tables.Audit).where(tables.Audit.action == "lti_tool.register")).one()
    assert (audit.actor, audit.subject, audit.detail["calls_itself"]) == ("admin", "academy", "Academy")


@pytest.mark.parametrize("name", ["moodle-tool-03-registration", "ltijs-tool-03-registration"])
def test_the_registrations_of_real_tools_are_taken(
    office: Office, recorded: Callable[[str], dict[str, Any]], name: str
) -> None:
    sent = recorded(name)["request"]
    answer = send(office, token_for(office), sent["body"].encode(), **{"content-type": sent["headers"]["content-type"]})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    for member in ("initiate_login_uri", "redirect_uris", "jwks_uri", "client_name"):
        assert told[member] == sent["json"][member]
    assert told[CONFIGURATION]["deployment_id"]
    assert set(told["scope"].split()) == set(sent["json"]["scope"].split())
    assert told[CONFIGURATION]["custom_parameters"] == (sent["json"][CONFIGURATION]["custom_parameters"] or {})


def test_scopes_that_are_not_offered_are_left_out(office: Office) -> None:
    scope = f"{SCORE} https://purl.imsglobal.org/spec/lti-ags/scope/everything {RESULT} {SCORE}"
    answer = send(office, token_for(office), request(scope=scope))
    assert answer.json()["scope"].split() == [RESULT, SCORE]


def test_a_client_id_in_the_request_means_nothing(office: Office) -> None:
    before = row_of(office, "tool").config
    told = send(office, token_for(office), request(client_id="client-1")).json()
    assert told["client_id"] != "client-1"
    assert row_of(office, "tool").config == before


def test_keys_may_be_sent_along(office: Office) -> None:
    key_set = {"keys": [jwk(office.key, "k1")]}
    told = send(office, token_for(office), request(jwks_uri=None, jwks=key_set)).json()
    assert told["jwks"] == key_set
    assert "jwks_uri" not in told


# what is refused, and leaves the token as it was

OTHER = "http://127.0.0.2:19400"
REFUSED = {
    "not web": (request(application_type="native"), "application_type_wrong"),
    "a shared secret": (request(token_endpoint_auth_method="client_secret_post"), "token_endpoint_auth_method_wrong"),
    "no id_token": (request(response_types=["code"]), "response_types_wrong"),
    "no implicit grant": (request(grant_types=["client_credentials"]), "grant_types_wrong"),
    "no LTI": ({**request(), CONFIGURATION: None}, "field_invalid"),
    "no login address": (request(initiate_login_uri=None), "address_invalid"),
    "no launch address": (request(redirect_uris=[]), "field_invalid"),
    "too many launch addresses": (request(redirect_uris=[f"{AT}/{n}" for n in range(21)]), "field_invalid"),
    "launches elsewhere": (request(redirect_uris=[f"{AT}/launch", f"{OTHER}/launch"]), "address_of_other_host"),
    "launches at another port": (request(redirect_uris=["http://127.0.0.1:19401/launch"]), "address_of_other_host"),
    "login elsewhere": (request(initiate_login_uri=f"{OTHER}/login"), "address_of_other_host"),
    "opens elsewhere": (request(target_link_uri=f"{OTHER}/open"), "address_of_other_host"),
    "keys elsewhere": (request(jwks_uri=f"{OTHER}/keys"), "address_of_other_host"),
    "chooses elsewhere": (
        request(messages=[{"type": "LtiDeepLinkingRequest", "target_link_uri": f"{OTHER}/x"}]),
        "address_of_other_host",
    ),
    "no keys": (request(jwks_uri=None), "keys_missing"),
    "keys twice": (request(jwks={"keys": []}), "keys_missing"),
    "keys that sign nothing": (request(jwks_uri=None, jwks={"keys": []}), "keys_unusable"),
    "a script": (request(target_link_uri="javascript:alert(1)"), "address_invalid"),
    "no host": (request(target_link_uri="https:///open"), "address_invalid"),
    "a user in the address": (request(target_link_uri="http://a:b@127.0.0.1:19400/open"), "address_invalid"),
    "a fragment": (request(redirect_uris=[f"{AT}/launch#x"]), "address_invalid"),
    "a blank in the address": (request(redirect_uris=[f"{AT}/la unch"]), "address_invalid"),
    "quotes in the address": (request(redirect_uris=[f'{AT}/"><script>']), "address_invalid"),
    "no port that is one": (request(redirect_uris=["http://127.0.0.1:99999/"]), "address_invalid"),
    "a very long address": (request(redirect_uris=[f"{AT}/{'x' * 2000}"]), "address_invalid"),
    "no domain": (request(domain=None), "field_invalid"),
    "a path as the domain": (request(domain="127.0.0.1/x"), "field_invalid"),
    "custom numbers": (request(custom_parameters={"level": 2}), "field_invalid"),
    "a list of custom things": (request(custom_parameters=["level"]), "field_invalid"),
    "much that is custom": (request(custom_parameters={f"n{n}": "" for n in range(51)}), "field_invalid"),
    "scopes as a number": (request(scope=7), "field_invalid"),
    "claims as a text": (request(claims="name"), "field_invalid"),
    "messages as texts": (request(messages=["LtiResourceLinkRequest"]), "field_invalid"),
    "a list": ([], "body_malformed"),
    "no JSON": (b"client_name=Academy", "body_malformed"),
    "link-local": (request("http://169.254.169.254"), "address_internal"),
}  # fmt: skip


def test_a_wrong_request_is_refused_and_the_token_lives_on(office: Office) -> None:
    token, connections = token_for(office), count(office, tables.Connection)
    found = {}
    for why, (body, _) in REFUSED.items():
        answer = send(office, token, body)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata"), why
        found[why] = answer.json()["error_description"].rpartition("(")[2].rstrip(")")
    assert found == {why: code for why, (_, code) in REFUSED.items()}
    assert count(office, tables.Connection) == connections
    assert send(office, token, request()).status_code == 200


def test_a_large_request_is_refused(office: Office) -> None:
    token = token_for(office)
    room = MAX_BYTES - len(json.dumps(request(extra="")).encode())
    refused(send(office, token, request(extra="x" * (room + 1))), "body_too_large", 413)
    assert send(office, token, request(extra="x" * room)).status_code == 200


@pytest.fixture
def strict(office: Office) -> Office:
    """The same office on the open internet: no peer may be near."""
    settings = Settings.load(home=office.runtime.settings.home, base_url=ISSUER)
    office.runtime = Runtime.start(settings)
    office.client = TestClient(create_app(office.runtime), base_url=ISSUER, cookies=office.client.cookies)
    return office


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("10.0.0.5", ""),
        ("127.0.0.1", ""),
        ("[::1]", ""),
        ("tool.example.com", "192.168.1.7"),
        ("tool.example.com", "::1"),
    ],
)
def test_an_internal_address_is_refused(
    strict: Office, monkeypatch: pytest.MonkeyPatch, host: str, address: str
) -> None:
    if address:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        found = [(family, socket.SOCK_STREAM, 6, "", (address, 0))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: found)
    refused(
        send(strict, token_for(strict, url="https://tool.example.com/r"), request(f"https://{host}")),
        "address_internal",
    )


def test_plain_http_is_refused_on_the_internet(strict: Office) -> None:
    token = token_for(strict, url="https://93.184.216.34/register")
    refused(send(strict, token, request("http://93.184.216.34")), "address_insecure")
    assert send(strict, token, request("https://93.184.216.34")).status_code == 200


# the token


def test_without_a_token_nothing_is_registered(office: Office) -> None:
    token_for(office)
    refused(office.client.post("/lti/register", json=request()), "registration_token_missing", 401)
    refused(send(office, "guessed", request()), "registration_token_unknown", 401)
    refused(send(office, "", request()), "registration_token_missing", 401)


def test_a_token_is_used_once(office: Office) -> None:
    token = token_for(office)
    assert send(office, token, request()).status_code == 200
    answer = send(office, token, request())
    refused(answer, "registration_token_used", 401)
    assert "invalid_token" in answer.headers["www-authenticate"]
    assert token not in answer.text


def test_a_token_expires(office: Office, expire: Callable[[Runtime, Any], None]) -> None:
    token = token_for(office)
    expire(office.runtime, tables.RegistrationTicket)
    refused(send(office, token, request()), "registration_token_expired", 401)


def test_a_token_ends_with_the_admin(office: Office) -> None:
    token = token_for(office)
    with office.runtime.db.write() as session:
        session.scalars(select(tables.Person).where(tables.Person.role == "admin")).one().role = ""
    refused(send(office, token, request()), "registration_token_unknown", 401)


def test_one_of_many_uses_of_a_token_wins(either_office: Office) -> None:
    token, before = token_for(either_office), count(either_office, tables.Connection)
    answers = at_once(lambda _: send(either_office, token, request()))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 401: CALLERS - 1}
    assert count(either_office, tables.Connection) == before + 1


def test_the_token_is_kept_as_a_hash(office: Office) -> None:
    token = token_for(office)
    with office.runtime.db.read() as session:
        kept = session.scalars(select(tables.RegistrationTicket)).one()
    assert token.encode() not in kept.token_hash


def test_a_name_that_was_taken_meanwhile_gets_a_number(office: Office) -> None:
    token = token_for(office)
    office.add_tool("academy", "client-9")
    assert send(office, token, request()).status_code == 200
    assert row_of(office, "academy-2").options["pending"]


# before the approval, and after


def test_nothing_works_before_the_approval(office: Office) -> None:
    client_id = send(office, token_for(office), request()).json()["client_id"]
    start = office.started(client_id=client_id, redirect_uri=f"{AT}/launch")
    answer = office.client.get("/lti/authorize", params=start)
    assert answer.status_code == 400
    assert "client pending" in answer.text
    refused(office.ask_token(office.assertion(client_id=client_id)), "client_pending", 401)
    admin_of(office)
    answer = press(office, "/console/connections/tool", "/console/connections/academy/on")
    assert answer.status_code == 403
    assert "approve it first" in answer.text
    assert not row_of(office).enabled


def test_an_admin_approves_what_is_ticked(office: Office) -> None:
    key_set = {"keys": [jwk(office.key, "k1")]}
    scope = " ".join((LINE_ITEM, READ, SCORE, MEMBERS))
    registered = send(office, token_for(office), request(scope=scope, jwks_uri=None, jwks=key_set)).json()
    admin_of(office)
    seen = page(office, "/console/peers/academy")
    assert f"{AT}/launch" in seen
    assert re.findall(r'name="scope" value="([^"]+)" checked', seen) == [LINE_ITEM, READ, SCORE, MEMBERS]
    assert re.findall(r'name="(send_\w+)" value="true"( checked)?', seen) == [("send_name", ""), ("send_email", "")]
    answer = press(
        office,
        "/console/peers/academy",
        "/console/peers/academy/approve",
        scope=[SCORE, RESULT],
        send_name="true",
    )
    assert "approved and switched on" in answer.text
    row = row_of(office)
    assert (row.enabled, row.options) == (True, {"self_registered": True})
    assert row.config["scopes"] == [SCORE], "a scope that was not asked for is not given"
    assert (row.config["send_name"], row.config["send_email"]) == (True, False)
    token = office.ask_token(office.assertion(client_id=registered["client_id"]), f"{SCORE} {LINE_ITEM}")
    assert token.json()["scope"] == SCORE
    with office.runtime.db.read() as session:
        audit = session.scalars(select(tables.Audit).where(tables.Audit.action == "lti_tool.approve")).one()
    assert audit.detail == {"scopes": [SCORE], "send_name": True, "send_email": False}
    again = press(office, "/console/connections/academy", "/console/peers/academy/approve", scope=[LINE_ITEM])
    assert again.status_code == 403
    assert row_of(office).config["scopes"] == [SCORE]


def test_a_rejected_tool_is_forgotten(office: Office) -> None:
    send(office, token_for(office), request())
    admin_of(office)
    answer = press(office, "/console/peers/academy", "/console/peers/academy/reject")
    assert "rejected and forgotten" in answer.text
    with office.runtime.db.read() as session:
        assert not session.scalars(select(tables.Connection).where(tables.Connection.name == "academy")).all()


def test_what_an_admin_has_approved_is_not_rejected(office: Office) -> None:
    send(office, token_for(office), request())
    admin_of(office)
    press(office, "/console/peers/academy", "/console/peers/academy/approve")
    answer = press(office, "/console/connections/academy", "/console/peers/academy/reject")
    assert answer.status_code == 403
    assert row_of(office).enabled


def test_the_yaml_does_not_approve_by_accident(office: Office, tmp_path: Path) -> None:
    send(office, token_for(office), request())
    file = tmp_path / "exported.yaml"
    (waiting,) = (
        one for one in yaml.safe_load(configure.export(office.runtime))["connections"] if one["name"] == "academy"
    )
    file.write_text(yaml.safe_dump({"connections": [waiting]}))
    assert configure.apply(office.runtime, file).changes == ()
    file.write_text(yaml.safe_dump({"connections": [waiting | {"enabled": True}]}))
    with pytest.raises(DocumentError, match="waits for approval"):
        configure.apply(office.runtime, file)
    assert not row_of(office).enabled


@pytest.mark.parametrize("path", ["peers/academy/approve", "peers/academy/reject", "connect/tool", "connect/lms"])
def test_only_an_admins_own_form_decides(office: Office, path: str) -> None:
    send(office, token_for(office), request())
    admin_of(office)
    assert office.client.post(f"/console/{path}", data={"csrf": "guessed"}, headers=HTML).status_code == 403
    office.sign_in("E001")
    assert office.client.get("/console/peers/academy", headers=HTML).status_code == 403
    assert row_of(office).options["pending"]


def test_the_console_says_who_waits(office: Office) -> None:
    send(office, token_for(office), request())
    admin_of(office)
    assert "waits for your approval" in html.unescape(page(office, "/console/"))
    listed = page(office, "/console/connections")
    assert listed.index("academy") < listed.index(">crm<"), "what needs somebody comes first"
    assert "Waits for approval" in listed
    assert "/console/peers/academy" in page(office, "/console/connections/academy")


# the admin's way


def test_an_admin_opens_the_tools_own_page(office: Office) -> None:
    admin_of(office)
    answer = press(
        office, "/console/connect/tool", "/console/connect/tool", name="academy", url=f"{AT}/register?id=1&x=%20"
    )
    link = re.search(r'href="([^"]+)" target="_blank" rel="opener" data-connect="([^"]+)"', answer.text)
    assert link
    url = html.unescape(link[1])
    assert url.startswith(f"{AT}/register?id=1&x=%20&openid_configuration=")
    query = dict(parse_qsl(urlsplit(url).query))
    assert query["openid_configuration"] == f"{ISSUER}/.well-known/openid-configuration"
    assert link[2] == AT, "nobody else may say that it is done"
    done = re.search(r'href="(/console/registrations/[0-9a-f]+)" data-done', answer.text)
    assert done
    assert "Nothing has registered yet" in page(office, done[1])
    assert "data-under-way" in page(office, f"{done[1]}/state")
    configuration = office.client.get("/.well-known/openid-configuration").json()
    told = {"authorization": f"Bearer {query['registration_token']}"}
    assert office.client.post(configuration["registration_endpoint"], json=request(), headers=told).status_code == 200
    assert "data-under-way" not in page(office, f"{done[1]}/state")
    followed = office.client.get(done[1], headers=HTML)
    assert followed.url.path == "/console/peers/academy"


@pytest.mark.parametrize(
    ("name", "url", "said"),
    [
        ("", f"{AT}/r", "small letters"),
        ("Academy One", f"{AT}/r", "small letters"),
        ("tool", f"{AT}/r", "another connection"),
        ("widget", f"{AT}/r", "another connection"),
        ("academy", "javascript:alert(1)", "begins with https"),
        ("academy", "", "an address"),
    ],
)
@pytest.mark.parametrize("kind", ["tool", "lms"])
def test_a_wrong_form_is_explained(office: Office, kind: str, name: str, url: str, said: str) -> None:
    admin_of(office)
    answer = press(office, f"/console/connect/{kind}", f"/console/connect/{kind}", name=name, url=url)
    assert answer.status_code == 400
    assert said in html.unescape(answer.text)
    assert count(office, tables.RegistrationTicket) == 0


def test_a_registration_under_way_is_shown_to_its_admin_alone(office: Office) -> None:
    begun = register_tool.begin(office.runtime, "academy", AT, admin_of(office))
    office.add(tables.Person(key="boss", name="Other Admin", role="admin"))
    office.sign_in("boss")
    for path in (begun.ticket_id, "nonsense", "00"):
        assert office.client.get(f"/console/registrations/{path}", headers=HTML).status_code == 404


# many deployments


def test_launches_carry_the_deployment_of_their_business_system(office: Office) -> None:
    office.change_tool(deployments={"emea": ["crm"]})
    for system, deployment in (("crm", "emea"), ("desk", "1")):
        with office.runtime.db.read() as session:
            prompt_id = session.get_one(tables.Launch, office.launch(system=system)).prompt_id
        seen = identity.session(office.runtime, office.sign_in())
        assert seen is not None
        opened = office.client.post(f"/prompts/{prompt_id}/open", data={"csrf": seen.csrf})
        action, start = form_of(opened.text)
        assert (action, start["lti_deployment_id"]) == (f"{TOOL}/login?id=7", deployment)
        _, answer = office.authorize(office.request(authorize.Initiation(action, "post", start, frozenset())))
        claims = office.claims_of(answer["id_token"])
        assert claims[f"{CLAIM}deployment_id"] == deployment
    admin_of(office)
    assert "emea</span> for crm" in page(office, "/console/peers/tool")
