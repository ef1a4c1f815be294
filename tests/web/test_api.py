"""The API for programs: what is wrong with a request is said in one form, and then nothing was stored."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import io
import json
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from bridge.domain.events import BusinessEvent
from bridge.flows import accept_event, decide_prompts, open_launch, record_outcome
from bridge.flows.runtime import Runtime
from bridge.store import tables
from bridge.web.app import BodyLimit, create_app
from tests.web.conftest import Credential

MakeCredential = Callable[..., Credential]
STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
EVENT = {
    "specversion": "1.0",
    "id": "e1",
    "type": "desk.opportunity.created",
    "source": "https://desk.test",
    "subject": "opportunity/42",
    "data": {"amount": 250_000, "customer": "Hooli", "owner": {"id": "sam"}},
}


@pytest.fixture
def send(organised: Runtime, client: TestClient, credential: MakeCredential) -> Callable[..., Any]:
    """Sends events as a program that may, in the name of the desk."""
    del organised
    auth = credential("events:write", connection="desk")

    def post(body: Any, kind: str = STRUCTURED, **kwargs: Any) -> Any:
        content = json.dumps(body).encode() if isinstance(body, dict | list) else body
        headers = {"Content-Type": kind, **kwargs.pop("headers", {})}
        return client.post("/api/v1/events", content=content, headers=headers, **{"auth": auth, **kwargs})

    return post


def stored(runtime: Runtime) -> list[str]:
    with runtime.db.read() as session:
        return list(session.scalars(select(tables.Event.external_id).order_by(tables.Event.external_id)))


def error_of(response: Any) -> dict[str, str]:
    assert list(response.json()) == ["error"]
    error: dict[str, str] = response.json()["error"]
    assert error["message"]
    return error


# Events in.


def test_an_event_in_structured_mode_is_taken_once(organised: Runtime, send: Callable[..., Any]) -> None:
    first, second = send(EVENT), send(EVENT)
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["events"][0]["duplicate"] is False
    assert second.json()["events"] == [{"id": first.json()["events"][0]["id"], "duplicate": True}]
    assert stored(organised) == ["e1"]


def test_an_event_in_binary_mode(organised: Runtime, send: Callable[..., Any]) -> None:
    attributes = {f"ce-{name}": str(value) for name, value in EVENT.items() if name != "data"}
    answer = send(EVENT["data"], "application/json", headers={**attributes, "ce-subject": "Z%C3%BCrich%2F1"})
    assert answer.status_code == 202
    with organised.db.read() as session:
        row = session.scalars(select(tables.Event)).one()
    assert (row.external_id, row.subject, row.data["amount"]) == ("e1", "Zürich/1", 250_000)
    assert row.people["owner"]["id"] == "sam"


def test_a_batch(organised: Runtime, send: Callable[..., Any]) -> None:
    answer = send([{**EVENT, "id": f"e{number}"} for number in range(3)], BATCH)
    assert [taken["duplicate"] for taken in answer.json()["events"]] == [False] * 3
    assert stored(organised) == ["e0", "e1", "e2"]
    assert send([], BATCH).json() == {"events": []}


MALFORMED: list[tuple[Any, str, str]] = [
    ({**EVENT, "type": None}, STRUCTURED, "type"),
    ({**EVENT, "type": ""}, STRUCTURED, "type"),
    ({**EVENT, "id": 7}, STRUCTURED, "id"),
    ({key: value for key, value in EVENT.items() if key != "source"}, STRUCTURED, "source"),
    ({**EVENT, "specversion": "0.3"}, STRUCTURED, "specversion"),
    ({**EVENT, "time": "yesterday"}, STRUCTURED, "time"),
    ({**EVENT, "time": "2026-01-01T00:00:00"}, STRUCTURED, "time"),
    ({**EVENT, "data": [1]}, STRUCTURED, "data"),
    ({**EVENT, "data": "text"}, STRUCTURED, "data"),
    ({**EVENT, "id": "x" * 256}, STRUCTURED, "id"),
    ([EVENT, {**EVENT, "id": ""}], BATCH, "id"),
    ([EVENT, {**EVENT, "id": "e2", "type": "x" * 256}], BATCH, "[1].type"),
    (EVENT, "application/json", "specversion"),
    (EVENT, "application/cloudevents+avro", "content-type"),
    (EVENT, BATCH, ""),
    (b"{not json", STRUCTURED, ""),
    (b'{"specversion": "1.0", "id": "\\u0000"}', STRUCTURED, "id"),
    (b'{"specversion": "1.0", "id": "1", "type": "x", "source": "x", "data": {"x": "\\u0000"}}', STRUCTURED, "data"),
    (b'{"specversion": "1.0", "x": NaN}', STRUCTURED, ""),
    (b"\xff\xfe", STRUCTURED, ""),
    (b"[" * 100_000, STRUCTURED, ""),
    (b"", STRUCTURED, ""),
]


def test_a_malformed_event_is_400_with_its_field(organised: Runtime, send: Callable[..., Any]) -> None:
    for body, kind, field in MALFORMED:
        answer = send(body, kind)
        assert answer.status_code == 400, body
        error = error_of(answer)
        assert error["code"] in ("malformed", "invalid")
        assert error.get("field", "") == field, error
    assert stored(organised) == []


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_413(organised: Runtime, send: Callable[..., Any], announced: bool) -> None:
    large = json.dumps({**EVENT, "data": {"x": "y" * organised.settings.max_body_bytes}}).encode()

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(large), 65536):
            yield large[start : start + 65536]

    answer = send(large if announced else pieces())
    assert answer.status_code == 413
    assert error_of(answer)["code"] == "too_large"
    assert str(organised.settings.max_body_bytes) in error_of(answer)["message"]
    assert stored(organised) == []
    assert send(EVENT).status_code == 202


def test_a_body_that_is_announced_as_too_large_is_not_even_read() -> None:
    answers: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("it was read")

    async def send(message: Any) -> None:
        answers.append(message)

    async def app(*_: Any) -> None:
        raise AssertionError("it was passed on")

    refused = [("/hooks/crm", length) for length in (b"11", b"-1", b"\xb2", b"x")] + [("/xapi/statements", b"101")]
    for path, length in refused:
        scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"content-length", length)]}
        asyncio.run(BodyLimit(app, limit=10, of_xapi=100)(scope, receive, send))
    assert [message["status"] for message in answers if "status" in message] == [413] * len(refused)


def test_a_body_of_exactly_the_limit_is_read(organised: Runtime, send: Callable[..., Any]) -> None:
    rest = organised.settings.max_body_bytes - len(json.dumps({**EVENT, "data": {"x": ""}}))
    assert send({**EVENT, "data": {"x": "y" * rest}}).status_code == 202
    assert send({**EVENT, "data": {"x": "y" * (rest + 1)}}).status_code == 413


# Who may.


def test_without_a_credential_it_is_401(organised: Runtime, client: TestClient, send: Callable[..., Any]) -> None:
    answers = [
        client.post("/api/v1/events", content=b"{}"),
        send(EVENT, auth=("fb_nobody", "wrong")),
        send(EVENT, auth=None, headers={"Authorization": "Basic !!!"}),
        send(EVENT, auth=None, headers={"Authorization": "Bearer nonsense"}),
        send(EVENT, auth=None, headers={"Authorization": "Digest x:y"}),
        client.get("/api/v1/prompts"),
    ]
    for answer in answers:
        assert answer.status_code == 401
        assert error_of(answer)["code"] == "unauthorized"
        assert "flowbridge credentials create" in error_of(answer)["message"]
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert stored(organised) == []


def test_key_and_secret_may_come_as_a_bearer_token(send: Callable[..., Any], credential: MakeCredential) -> None:
    key, secret = credential("events:write", connection="desk")
    assert send(EVENT, auth=None, headers={"Authorization": f"Bearer {key}:{secret}"}).status_code == 202


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("/api/v1/prompts", "prompts:read"),
        ("/api/v1/assets", "assets:read"),
        ("/api/v1/reports/completions", "reports:read"),
        (f"/api/v1/events/{uuid.UUID(int=7)}", "prompts:read"),
    ],
)
def test_each_reading_needs_its_scope(
    client: TestClient, organised: Runtime, credential: MakeCredential, path: str, scope: str
) -> None:
    del organised
    refused = client.get(path, auth=credential("events:write"))
    assert refused.status_code == 403
    assert error_of(refused)["code"] == "forbidden"
    assert scope in error_of(refused)["message"]
    assert client.get(path, auth=credential(scope)).status_code in (200, 404)


def test_writing_needs_its_scope(organised: Runtime, send: Callable[..., Any], credential: MakeCredential) -> None:
    assert send(EVENT, auth=credential("reports:read", "prompts:read")).status_code == 403
    assert send(EVENT, auth=credential("all", connection="desk")).status_code == 202
    assert stored(organised) == ["e1"]


def test_a_credential_speaks_for_its_connection_only(
    organised: Runtime, send: Callable[..., Any], credential: MakeCredential
) -> None:
    other = send(EVENT, params={"connection": "guides"})
    assert (other.status_code, error_of(other)["code"]) == (403, "other_connection")
    assert send(EVENT, params={"connection": "desk"}).status_code == 202
    free = credential("events:write")
    unnamed = send(EVENT, auth=free)
    assert (unnamed.status_code, error_of(unnamed)["field"]) == (400, "connection")
    unknown = send(EVENT, auth=free, params={"connection": "dsek"})
    assert (unknown.status_code, error_of(unknown)["code"]) == (404, "not_found")
    assert send({**EVENT, "id": "e2"}, auth=free, params={"connection": "desk"}).status_code == 202
    assert stored(organised) == ["e1", "e2"]


def test_a_connection_that_is_off_takes_nothing(organised: Runtime, send: Callable[..., Any]) -> None:
    with organised.db.write() as session:
        session.scalars(select(tables.Connection).where(tables.Connection.name == "desk")).one().enabled = False
    answer = send(EVENT)
    assert (answer.status_code, error_of(answer)["code"]) == (403, "connection_disabled")


# Reading.


def test_an_event_and_all_that_came_of_it(
    organised: Runtime, client: TestClient, send: Callable[..., Any], credential: MakeCredential
) -> None:
    event_id = send(EVENT).json()["events"][0]["id"]
    auth = credential("prompts:read")
    assert client.get(f"/api/v1/events/{event_id}", auth=auth).json()["prompts"] == []
    decide_prompts.decide(organised)
    with organised.db.read() as session:
        prompt = session.scalars(select(tables.Prompt)).one()
    opened = open_launch.open_prompt(organised, prompt.id, prompt.person_id or 0)
    record_outcome.finish(organised, opened.launch_id, prompt.person_id or 0)
    chain = client.get(f"/api/v1/events/{event_id}", auth=auth).json()
    (decision,) = chain["prompts"]
    assert (chain["connection"], chain["external_id"], decision["id"]) == ("desk", "e1", str(prompt.id))
    assert (decision["rule"], decision["person"], decision["asset"]) == (
        "enterprise-pricing",
        "E001",
        "guides/pricing.md",
    )
    assert [delivery["channel"] for delivery in decision["deliveries"]] == ["widget"]
    (launch,) = decision["launches"]
    assert [outcome["verb"] for outcome in launch["outcomes"]] == ["completed"]
    assert len(launch["statements"]) == 2
    assert client.get(f"/api/v1/events/{uuid.uuid4()}", auth=auth).status_code == 404
    assert client.get("/api/v1/events/nonsense", auth=auth).status_code == 404


def test_decisions_are_listed_newest_first_with_their_reasons(
    organised: Runtime, client: TestClient, send: Callable[..., Any], credential: MakeCredential
) -> None:
    send([EVENT, {**EVENT, "id": "e2", "data": {"amount": 1, "owner": {"id": "sam"}}}], BATCH)
    decide_prompts.decide(organised)
    auth = credential("prompts:read")

    def reasons(**params: str) -> list[str]:
        answer = client.get("/api/v1/prompts", params=params, auth=auth)
        assert answer.status_code == 200
        return [prompt["reason"] for prompt in answer.json()["prompts"]]

    assert sorted(reasons()) == ["condition_false", "offered"]
    assert reasons(offered="true") == ["offered"]
    assert reasons(offered="false") == ["condition_false"]
    assert len(reasons(limit="1")) == 1
    newest = client.get("/api/v1/prompts", auth=auth).json()["prompts"][0]["created_at"]
    assert len(reasons(before=newest)) == 1
    assert len(reasons(before=newest.removesuffix("Z").split("+")[0])) == 1, "a time without a zone is in UTC"
    wrong = client.get("/api/v1/prompts", params={"limit": "0"}, auth=auth)
    assert (wrong.status_code, error_of(wrong)["code"], error_of(wrong)["field"]) == (422, "invalid", "limit")


def test_assets_are_found_by_their_words(
    organised: Runtime, client: TestClient, credential: MakeCredential, guides: Path
) -> None:
    auth = credential("assets:read")

    def found(**params: str) -> list[str]:
        return [a["asset"] for a in client.get("/api/v1/assets", params=params, auth=auth).json()["assets"]]

    assert found() == ["guides/pricing.md", "guides/stakeholders.md"]
    assert found(q="STAKEHOLDER risk") == ["guides/stakeholders.md"]
    assert found(q="%") == []
    assert found(connection="desk") == []
    assert found(retired="true") == []
    assert found(limit="1") == ["guides/pricing.md"]
    del organised, guides


def test_the_report_comes_as_json_and_as_csv(
    organised: Runtime,
    client: TestClient,
    credential: MakeCredential,
    event: Callable[..., BusinessEvent],
) -> None:
    accept_event.accept(organised, "desk", [event(subject="=1+1")])
    decide_prompts.decide(organised)
    with organised.db.read() as session:
        prompt = session.scalars(select(tables.Prompt)).one()
    opened = open_launch.open_prompt(organised, prompt.id, prompt.person_id or 0)
    at = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)
    record_outcome.record(
        organised, opened.launch_id, source="ags", verb="passed", completed=True, score=0.8, occurred_at=at
    )
    auth = credential("reports:read")

    def report(**params: str) -> Any:
        return client.get("/api/v1/reports/completions", params=params, auth=auth)

    (row,) = report().json()
    assert (row["person"], row["score"], row["subject"]) == ("E001", 0.8, "=1+1")
    answer = report(format="csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="completions.csv"'
    (line,) = csv.DictReader(io.StringIO(answer.text))
    assert (line["launch"], line["subject"]) == (str(opened.launch_id), "'=1+1")
    assert report(since="2026-01-02T12:00:01").json() == []
    assert report(until="2026-01-02T12:00:00Z").json() == []
    assert len(report(since="2026-01-02T11:00:00-01:00", until="2026-01-03").json()) == 1
    for wrong in ({"since": "yesterday"}, {"format": "xml"}):
        assert (report(**wrong).status_code, error_of(report(**wrong))["field"]) == (422, next(iter(wrong)))
    assert report(since="0001-01-01T00:00:00+14:00").status_code == 400


# What every answer keeps to.


def test_what_is_not_there_says_so_in_the_same_form(client: TestClient) -> None:
    nowhere = client.get("/api/v1/nonsense")
    assert (nowhere.status_code, error_of(nowhere)["code"]) == (404, "not_found")
    wrong_method = client.delete("/api/v1/prompts")
    assert (wrong_method.status_code, error_of(wrong_method)["code"]) == (405, "method_not_allowed")
    assert wrong_method.headers["Allow"] == "GET"


def test_programs_get_json_even_if_they_would_take_a_page(client: TestClient) -> None:
    answer = client.get("/api/v1/prompts", headers={"Accept": "text/html,*/*"})
    assert answer.headers["content-type"] == "application/json"


def test_a_fault_of_ours_is_told_without_its_details(
    organised: Runtime, credential: MakeCredential, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("the secret is hunter2")

    monkeypatch.setattr("bridge.flows.trace.decisions", broken)
    with TestClient(create_app(organised), base_url="http://bridge.test", raise_server_exceptions=False) as client:
        answer = client.get("/api/v1/prompts", auth=credential("all"))
    assert (answer.status_code, error_of(answer)["code"]) == (500, "internal")
    assert "hunter2" not in answer.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_interface_is_described_for_programs(client: TestClient) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paths = client.get("/openapi.json").json()["paths"]
    assert {"/api/v1/events", "/api/v1/prompts", "/hooks/{connection}", "/go/{ticket}"} <= set(paths)
    assert "post" in paths["/hooks/{connection}"]


def test_alive_ready_and_what_waits(organised: Runtime, client: TestClient, send: Callable[..., Any]) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready"}
    send(EVENT)
    assert 'flowbridge_waiting{queue="decide"} 1.0' in client.get("/metrics").text
    decide_prompts.decide(organised)
    shown = client.get("/metrics").text
    assert 'flowbridge_waiting{queue="decide"} 0.0' in shown
    assert 'flowbridge_waiting{queue="deliver"} 1.0' in shown


def test_a_database_of_another_version_is_not_ready(organised: Runtime, client: TestClient) -> None:
    with organised.db.engine.begin() as connection:
        connection.exec_driver_sql("update alembic_version set version_num = '0000'")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
    assert "flowbridge db upgrade" in answer.json()["problem"]


@pytest.mark.postgres
def test_what_postgresql_can_not_store_is_malformed(pg_runtime: Runtime) -> None:
    with TestClient(create_app(pg_runtime), base_url="http://bridge.test") as client:
        for answer in (
            client.post("/hooks/a%00b", content=b"{}"),
            client.post("/sign-in", data={"email": "a\0b", "password": "x"}),
        ):
            assert (answer.status_code, error_of(answer)["code"]) == (400, "malformed")
        assert client.get("/api/v1/prompts", auth=("fb_\0", "x")).status_code == 401
    with pg_runtime.db.read() as session:
        assert session.scalar(select(func.count()).select_from(tables.Event)) == 0
