"""The bridge as platform: tools that register themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import requests

from bridge.flows import identity, register_tool
from bridge.store import tables
from tests.threats.phrases import AGE, COUNT, number, phrase, shift
from tests.threats.platform_side import LINE_ITEM, SCORE, Tool, somebody
from tests.threats.running import Came, Stage, age, at_once, call, came_of, one_wins, refused, together
from tests.threats.signing import jwk, rsa_key

TOOL = "https://purl.imsglobal.org/spec/lti-tool-configuration"


class Registering:
    """An admin has begun the registration of a tool, and the tool has the registration_token."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.host = stage, f"tool-{stage.tag}.example.test"
        admin = somebody(stage, role="admin")
        _, person = identity.open_session(stage.runtime, admin.id, via="password")
        begun = register_tool.begin(stage.runtime, f"reg-{stage.tag}", f"https://{self.host}/register", person)
        self.token = stage.secret(re.findall(r"registration_token=([^&]+)", begun.url)[0])

    def request(self, **changes: Any) -> dict[str, Any]:
        base = f"https://{self.host}:8443"
        asked = {
            "domain": f"{self.host}:8443",
            "target_link_uri": f"{base}/quiz",
            "custom_parameters": {"level": "2"},
            "claims": ["iss", "sub", "name"],
            "messages": [{"type": "LtiResourceLinkRequest"}],
        }
        of_tool = {name: changes.pop(name) for name in list(changes) if name in (*asked, "description")}
        request = {
            "application_type": "web",
            "response_types": ["id_token"],
            "grant_types": ["implicit", "client_credentials"],
            "initiate_login_uri": f"{base}/login?id=7",
            "redirect_uris": [f"{base}/launch"],
            "client_name": "A tool",
            "jwks_uri": f"{base}/jwks",
            "token_endpoint_auth_method": "private_key_jwt",
            "scope": SCORE,
            TOOL: {name: one for name, one in (asked | of_tool).items() if one is not None},
        }
        return {name: one for name, one in (request | changes).items() if one is not None}

    def send(self, body: Any, **headers: str) -> requests.Response:
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", **headers}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return call(self.stage, "POST", "/lti/register", data=content, headers={k: v for k, v in sent.items() if v})

    def attempt(self, body: Any, **headers: str) -> Came:
        """The verdict: accepted, a tool waits for approval under an id of its own."""
        self.stage.mark()
        response = self.send(body, **headers)
        if response.status_code >= 400:
            return refused(response)
        answer = response.json()
        client = tables.Connection.config["client_id"].as_string() == answer["client_id"]
        with self.stage.runtime.db.read() as session:
            row = session.query(tables.Connection).filter(client).one_or_none()
        return Came(accepted=True).but(
            "" if response.status_code == 200 else f"answered {response.status_code}, and Moodle wants 200",
            "" if row is not None and not row.enabled else "no tool waits for approval",
            "" if answer[TOOL].get("deployment_id") else "the answer has no deployment_id",
        )


_REGISTRATIONS: dict[str, Callable[[Registering], dict[str, Any]]] = {
    r"custom_parameters is an empty list(?: instead of an object)?": lambda r: r.request(custom_parameters=[]),
    r"custom_parameters is a list": lambda r: r.request(custom_parameters=["x"]),
    r"domain without the port its URLs have": lambda r: r.request(domain=r.host),
    r"domain of another host|domain is another host": lambda r: r.request(domain="evil.example.test"),
    r"domain missing": lambda r: r.request(domain=None),
    r"redirect_uri on another host(?: than domain)?": lambda r: r.request(
        redirect_uris=["https://evil.example.test/l"]
    ),
    r"(?:initiate_login_uri|login address) on another host(?: than domain)?": lambda r: r.request(
        initiate_login_uri="https://evil.example.test/login"
    ),
    r"target_link_uri on another host(?: than domain)?": lambda r: r.request(
        target_link_uri="https://evil.example.test/x"
    ),
    r"jwks_uri on another host(?: than domain)?": lambda r: r.request(jwks_uri="https://evil.example.test/jwks"),
    r"neither jwks_uri nor jwks|(?:no|without) jwks_uri(?: and no jwks)?": lambda r: r.request(jwks_uri=None),
    r"both jwks_uri and jwks": lambda r: r.request(jwks={"keys": [jwk(rsa_key("tool"), "k")]}),
    r"jwks instead of jwks_uri": lambda r: r.request(jwks_uri=None, jwks={"keys": [jwk(rsa_key("tool"), "k")]}),
    r"(?:an )?initiate_login_uri (?:with|by) (?:plain )?http|http instead of https in the URLs": lambda r: r.request(
        initiate_login_uri=f"http://{r.host}:8443/login"
    ),
    r"(?:a )?redirect_uri (?:with|by) (?:plain )?http": lambda r: r.request(redirect_uris=[f"http://{r.host}:8443/l"]),
    r"(?:a )?jwks_uri (?:with|by) (?:plain )?http": lambda r: r.request(jwks_uri=f"http://{r.host}:8443/jwks"),
    r"redirect_uri javascript:": lambda r: r.request(redirect_uris=["javascript:alert(1)"]),
    r"(?:no|without) redirect_uris|redirect_uris (?:missing|is an empty list)": lambda r: r.request(redirect_uris=[]),
    r"token_endpoint_auth_method (?:is )?(?:not private_key_jwt|client_secret_\w+|none)": lambda r: r.request(
        token_endpoint_auth_method="client_secret_basic"
    ),
    r"response_types without id_token": lambda r: r.request(response_types=["code"]),
    r"(?:no|without) messages|messages missing": lambda r: r.request(messages=None),
    r"nothing: (?:a )?(?:full |valid )?registration(?: of a tool)?": lambda r: r.request(),
    r"unknown members in the (?:registration )?body": lambda r: r.request() | {"x": {"y": 1}},
    r"(?:no|without) (?:lti-tool-configuration|tool configuration)": lambda r: r.request() | {TOOL: None},
}


