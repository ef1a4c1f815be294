"""Launches by an LMS: which are taken, which are refused, and that each counts once."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import datetime as dt
import hmac
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import jwt.api_jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from bridge.lti.errors import LtiError
from bridge.lti.tool import cookies, launches, logins
from bridge.lti.tool.launches import Launched
from bridge.store import now, tables
from tests.lti.launching_lms import CLAIM, DEEP_LINKING, INSTRUCTOR, LEARNER, Lms, jwk, part

FACULTY = "http://purl.imsglobal.org/vocab/lis/v2/institution/person#Faculty"
ASSISTANT = "http://purl.imsglobal.org/vocab/lis/v2/membership/Instructor#TeachingAssistant"
NO_NAMES: dict[str, Any] = {"name": None, "given_name": None, "family_name": None}


def code_of(answer: Any) -> str:
    """The stable code that a page of refusal shows."""
    assert answer.status_code >= 400, answer.headers.get("location")
    return str(answer.text.partition('<span class="tag warn">')[2].partition("<")[0]).replace(" ", "_")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"roles": [INSTRUCTOR]},
        {"roles": [LEARNER, FACULTY, ASSISTANT]},
        {"roles": ["Instructor"]},
        {"roles": [LEARNER, "https://example.test/roles#Unknown"]},
        {"roles": []},
        {"email": None},
        NO_NAMES,
        {**NO_NAMES, "email": None},
        {**NO_NAMES, "context": None},
        {"https://example.test/claim/x": {"a": 1}},
        {"aud": ["bridge-1"]},
        {"aud": ["other", "bridge-1"], "azp": "bridge-1"},
        {"azp": "bridge-1"},
        {"sub": "x" * 255},
        {"launch_presentation": None},
        {"custom": {"a": "b", "n": 1}},
    ],
    ids=str,
)
def test_a_good_launch_is_taken(lms: Lms, changes: dict[str, Any]) -> None:
    answer = lms.launch(**changes)
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"].startswith("/lti/tool/continue?code=")


def freeze(monkeypatch: pytest.MonkeyPatch, at: float) -> None:
    """Let the clocks that judge a token stand still."""

    class Clock(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Clock:
            return cls.fromtimestamp(at, tz)

    monkeypatch.setattr(jwt.api_jwt, "datetime", Clock)
    monkeypatch.setattr(time, "time", lambda: at)


@pytest.mark.parametrize("seconds", [59, 61])
def test_clocks_may_differ_by_a_minute(lms: Lms, monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    at = int(time.time())
    freeze(monkeypatch, at)
    for code, changes in (
        ("token_expired", {"exp": at - seconds, "iat": at - seconds - 60}),
        ("token_not_yet_valid", {"iat": at + seconds, "exp": at + seconds + 300}),
    ):
        answer = lms.launch(**changes)
        assert answer.status_code == 303 if seconds == 59 else code_of(answer) == code


@dataclasses.dataclass(frozen=True)
class In:
    """A time so many seconds from now."""

    seconds: int


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("claim_missing", {"exp": None}),
        ("claim_missing", {"iat": None}),
        ("claim_missing", {"exp": None, "iat": None}),
        ("token_expired", {"iat": In(-7200), "exp": In(-7260)}),
        ("token_too_old", {"iat": In(-660)}),
        ("token_too_old", {"iat": In(-10 * 365 * 86400)}),
        ("token_life_wrong", {"exp": In(31536000)}),
        ("token_life_wrong", {"iat": In(50), "exp": In(20)}),
        ("token_malformed", {"exp": "soon"}),
        ("token_malformed", {"exp": True}),
        ("token_malformed", {"exp": float("nan")}),
        ("token_malformed", {"exp": float("inf")}),
        ("token_malformed", {"iat": [1]}),
        ("token_not_yet_valid", {"nbf": In(3600)}),
        ("issuer_wrong", {"iss": "https://evil.test"}),
        ("issuer_wrong", {"iss": "https://lms.test/"}),
        ("issuer_wrong", {"iss": "https://LMS.test"}),
        ("claim_missing", {"iss": None}),
        ("claim_missing", {"aud": None}),
        ("audience_wrong", {"aud": "other"}),
        ("claim_missing", {"aud": []}),
        ("audience_wrong", {"aud": {"bridge-1": 1}}),
        ("azp_wrong", {"aud": ["bridge-1", "other"]}),
        ("azp_wrong", {"aud": ["bridge-1", "other"], "azp": "other"}),
        ("azp_wrong", {"azp": "evil"}),
        ("claim_missing", {"nonce": None}),
        ("nonce_wrong", {"nonce": "foreign"}),
        ("nonce_wrong", {"nonce": 7}),
        ("claim_missing", {"sub": None}),
        ("claim_invalid", {"sub": ""}),
        ("claim_invalid", {"sub": "x" * 256}),
        ("claim_invalid", {"sub": "a\x00b"}),
        ("token_malformed", {"sub": 7}),
        ("version_wrong", {"version": "1.1.0"}),
        ("version_wrong", {"version": None}),
        ("message_type_unknown", {"message_type": "Foo"}),
        ("message_type_unknown", {"message_type": "LtiDeepLinkingResponse"}),
        ("message_type_unknown", {"message_type": "LtiSubmissionReviewRequest"}),
        ("message_type_unknown", {"message_type": None}),
        ("claim_invalid", {"deployment_id": None}),
        ("claim_invalid", {"deployment_id": 6}),
        ("deployment_pending", {"deployment_id": "unknown"}),
        ("target_link_uri_wrong", {"target_link_uri": None}),
        ("target_link_uri_wrong", {"target_link_uri": "http://bridge.test/"}),
        ("target_link_uri_wrong", {"target_link_uri": "http://bridge.test/lti/tool/launch#x"}),
        ("claim_invalid", {"roles": None}),
        ("claim_invalid", {"roles": "Instructor"}),
        ("claim_invalid", {"roles": [1]}),
        ("claim_invalid", {"roles": ["a\x00b"]}),
        ("claim_invalid", {"resource_link": None}),
        ("claim_invalid", {"resource_link": {"title": "x"}}),
        ("claim_invalid", {"resource_link": ["x"]}),
        ("claim_invalid", {"resource_link": {"id": "x" * 256}}),
        ("claim_invalid", {"context": {"id": 2}}),
        ("claim_invalid", {"context": "course"}),
    ],
)
def test_a_launch_that_does_not_fit_is_refused_with_its_reason(lms: Lms, code: str, changes: dict[str, Any]) -> None:
    at = int(time.time())
    told = {name: at + value.seconds if isinstance(value, In) else value for name, value in changes.items()}
    answer = lms.launch(**told)
    assert code_of(answer) == code
    assert "set-cookie" not in answer.headers
    assert lms.rows(tables.SignInSession) == [] and lms.rows(tables.LmsMember) == []


@pytest.mark.parametrize(
    ("code", "settings"),
    [
        ("claim_invalid", {"deep_link_return_url": None}),
        ("claim_invalid", {"deep_link_return_url": "javascript:alert(1)"}),
        ("claim_invalid", {"deep_link_return_url": "//evil.test"}),
        ("message_invalid", {"accept_types": None}),
        ("message_invalid", {"accept_types": ["html"]}),
        ("message_invalid", {"accept_presentation_document_targets": []}),
    ],
)
def test_a_deep_linking_request_needs_a_way_back(lms: Lms, code: str, settings: dict[str, Any]) -> None:
    assert code_of(lms.launch(**lms.deep_linking(**settings))) == code
    assert code_of(lms.launch(**{**lms.deep_linking(), DEEP_LINKING: None})) == "claim_invalid"


@pytest.mark.parametrize(
    ("code", "header"),
    [
        ("kid_missing", {"kid": None}),
        ("kid_unknown", {"kid": "no-such-key"}),
        ("kid_unknown", {"kid": "../lms-1"}),
        ("header_critical", {"crit": ["x"], "x": 1}),
        ("kid_unknown", {"kid": "evil", "jku": "https://evil.test/jwks"}),
    ],
)
def test_the_header_names_one_of_the_platforms_own_keys(lms: Lms, code: str, header: dict[str, Any]) -> None:
    login = lms.login()
    assert code_of(lms.post(lms.sign(lms.claims(login), header=header), login.state)) == code


def hs256(lms: Lms, claims: dict[str, Any]) -> str:
    """Signed with the platform's public key, as if it were a shared secret."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = lms.key.public_key().public_bytes(serialization.Encoding.PEM, form)
    text = f"{part({'alg': 'HS256', 'kid': 'lms-1'})}.{part(claims)}"
    return f"{text}.{part(hmac.digest(pem, text.encode(), 'sha256'))}"


