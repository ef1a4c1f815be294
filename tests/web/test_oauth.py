"""Access tokens by client credentials: what a program sends, what it gets, and when that is good no more."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from bridge.flows import callers, identity
from bridge.flows.runtime import Runtime

ASK = {"grant_type": "client_credentials"}
XAPI = {"X-Experience-API-Version": "1.0.3"}


@pytest.fixture
def program(runtime: Runtime) -> tuple[str, str]:
    return identity.create_credential(runtime, "a program", ["prompts:read", "statements/read", "state"])


def ask(client: TestClient, *, by: tuple[str, str] | None = None, **form: str) -> Response:
    return client.post("/oauth/token", data={**ASK, **form}, auth=by)


def bearer(answer: Response) -> dict[str, str]:
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def test_a_token_by_basic_opens_the_api_and_the_lrs(client: TestClient, program: tuple[str, str]) -> None:
    answer = ask(client, by=program)
    told = answer.json()
    assert told == {
        "access_token": told["access_token"],
        "token_type": "Bearer",
        "expires_in": callers.TOKEN_SECONDS,
        "scope": "prompts:read state statements/read",
    }
    assert (answer.headers["Cache-Control"], answer.headers["Pragma"]) == ("no-store", "no-cache")
    assert client.get("/api/v1/prompts", headers=bearer(answer)).status_code == 200
    assert client.get("/xapi/statements", headers={**bearer(answer), **XAPI}).status_code == 200
    assert client.get("/api/v1/assets", headers=bearer(answer)).status_code == 403


def test_a_token_by_the_body_has_only_the_scopes_that_were_asked_for(
    client: TestClient, program: tuple[str, str]
) -> None:
    answer = ask(client, client_id=program[0], client_secret=program[1], scope="state  prompts:read state")
    assert answer.json()["scope"] == "state prompts:read"
    assert client.get("/api/v1/prompts", headers=bearer(answer)).status_code == 200
    assert client.get("/xapi/statements", headers={**bearer(answer), **XAPI}).status_code == 403


def test_a_credential_for_all_may_ask_for_any_scope(client: TestClient, runtime: Runtime) -> None:
    everything = identity.create_credential(runtime, "x", ["all"])
    answer = ask(client, by=everything, scope="assets:read")
    assert client.get("/api/v1/assets", headers=bearer(answer)).status_code == 200
    assert client.get("/api/v1/prompts", headers=bearer(answer)).status_code == 403


REFUSED: dict[str, tuple[dict[str, str], int, str]] = {
    "no grant type": ({"grant_type": ""}, 400, "unsupported_grant_type"),
    "a password": ({"grant_type": "password", "username": "x", "password": "y"}, 400, "unsupported_grant_type"),
    "a scope that it has not": ({"scope": "state reports:read"}, 400, "invalid_scope"),
    "a scope that is none": ({"scope": "state everything"}, 400, "invalid_scope"),
    "all": ({"scope": "all"}, 400, "invalid_scope"),
    "a wrong secret": ({"client_secret": "wrong"}, 401, "invalid_client"),
    "another client": ({"client_id": "fb_0123456789abcdef"}, 401, "invalid_client"),
    "nobody": ({"client_id": "", "client_secret": ""}, 401, "invalid_client"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_said_in_the_words_of_oauth(client: TestClient, program: tuple[str, str], name: str) -> None:
    changed, status, word = REFUSED[name]
    form = {"client_id": program[0], "client_secret": program[1], **changed}
    answer = ask(client, **form)
    assert (answer.status_code, answer.json()["error"]) == (status, word)
    assert answer.json()["error_description"] and program[1] not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert ("www-authenticate" in answer.headers) is (status == 401)


def test_a_request_that_is_none_is_refused(client: TestClient, program: tuple[str, str]) -> None:
    def error(**how: Any) -> tuple[int, str]:
        answer = client.post("/oauth/token", **how)
        return answer.status_code, answer.json()["error"]

    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert error(json=ASK, auth=program) == (400, "invalid_request")
    assert (
        error(content="grant_type=client_credentials&grant_type=x", headers=form, auth=program)[1] == "invalid_request"
    )
    assert error(data={"scope": "state"}, auth=program) == (400, "invalid_request")
    assert error(data={**ASK, "client_secret": program[1]}, auth=program) == (400, "invalid_request")
    assert error(data={**ASK, "client_id": "fb_other"}, auth=program) == (401, "invalid_client")
    assert error(data=ASK, headers={"Authorization": "Basic nonsense"}) == (401, "invalid_client")
    assert error(data=ASK, headers={"Authorization": "Bearer x"}) == (401, "invalid_client")
    assert client.get("/oauth/token").status_code == 405


def test_revoking_the_credential_ends_its_tokens(
    client: TestClient, runtime: Runtime, program: tuple[str, str]
) -> None:
    headers = bearer(ask(client, by=program))
    identity.revoke_credential(runtime, program[0])
    assert client.get("/api/v1/prompts", headers=headers).status_code == 401
    assert client.get("/xapi/statements", headers={**headers, **XAPI}).status_code == 401
    assert ask(client, by=program).json()["error"] == "invalid_client"


def test_a_token_is_good_for_its_time_and_only_as_it_was_signed(
    client: TestClient, runtime: Runtime, program: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = ask(client, by=program).json()["access_token"]
    claims = jwt.decode(good, options={"verify_signature": False})
    key = runtime.vault.derive("oauth")
    forged = {
        "over": jwt.encode({**claims, "exp": int(time.time()) - 1}, key),
        "for ever": jwt.encode({name: claims[name] for name in claims if name != "exp"}, key),
        "by another key": jwt.encode(claims, runtime.vault.derive("widget")),
        "for another purpose": jwt.encode({**claims, "aud": "widget"}, key),
        "by no key": jwt.encode(claims, "", algorithm="none"),
        "cut off": good[:-2],
        "for nobody": jwt.encode({**claims, "sub": "fb_nobody"}, key),
    }
    for name, token in forged.items():
        for path in ("/api/v1/prompts", "/xapi/statements"):
            assert client.get(path, headers={"Authorization": f"Bearer {token}"}).status_code == 401, name
    more = jwt.encode({**claims, "scope": "all reports:read"}, key)
    answer = client.get("/api/v1/reports/completions", headers={"Authorization": f"Bearer {more}"})
    assert answer.status_code == 403, "a token can do no more than its credential, whoever has signed it"