@phrase("platform", rf"(?P<what>{'|'.join(_REGISTRATIONS)})")
def registration(stage: Stage, what: str) -> Came:
    made = next(make for pattern, make in _REGISTRATIONS.items() if re.fullmatch(pattern, what, re.IGNORECASE))
    tool = Registering(stage)
    return tool.attempt(made(tool))


@phrase(
    "platform", r"(?:a )?(?:jwks_uri|(?P<name>initiate_login_uri|redirect_uri|target_link_uri)) on an internal address"
)
def registration_internal(stage: Stage, name: str = "jwks_uri") -> Came:
    tool, came = Registering(stage), []
    for address in ("127.0.0.1", "169.254.169.254", "10.0.0.7", "[::1]", "localhost"):
        url = f"https://{address}/x"
        part: Any = [url] if name == "redirect_uri" else url
        came.append(tool.attempt(tool.request(**{"redirect_uris" if name == "redirect_uri" else name: part})))
        tool.host = address  # the same where all of the tool claims to be there
        here = tool.request()
        whole = json.loads(json.dumps(here).replace(f"{address}:8443", address))
        came.append(tool.attempt(whole))
    return together(came)


@phrase("platform", r"(?:no|without(?: an?)?) registration_token")
def registration_without_token(stage: Stage) -> Came:
    return registration_token(stage, "missing")


@phrase("platform", r"registration_token (?P<how>used before|reused|missing|unknown|of nobody|changed)")
def registration_token(stage: Stage, how: str) -> Came:
    tool = Registering(stage)
    if how in ("used before", "reused"):
        assert tool.attempt(tool.request()).accepted
        return tool.attempt(tool.request())
    token = "" if how == "missing" else f"Bearer {'x' * 43}"
    return tool.attempt(tool.request(), Authorization=token)


@phrase("platform", rf"registration_token {AGE}")
def registration_token_old(stage: Stage, length: str = "", old: str = "") -> Came:
    tool = Registering(stage)
    with stage.runtime.db.write() as session:
        age(session.get_one(tables.RegistrationTicket, identity.token_hash(tool.token)), shift(length, old))
    return tool.attempt(tool.request())


@phrase("platform", rf"(?:the same )?registration_token (?P<times>{COUNT}) times at once")
def registration_at_once(stage: Stage, times: str) -> Came:
    tool = Registering(stage)
    stage.mark()
    came = one_wins([came_of(one) for one in at_once(number(times), lambda _: tool.send(tool.request()))])
    grown = stage.grown()
    stage.unmark()
    return came.but("" if grown == {"connection": 1} else f"there is more: {grown}")


@phrase("platform", r"(?:a )?scope that is not offered")
def registration_scope(stage: Stage) -> Came:
    tool = Registering(stage)
    strange = "https://example.test/scope/everything"
    stage.mark()
    response = tool.send(tool.request(scope=f"{SCORE} {LINE_ITEM} {strange}"))
    granted = set(response.json().get("scope", "").split()) if response.status_code == 200 else set()
    wrong = "" if granted in (set(), {SCORE, LINE_ITEM}) else f"answered were {sorted(granted)}"
    return came_of(response).but(wrong)


@phrase("platform", r"(?:registration )?body larger than (?P<size>\d+) (?P<unit>[KM])i?B")
def registration_large(stage: Stage, size: str, unit: str) -> Came:
    tool = Registering(stage)
    return tool.attempt(tool.request(padding="x" * (int(size) * 1024 ** (1 if unit == "K" else 2))))


@phrase("platform", r"registration body (?:is )?(?P<how>not JSON|a list)")
def registration_body(stage: Stage, how: str) -> Came:
    tool = Registering(stage)
    return tool.attempt(b"{" if how == "not JSON" else b"[]")


@phrase(
    "platform",
    r"(?:registration )?(?:JSON )?(?:body )?sent as application/x-www-form-urlencoded",
    r"(?:(?:registration )?(?:JSON )?body (?:is JSON )?with )?Content-Type application/x-www-form-urlencoded",
)
def registration_kind(stage: Stage) -> Came:
    tool = Registering(stage)
    return tool.attempt(tool.request(), **{"Content-Type": "application/x-www-form-urlencoded"})


@phrase("platform", r"body names a client_id of an existing tool")
def registration_client_id(stage: Stage) -> Came:
    tool, other = Registering(stage), Tool(stage)
    stage.mark()
    response = tool.send(tool.request(client_id=other.client_id))
    given = response.json().get("client_id") if response.status_code == 200 else ""
    return came_of(response).but("its client_id was taken" if given == other.client_id else "")
