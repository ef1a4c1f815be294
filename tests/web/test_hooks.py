"""Webhooks over HTTP: what is not proved or not understood is refused in words, and nothing of it is stored."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from bridge.connect.signing import sign_standard_webhook
from bridge.flows import configure, decide_prompts, open_launch
from bridge.flows.runtime import Runtime
from bridge.store import tables
from tests.flows.conftest import SECRET

EVENT = {
    "specversion": "1.0",
    "id": "e1",
    "type": "desk.opportunity.created",
    "source": "https://desk.test",
    "subject": "opportunity/42",
    "data": {"amount": 250_000, "customer": "Hooli", "owner": {"id": "sam"}},
}
Call = Callable[..., Any]


@pytest.fixture
def call(organised: Runtime, client: TestClient) -> Call:
    """Calls a hook as the desk does, signed; every part can be replaced."""
    del organised

    def post(body: Any = EVENT, *, to: str = "desk", signed: Any = None, **headers: str) -> Any:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        signature = sign_standard_webhook(SECRET, "msg_1", content) if signed is None else signed
        kind = "application/cloudevents-batch+json" if isinstance(body, list) else "application/cloudevents+json"
        return client.post(f"/hooks/{to}", content=content, headers={"content-type": kind, **signature, **headers})

    return post


def stored(runtime: Runtime) -> list[str]:
    with runtime.db.read() as session:
        return list(session.scalars(select(tables.Event.external_id).order_by(tables.Event.external_id)))


def error_of(response: Any) -> dict[str, str]:
    assert list(response.json()) == ["error"]
    error: dict[str, str] = response.json()["error"]
    return error


def test_a_signed_event_is_taken_once(organised: Runtime, call: Call) -> None:
    first, second = call(), call()
    assert (first.status_code, second.status_code) == (202, 202)
    assert [first.json()["events"][0]["duplicate"], second.json()["events"][0]["duplicate"]] == [False, True]
    assert stored(organised) == ["e1"]


def test_a_batch_is_taken_whole_or_not_at_all(organised: Runtime, call: Call) -> None:
    assert call([EVENT, {**EVENT, "id": "e2"}]).status_code == 202
    refused = call([{**EVENT, "id": "e3"}, {**EVENT, "id": "e4", "type": ""}])
    assert (refused.status_code, error_of(refused)["field"]) == (400, "type")
    assert stored(organised) == ["e1", "e2"]


def test_binary_mode_is_verified_on_its_raw_body(organised: Runtime, client: TestClient) -> None:
    body = json.dumps(EVENT["data"]).encode()
    attributes = {f"ce-{name}": str(value) for name, value in EVENT.items() if name != "data"}
    headers = {"content-type": "application/json", **attributes, **sign_standard_webhook(SECRET, "m", body)}
    assert client.post("/hooks/desk", content=body, headers=headers).status_code == 202
    assert client.post("/hooks/desk", content=body + b" ", headers=headers).status_code == 401
    assert stored(organised) == ["e1"]


def test_what_is_not_signed_by_the_right_secret_now_is_401(organised: Runtime, call: Call) -> None:
    content = json.dumps(EVENT).encode()
    other = "whsec_" + "QUJD" * 12
    right = sign_standard_webhook(SECRET, "msg_1", content)
    wrong: dict[str, dict[str, str]] = {
        "nothing": {},
        "another secret": sign_standard_webhook(other, "msg_1", content),
        "another body": sign_standard_webhook(SECRET, "msg_1", content + b" "),
        "another id": {**right, "webhook-id": "msg_2"},
        "an hour old": sign_standard_webhook(SECRET, "msg_1", content, now=time.time() - 3600),
        "an hour early": sign_standard_webhook(SECRET, "msg_1", content, now=time.time() + 3600),
        "no time": {**right, "webhook-timestamp": ""},
        "a bearer instead": {"authorization": f"Bearer {SECRET}"},
        "not ascii": {**right, "webhook-signature": "v1,\xe9"},
    }
    for name, headers in wrong.items():
        answer = call(signed={key: value.encode("latin-1") for key, value in headers.items()})
        assert (answer.status_code, error_of(answer)["code"]) == (401, "signature_invalid"), name
        assert SECRET not in answer.text
    assert stored(organised) == []


def test_a_body_that_is_signed_and_malformed_is_400_with_its_field(organised: Runtime, call: Call) -> None:
    for body, field in (({**EVENT, "time": "soon"}, "time"), ({**EVENT, "data": 7}, "data"), (b"nonsense", "")):
        answer = call(body)
        assert (answer.status_code, error_of(answer).get("field", "")) == (400, field)
    assert stored(organised) == []


def test_a_wrong_signature_comes_before_a_malformed_body(call: Call) -> None:
    assert call(b"nonsense", signed={}).status_code == 401


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_413(organised: Runtime, client: TestClient, announced: bool) -> None:
    large = b"x" * (organised.settings.max_body_bytes + 1)

    def pieces() -> Iterator[bytes]:
        yield large[:70_000]
        yield large[70_000:]

    answer = client.post("/hooks/desk", content=large if announced else pieces())
    assert (answer.status_code, error_of(answer)["code"]) == (413, "too_large")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_connection_that_is_unknown_or_takes_no_webhooks_is_404(call: Call) -> None:
    for name in ("dsek", "guides", "desk%2F..", "%F0%9F%92%A9"):
        answer = call(to=name)
        assert (answer.status_code, error_of(answer)["code"]) == (404, "not_found"), name


def test_a_connection_that_is_off_is_403(organised: Runtime, call: Call) -> None:
    with organised.db.write() as session:
        session.scalars(select(tables.Connection).where(tables.Connection.name == "desk")).one().enabled = False
    answer = call()
    assert (answer.status_code, error_of(answer)["code"]) == (403, "connection_disabled")
    assert stored(organised) == []


def test_a_bridge_that_lacks_the_secret_is_at_fault_itself(organised: Runtime, call: Call) -> None:
    """The sender is to try again later, not to give the event up."""
    with organised.db.write() as session:
        desk = session.scalars(select(tables.Connection).where(tables.Connection.name == "desk")).one()
        desk.config = {"secrets": ["env:BRIDGE_TEST_NOT_SET"]}
    answer = call()
    assert (answer.status_code, error_of(answer)["code"]) == (503, "connection_problem")


def test_a_handshake_is_answered(client: TestClient, organised: Runtime) -> None:
    answer = client.options("/hooks/desk", headers={"WebHook-Request-Origin": "desk.test"})
    assert (answer.status_code, answer.headers["WebHook-Allowed-Origin"]) == (200, "desk.test")
    assert client.get("/hooks/desk").status_code == 401
    assert client.put("/hooks/desk").status_code == 405
    assert stored(organised) == []


def test_a_sender_that_can_not_sign_has_a_bearer_token(organised: Runtime, client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text(
        "connections: [{name: flow, connector: webhook, config: {bearer: a bearer token of its own}}]"
    )
    configure.apply(organised, tmp_path / "more.yaml")

    def post(token: str) -> int:
        headers = {"content-type": "application/cloudevents+json", "authorization": f"Bearer {token}"}
        return client.post("/hooks/flow", content=json.dumps(EVENT), headers=headers).status_code

    assert (post("a bearer token of its own"), post("another"), post("")) == (202, 401, 401)


def test_an_event_becomes_a_prompt_with_the_facts_of_its_record(organised: Runtime, call: Call) -> None:
    assert call().status_code == 202
    decide_prompts.decide(organised)
    with organised.db.read() as session:
        prompt = session.scalars(select(tables.Prompt)).one()
    assert (prompt.offered, prompt.say) == (True, "Before you quote Hooli, read this.")
    assert open_launch.launch_url(organised, prompt.id).startswith("http://bridge.test/go/")