def flipped(lms: Lms, claims: dict[str, Any]) -> str:
    good = lms.sign(claims)
    return good[:-8] + ("A" if good[-8] != "A" else "B") + good[-7:]


def spliced(lms: Lms, claims: dict[str, Any], **parts: Any) -> str:
    """A good token with another header or other claims put in."""
    head, body, signature = lms.sign(claims).split(".")
    return f"{parts.get('head', head)}.{parts.get('body', body)}.{signature}"


FORGED: dict[str, tuple[str, Callable[[Lms, dict[str, Any]], str]]] = {
    "no signature": (
        "algorithm_refused",
        lambda lms, claims: f"{part({'alg': 'nOnE', 'kid': 'lms-1'})}.{part(claims)}.",
    ),
    "hs256": ("algorithm_refused", hs256),
    "rs512": ("algorithm_refused", lambda lms, claims: lms.sign(claims, alg="RS512")),
    "es256": (
        "algorithm_refused",
        lambda lms, claims: lms.sign(claims, key=ec.generate_private_key(ec.SECP256R1()), alg="ES256"),
    ),
    "kid no text": (
        "kid_missing",
        lambda lms, claims: spliced(lms, claims, head=part({"alg": "RS256", "kid": 1})),
    ),
    "signature flipped": ("signature_wrong", flipped),
    "claims changed": (
        "signature_wrong",
        lambda lms, claims: spliced(lms, claims, body=part(claims | {"sub": "admin"})),
    ),
    "another key": (
        "signature_wrong",
        lambda lms, claims: lms.sign(claims, key=rsa.generate_private_key(public_exponent=65537, key_size=2048)),
    ),
}


