"""Service tokens: how a tool proves itself, what it gets, and what is refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from sqlalchemy import select

from bridge.flows.runtime import Runtime
from bridge.store import tables

AGS = "https://purl.imsglobal.org/spec/lti-ags/scope/"
SCORE, LINE_ITEM, RESULT, READ = (AGS + name for name in ("score", "lineitem", "result.readonly", "lineitem.readonly"))
SAML = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"
NRPS = "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly"


def refused(answer: Any) -> tuple[int, str, str]:
    """Status, OAuth word and stable code of a refusal."""
    said = answer.json()
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, said["error"], said["error_description"].rpartition("(")[2].rstrip(")")


def test_a_tool_gets_exactly_the_scope_that_it_asks_for(office: Any) -> None:
    answer = office.ask_token(office.assertion(), SCORE)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    said = answer.json()
    assert (said["token_type"].lower(), said["expires_in"], said["scope"]) == ("bearer", 3600, SCORE)


def test_what_was_not_granted_is_left_out_and_the_answer_says_so(office: Any) -> None:
    office.change_tool(scopes=[SCORE, RESULT])
    said = office.ask_token(office.assertion(), f"{LINE_ITEM} {SCORE} {NRPS} {SCORE}").json()
    assert said["scope"] == SCORE


@pytest.mark.parametrize("scope", ["", LINE_ITEM, NRPS, "openid", "score", SCORE.upper()])
def test_nothing_granted_is_an_error(office: Any, scope: str) -> None:
    office.change_tool(scopes=[SCORE, RESULT])
    assert refused(office.ask_token(office.assertion(), scope)) == (400, "invalid_scope", "scope_not_granted")


def test_the_token_is_not_kept_in_clear(office: Any) -> None:
    token = office.ask_token(office.assertion()).json()["access_token"]
    with office.runtime.db.read() as session:
        row = session.scalars(select(tables.AccessToken)).one()
    assert token.encode() not in row.token_hash
    assert row.scopes == [SCORE]


@pytest.mark.parametrize("changes", [{}, {"aud": "http://bridge.test"}, {"aud": ["http://bridge.test/lti/token"]}])
def test_the_audience_is_the_token_address_or_the_issuer(office: Any, changes: dict[str, Any]) -> None:
    assert office.ask_token(office.assertion(**changes)).status_code == 200


@pytest.mark.parametrize("ahead", [-20, 0, 50])
def test_a_clock_that_is_off_by_less_than_a_minute_is_fine(office: Any, ahead: int) -> None:
    at = int(time.time()) + ahead
    assert office.ask_token(office.assertion(iat=at, exp=at + 60)).status_code == 200


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"aud": None}, "assertion_invalid"),
        ({"aud": "http://bridge.test/"}, "assertion_invalid"),
        ({"aud": "http://bridge.test/lti/token/"}, "assertion_invalid"),
        ({"aud": "http://other.test/lti/token"}, "assertion_invalid"),
        ({"iss": "other"}, "client_unknown"),
        ({"iss": None}, "client_unknown"),
        ({"sub": "other"}, "assertion_invalid"),
        ({"sub": None}, "assertion_invalid"),
        ({"sub": 7}, "assertion_invalid"),
        ({"exp": None}, "assertion_invalid"),
        ({"exp": int(time.time()) - 3600}, "assertion_invalid"),
        ({"exp": int(time.time()) + 86_400}, "assertion_life"),
        ({"exp": 1e300}, "assertion_life"),
        ({"exp": "soon"}, "assertion_invalid"),
        ({"iat": None}, "assertion_invalid"),
        ({"iat": int(time.time()) + 3600, "exp": int(time.time()) + 3660}, "assertion_invalid"),
        ({"iat": float("inf")}, "assertion_invalid"),
        ({"iat": int(time.time()) - 86_400}, "assertion_life"),
        ({"nbf": int(time.time()) + 3600}, "assertion_invalid"),
        ({"jti": None}, "assertion_invalid"),
        ({"jti": ""}, "assertion_jti"),
        ({"jti": 7}, "assertion_invalid"),
        ({"jti": "j" * 513}, "assertion_jti"),
        ({"kid": None}, "assertion_kid_missing"),
        ({"kid": "k9"}, "kid_unknown"),
        ({"kid": "../k1"}, "kid_unknown"),
        ({"alg": "RS512"}, "assertion_algorithm"),
        ({"alg": "PS256"}, "assertion_algorithm"),
        ({"client_id": "client-9"}, "client_unknown"),
    ],
)
def test_an_assertion_that_proves_nothing_is_refused(office: Any, changes: dict[str, Any], code: str) -> None:
    assert refused(office.ask_token(office.assertion(**changes))) == (401, "invalid_client", code)


def test_a_signature_of_another_key_is_refused(office: Any, other_key: Any) -> None:
    assert refused(office.ask_token(office.assertion(key=other_key))) == (401, "invalid_client", "assertion_invalid")


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_an_assertion_signed_with_a_shared_secret_is_refused(office: Any) -> None:
    secret = b"a shared secret that is long enough for HS256"
    forged = office.assertion(alg="HS256", key=secret)
    assert refused(office.ask_token(forged)) == (401, "invalid_client", "assertion_algorithm")


def test_an_unsigned_assertion_is_refused(office: Any) -> None:
    claims = jwt.decode(office.assertion(), options={"verify_signature": False})
    unsigned = jwt.encode(claims, None, algorithm="none", headers={"kid": "k1"})
    assert refused(office.ask_token(unsigned)) == (401, "invalid_client", "assertion_algorithm")


@pytest.mark.parametrize("assertion", ["", "x", "a.b.c", "ey.ey.ey", "é.é.é", "W10.W10.W10"])
def test_what_is_no_token_is_refused(office: Any, assertion: str) -> None:
    assert refused(office.ask_token(assertion)) == (401, "invalid_client", "assertion_malformed")


def test_our_own_id_token_is_no_assertion(office: Any) -> None:
    id_token = office.authorize(office.started())[1]["id_token"]
    assert office.ask_token(id_token).status_code == 401


def test_another_tools_name_does_not_help(office: Any, other_key: Any) -> None:
    office.change_tool("second", jwks={"keys": [office.jwk(other_key, "k1")]})
    assert refused(office.ask_token(office.assertion(client_id="client-2")))[2] == "assertion_invalid"


def test_an_assertion_counts_once(office: Any) -> None:
    assertion = office.assertion()
    assert office.ask_token(assertion).status_code == 200
    assert refused(office.ask_token(assertion)) == (401, "invalid_client", "assertion_replayed")


def test_two_tools_may_happen_to_use_the_same_jti(office: Any) -> None:
    assert office.ask_token(office.assertion(jti="same")).status_code == 200
    assert office.ask_token(office.assertion(jti="same", client_id="client-2")).status_code == 200


@pytest.mark.parametrize(
    ("changes", "error", "code"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type", "grant_type_wrong"),
        ({"grant_type": ""}, "unsupported_grant_type", "grant_type_wrong"),
        ({"client_assertion_type": SAML}, "invalid_request", "assertion_type_wrong"),
        ({"client_assertion_type": ""}, "invalid_request", "assertion_type_wrong"),
    ],
)
def test_another_kind_of_request_is_refused(office: Any, changes: dict[str, str], error: str, code: str) -> None:
    assert refused(office.ask_token(office.assertion(), **changes)) == (400, error, code)


def test_parameters_must_come_as_a_form(office: Any) -> None:
    answer = office.client.post("/lti/token", json={"grant_type": "client_credentials"})
    assert refused(answer) == (400, "invalid_request", "not_a_form")
    form = {"content-type": "application/x-www-form-urlencoded"}
    twice = office.client.post("/lti/token", content="grant_type=a&grant_type=b", headers=form)
    assert refused(twice) == (400, "invalid_request", "parameter_repeated")
    broken = office.client.post("/lti/token", content="grant_type=%ff", headers=form)
    assert refused(broken) == (400, "invalid_request", "parameters_malformed")


def test_a_tool_that_is_switched_off_gets_no_token_and_its_old_ones_end(office: Any) -> None:
    items = office.claims()["https://purl.imsglobal.org/spec/lti-ags/claim/endpoint"]["lineitems"]
    bearer = office.bearer(LINE_ITEM)
    assert office.client.get(items, headers=bearer).status_code == 200
    office.change_tool(enabled=False)
    assert refused(office.ask_token(office.assertion()))[2] == "client_unknown"
    assert office.client.get(items, headers=bearer).json()["error"] == "token_invalid"


def test_a_scope_that_is_taken_away_ends_in_old_tokens_too(office: Any) -> None:
    items = office.claims()["https://purl.imsglobal.org/spec/lti-ags/claim/endpoint"]["lineitems"]
    bearer = office.bearer(LINE_ITEM)
    office.change_tool(scopes=[SCORE])
    assert office.client.get(items, headers=bearer).status_code == 403


def test_a_token_survives_a_restart(office: Any) -> None:
    items = office.claims()["https://purl.imsglobal.org/spec/lti-ags/claim/endpoint"]["lineitems"]
    bearer = office.bearer(LINE_ITEM)
    office.client.app.state.runtime = Runtime.start(office.runtime.settings)
    assert office.client.get(items, headers=bearer).status_code == 200
    office.client.app.state.runtime.db.close()


def test_only_a_living_token_in_the_header_opens_a_service(office: Any, expire: Callable[..., None]) -> None:
    claims = office.claims()
    items = claims["https://purl.imsglobal.org/spec/lti-ags/claim/endpoint"]["lineitems"]
    good = office.bearer(LINE_ITEM)["authorization"]
    token = good.removeprefix("Bearer ")
    id_token = office.authorize(office.started())[1]["id_token"]
    for value in (
        "",
        "Bearer",
        "Bearer ",
        f"Basic {token}",
        f"Bearer {token}x",
        f"Bearer {id_token}",
        "Bearer " + office.assertion(),
    ):
        answer = office.client.get(items, headers={"authorization": value} if value else {})
        assert answer.status_code == 401, value
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert office.client.get(items, params={"access_token": token}).status_code == 401
    assert office.client.get(items, headers={"authorization": f"bearer {token}"}).status_code == 200
    expire(office.runtime, tables.AccessToken)
    assert office.client.get(items, headers={"authorization": good}).json()["error"] == "token_invalid"