@pytest.mark.parametrize(("code", "forge"), FORGED.values(), ids=FORGED.keys())
def test_a_forged_token_is_refused(lms: Lms, code: str, forge: Callable[[Lms, dict[str, Any]], str]) -> None:
    login = lms.login()
    assert code_of(lms.post(forge(lms, lms.claims(login, sub="teacher")), login.state)) == code
    assert len(lms.rows(tables.LmsLogin)) == 1, "a forger does not use up somebody's login"


@pytest.mark.parametrize(
    "token",
    [
        "abc",
        "a.b",
        "..",
        "a.b.c.d.e",
        "!!.??.==",
        f"{part(b'no json')}.{part({})}.x",
        f"{part([1])}.{part({})}.x",
        "é.é.é",
    ],
)
def test_what_is_no_token_is_refused(lms: Lms, token: str) -> None:
    assert code_of(lms.post(token, lms.login().state)) == "token_malformed"


@pytest.mark.parametrize(
    "payload", [b"[]", b'"text"', b"no json", b'{"sub": "\xff"}', b'{"sub": "\\ud800"}', b'{"a":' + b"[" * 10_000]
)
def test_claims_that_are_none_are_refused(lms: Lms, payload: bytes) -> None:
    token = jwt.PyJWS().encode(payload, lms.key, algorithm="RS256", headers={"kid": "lms-1"})
    assert code_of(lms.post(token, lms.login().state)) == "token_malformed"


def test_claims_nested_without_end_are_refused(lms: Lms) -> None:
    login = lms.login()
    payload = json.dumps(lms.claims(login))[:-1].encode() + b',"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    token = jwt.PyJWS().encode(payload, lms.key, algorithm="RS256", headers={"kid": "lms-1"})
    assert code_of(lms.post(token, login.state)) == "token_malformed"


def test_a_huge_token_is_refused(lms: Lms) -> None:
    assert code_of(lms.launch(**{"https://example.test/x": "x" * 100_000})) == "token_too_large"
    assert lms.launch(**{"https://example.test/x": "x" * 1_000_000}).status_code == 413


def test_a_missing_token_is_refused(lms: Lms) -> None:
    assert code_of(lms.post("", lms.login().state)) == "message_invalid"


@pytest.mark.parametrize("members", [{"use": "enc"}, {"alg": "RS512"}, {"kid": "other"}])
def test_a_key_for_something_else_verifies_nothing(lms: Lms, members: dict[str, str]) -> None:
    lms.reconfigure(jwks={"keys": [jwk(lms.key, "lms-1") | members]})
    assert code_of(lms.launch()) == "kid_unknown"


def test_each_launch_counts_once(lms: Lms) -> None:
    login = lms.login()
    token = lms.id_token(login)
    assert lms.post(token, login.state).status_code == 303
    reloaded = lms.post(token, login.state)
    assert (reloaded.status_code, code_of(reloaded)) == (409, "state_used")
    assert "open it from there again" in reloaded.text
    lms.client.cookies.clear()
    assert code_of(lms.post(token, login.state)) == "state_unknown"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def either_lms(request: pytest.FixtureRequest, other_key: rsa.RSAPrivateKey) -> Iterator[Lms]:
    """The same on each kind of database."""
    from bridge.web.app import create_app

    runtime = request.getfixturevalue("runtime" if request.param == "sqlite" else "pg_runtime")
    with TestClient(create_app(runtime), base_url="http://bridge.test") as client:
        yield Lms(runtime, client, other_key).register()


def test_of_twenty_at_once_exactly_one_is_taken(either_lms: Lms) -> None:
    login = either_lms.login()
    params = {"id_token": either_lms.id_token(login), "state": login.state}
    held = {cookies.name_of(login.state): login.state}

    def attempt(_: int) -> str:
        try:
            return launches.launch(either_lms.runtime, params, held).subject
        except LtiError as error:
            return error.code

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        results = sorted(pool.map(attempt, range(20)))
    assert results == ["state_used"] * 19 + ["user-7"]


def test_a_state_belongs_to_the_browser_that_began(lms: Lms) -> None:
    login = lms.login()
    token = lms.id_token(login)
    other = TestClient(lms.client.app, base_url="http://bridge.test")
    foreign = dataclasses.replace(lms, client=other)
    refused = foreign.post(token, login.state)
    assert (refused.status_code, code_of(refused)) == (403, "state_cookie_missing")
    foreign.login()  # a login of its own proves nothing for another one
    assert code_of(foreign.post(token, login.state)) == "state_cookie_missing"
    assert lms.post(token, login.state).status_code == 303, "the right browser goes on undisturbed"


def test_launches_side_by_side_do_not_disturb_each_other(lms: Lms) -> None:
    first, second = lms.login(), lms.login()
    assert lms.post(lms.id_token(second), second.state).status_code == 303
    assert lms.post(lms.id_token(first), first.state).status_code == 303


def test_a_token_answers_its_own_login_only(lms: Lms) -> None:
    first, second = lms.login(), lms.login()
    assert code_of(lms.post(lms.id_token(first), second.state)) == "nonce_wrong"


@pytest.mark.parametrize("state", ["", "never-given", "\x00"])
def test_a_foreign_state_is_refused(lms: Lms, state: str) -> None:
    assert code_of(lms.post(lms.id_token(lms.login()), state)) == "state_unknown"


def test_a_login_runs_out(lms: Lms, expire: Callable[[Any, Any], None]) -> None:
    login = lms.login()
    expire(lms.runtime, tables.LmsLogin)
    assert code_of(lms.post(lms.id_token(login), login.state)) == "state_used"
    (row,) = lms.rows(tables.LmsLogin)
    assert row.expires_at < now()


def test_a_platform_answers_only_its_own_logins(lms: Lms, rsa_key: rsa.RSAPrivateKey) -> None:
    other = Lms(lms.runtime, lms.client, rsa_key, issuer="https://second.test", client_id="b2").register("second")
    login = lms.login()
    assert code_of(lms.post(other.id_token(login), login.state)) == "signature_wrong"
    stolen = lms.id_token(login, iss="https://second.test", aud="b2")
    assert code_of(lms.post(stolen, login.state)) == "issuer_wrong"
    twin = Lms(lms.runtime, lms.client, lms.key, client_id="bridge-2").register("twin")
    assert code_of(lms.post(twin.id_token(login), login.state)) == "audience_wrong"


def test_a_platform_that_was_switched_off_meanwhile_is_refused(lms: Lms) -> None:
    login = lms.login()
    lms.reconfigure(enabled=False)
    assert code_of(lms.post(lms.id_token(login), login.state)) == "platform_switched_off"


def test_an_unknown_deployment_waits_for_an_admin(lms: Lms) -> None:
    lms.reconfigure(deployment_ids=[])
    for _ in range(2):
        answer = lms.launch(deployment_id="d-<9>")
        assert (answer.status_code, code_of(answer)) == (403, "deployment_pending")
        assert "approve deployment &#39;d-&lt;9&gt;&#39; of &#39;lms&#39;" in answer.text
    (row,) = lms.rows(tables.LmsDeployment)
    assert (row.connection_id, row.deployment_id, row.launches) == (lms.connection_id, "d-<9>", 2)
    lms.reconfigure(deployment_ids=["d-<9>"])
    assert lms.launch(deployment_id="d-<9>").status_code == 303


def test_a_deployment_of_another_platform_is_unknown(lms: Lms) -> None:
    Lms(lms.runtime, lms.client, lms.key, issuer="https://second.test", deployment_id="d-2").register("second")
    assert code_of(lms.launch(deployment_id="d-2")) == "deployment_pending"


def test_what_the_lms_says_instead_of_a_launch_is_shown_escaped(lms: Lms) -> None:
    form = {"error": "login_required", "error_description": "<img src=x onerror=alert(1)>", "state": "s"}
    answer = lms.client.post("/lti/tool/launch", data=form)
    assert (answer.status_code, code_of(answer)) == (400, "lms_refused")
    assert "login_required: &lt;img" in answer.text and "<img src=x" not in answer.text


def test_a_launch_is_posted_and_never_an_address(lms: Lms) -> None:
    login = lms.login()
    params = {"id_token": lms.id_token(login), "state": login.state}
    answer = lms.client.get("/lti/tool/launch", params=params)
    assert (answer.status_code, code_of(answer)) == (405, "launch_by_get")
    assert answer.headers["allow"] == "POST"
    assert len(lms.rows(tables.LmsLogin)) == 1


def test_a_form_with_two_tokens_is_refused(lms: Lms) -> None:
    login = lms.login()
    text = f"id_token=x&id_token={lms.id_token(login)}&state={login.state}"
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert code_of(lms.client.post("/lti/tool/launch", content=text, headers=headers)) == "parameter_repeated"
    assert code_of(lms.client.post("/lti/tool/launch", json={"id_token": "x"})) == "not_a_form"


def blocked(lms: Lms, **changes: str | None) -> tuple[str, str]:
    """A login in a browser that keeps no cookie in a frame: the token and the state."""
    answer = lms.begin(**changes)
    (row,) = lms.rows(tables.LmsLogin)
    text = answer.headers.get("location") or answer.text
    state = text.partition("state=")[2].partition("&")[0]
    lms.client.cookies.clear()
    login = type("L", (), {"nonce": row.nonce})()
    return lms.id_token(login), state


def test_without_a_cookie_a_window_of_its_own_is_offered(lms: Lms) -> None:
    token, state = blocked(lms, login_hint="u&7", lti_message_hint='"><b>')
    answer = lms.post(token, state)
    assert (answer.status_code, code_of(answer)) == (403, "state_cookie_missing")
    assert "Reference:" in answer.text and "Open in a new window" in answer.text and 'target="_blank"' in answer.text
    assert "frame-ancestors" not in answer.headers["content-security-policy"], "it is read inside the LMS's frame"
    again = answer.text.partition('href="/lti/tool/login?')[2].partition('"')[0].replace("&amp;", "&")
    restarted = lms.client.get(f"/lti/tool/login?{again}", follow_redirects=False)
    assert "login_hint=u%267&lti_message_hint=%22%3E%3Cb%3E" in restarted.headers["location"]


def test_the_lms_s_frame_can_prove_what_a_cookie_would(lms: Lms) -> None:
    page = lms.begin(lti_storage_target="_parent")
    value, state = (page.text.partition(f'data-{name}="')[2].partition('"')[0] for name in ("value", "key"))
    (row,) = lms.rows(tables.LmsLogin)
    lms.client.cookies.clear()
    token = lms.id_token(type("L", (), {"nonce": row.nonce})())
    asks = lms.post(token, state)
    assert asks.status_code == 200 and 'data-target="_parent"' in asks.text
    assert 'data-origin="https://lms.test"' in asks.text and value not in asks.text
    form = {"id_token": token, "state": state}
    for wrong in ("none", state, "x" * 32):
        refused = lms.client.post("/lti/tool/launch", data={**form, logins.PROOF: wrong})
        assert code_of(refused) == "state_cookie_missing"
    taken = lms.client.post("/lti/tool/launch", data={**form, logins.PROOF: value}, follow_redirects=False)
    assert taken.status_code == 303
    again = lms.client.post("/lti/tool/launch", data={**form, logins.PROOF: value}, follow_redirects=False)
    assert code_of(again) == "state_unknown"


def test_refusals_are_logged_by_code_and_tell_nothing_of_the_token(lms: Lms) -> None:
    login = lms.login()
    token = lms.id_token(login, sub="secret-sub", email="private@lms.test", version="1.1.0")
    with capture_logs() as logs:
        answer = lms.post(token, login.state)
    (line,) = [line for line in logs if line["event"] == "launch by an LMS refused"]
    assert (line["code"], line["status"]) == ("version_wrong", 400)
    assert f"(Reference: {line['reference']})" in answer.text
    for secret in ("secret-sub", "private@lms.test", token, login.state, login.nonce):
        assert secret not in str(logs) and secret not in answer.text


MOODLE = "http://127.0.0.1:18080"


@pytest.fixture
def replayed(
    lms: Lms, recorded: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Launched]:
    """A launch that a real Moodle sent, taken at the time when it was sent."""
    keys = json.loads(recorded("moodle-platform-04-jwks")["response"]["body"])
    moodle = Lms(lms.runtime, lms.client, lms.key, issuer=MOODLE, client_id="mSaor4X8KZxa0U1", deployment_id="6")
    moodle.register("moodle", jwks=keys)

    def run(name: str) -> Launched:
        token = recorded(name)
        claims = token["claims"]
        freeze(monkeypatch, claims["iat"] + 1)
        with lms.runtime.db.write() as session:
            session.add(
                tables.LmsLogin(
                    state_hash=logins._hash("s-1"),
                    nonce=claims["nonce"],
                    connection_id=moodle.connection_id,
                    target_link_uri=claims[CLAIM + "target_link_uri"],
                    expires_at=now() + logins.LIFE,
                )
            )
        held = {cookies.name_of("s-1"): "s-1"}
        return launches.launch(lms.runtime, {"id_token": token["jwt"], "state": "s-1"}, held)

    return run


def test_recorded_launches_of_moodle_are_taken(replayed: Callable[[str], Launched]) -> None:
    learner = replayed("moodle-platform-08-id-token-learner")
    assert (learner.subject, learner.deployment_id, learner.resource_link_id) == ("3", "6", "5")
    assert (learner.context_id, learner.context_title) == ("2", "Phishing awareness")
    assert learner.roles == {LEARNER}
    assert learner.custom["bridge_person"] == "E001"
    assert learner.target_link_uri == "http://127.0.0.1:19200/launch"
    assert replayed("moodle-platform-08-id-token-teacher").roles >= {INSTRUCTOR}
    assert replayed("moodle-platform-08-id-token-admin").subject == "2"
    chooses = replayed("moodle-platform-17-deep-link-request-token")
    assert chooses.message_type == "LtiDeepLinkingRequest"
    assert chooses.resource_link_id == ""


def test_the_login_that_moodle_began_is_answered(lms: Lms, recorded: Callable[[str], dict[str, Any]]) -> None:
    Lms(lms.runtime, lms.client, lms.key, issuer=MOODLE, client_id="mSaor4X8KZxa0U1").register(
        "moodle", auth_login_url=f"{MOODLE}/mod/lti/auth.php"
    )
    form = recorded("moodle-platform-06-oidc-initiation-learner")["request"]["form"] | {"target_link_uri": lms.tool}
    answer = lms.client.post("/lti/tool/login", data=form, follow_redirects=False)
    assert answer.status_code == 302
    assert answer.headers["location"].endswith("&login_hint=3&lti_message_hint=23")


def test_a_launch_says_roles_by_their_full_names(lms: Lms) -> None:
    login = lms.login()
    params = {"id_token": lms.id_token(login, roles=["Learner", FACULTY], custom=None), "state": login.state}
    launched = launches.launch(lms.runtime, params, {cookies.name_of(login.state): login.state})
    assert launched.roles == {LEARNER, FACULTY}
    assert launched.custom == {}
    assert "ada@lms.test" not in repr(launched)
