"""Who reads what at the built-in LRS, from where, in which syntax, and how much at once."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient

from bridge.flows.runtime import Runtime
from tests.xapi.program import ANN, Program, statement

STATEMENTS = "/xapi/statements"


def ids(program: Program) -> list[str]:
    return [one["id"] for one in program.send("GET", "/statements").json()["statements"]]


def test_read_mine_shows_only_what_the_reader_stated(server: TestClient, bridge: Runtime) -> None:
    mine, other = Program(server, bridge, "statements/write", "statements/read/mine"), Program(server, bridge)
    own, foreign = statement(), statement()
    mine.store(own)
    other.store(foreign)
    other.store(statement(object={"objectType": "StatementRef", "id": own["id"]}))
    assert ids(mine) == [own["id"]]
    assert len(ids(Program(server, bridge, "all/read"))) == len(ids(Program(server, bridge, "statements/read"))) == 3
    by_id = [mine.send("GET", "/statements", {"statementId": of["id"]}).status_code for of in (own, foreign)]
    assert by_id == [200, 404]


def form(program: Program, method: str, headers: dict[str, str] | None = None, **fields: str) -> int:
    told = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
    return program.client.post(
        f"{STATEMENTS}?{urlencode({'method': method})}", content=urlencode(fields), headers=told
    ).status_code


def test_1_0_3_has_requests_in_a_form(runtime: Runtime, client: TestClient) -> None:
    program, sent = Program(client, runtime), statement()
    said = {**program.headers, "content": json.dumps(sent), "Content-Type": "application/json"}
    assert form(program, "PUT", **said, statementId=sent["id"]) == 204
    assert form(program, "GET", **program.headers, statementId=sent["id"]) == 200
    assert form(program, "GET", program.headers) == 200
    assert form(program, "GET", program.headers, **{"If-Match": "\u6f22"}) == 400


def test_a_form_holds_any_text(runtime: Runtime, client: TestClient) -> None:
    program, sent = Program(client, runtime), statement(actor={**ANN, "name": "Jörg 漢"})
    whole = json.dumps(sent, ensure_ascii=False)
    assert form(program, "PUT", **program.headers, content=whole, statementId=sent["id"]) == 204
    assert program.send("GET", "/statements", {"statementId": sent["id"]}).json()["actor"] == sent["actor"]


def test_a_field_that_stands_twice_in_a_form_is_refused(runtime: Runtime, client: TestClient) -> None:
    fields = urlencode({**Program(client, runtime).headers, "limit": "1"})
    told = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = client.post(f"{STATEMENTS}?method=GET", content=f"{fields}&limit=2", headers=told)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "limit")


@pytest.mark.parametrize(
    ("method", "fields"),
    [("PUT", {}), ("PATCH", {"content": "{}"}), ("GET", {"Verb": "x"}), ("POST", {"content": "[]"})],
)
def test_a_form_that_is_wrong_is_refused(
    method: str, fields: dict[str, str], runtime: Runtime, client: TestClient
) -> None:
    assert form(Program(client, runtime), method, Program(client, runtime).headers, **fields) == 400


def test_2_0_has_no_requests_in_a_form(runtime: Runtime, client: TestClient) -> None:
    program = Program(client, runtime, version="2.0.0")
    assert form(program, "GET", program.headers) == 400


def test_a_parameter_that_stands_twice_is_refused(runtime: Runtime, client: TestClient) -> None:
    program = Program(client, runtime)
    answer = client.get(f"{STATEMENTS}?limit=1&limit=2", headers=program.headers)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "limit")


def test_content_of_other_origins_may_ask_and_read(runtime: Runtime, client: TestClient) -> None:
    origin = {"Origin": "https://content.test"}
    asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization,if-match"}
    before = client.options(STATEMENTS, headers={**origin, **asked})
    assert (before.status_code, before.headers["Access-Control-Allow-Origin"]) == (200, "*")
    assert "if-match" in before.headers["Access-Control-Allow-Headers"].lower()
    program = Program(client, runtime)
    answers = [client.get(STATEMENTS, headers={**program.headers, **origin}), client.get(STATEMENTS, headers=origin)]
    for answer in answers:
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "X-Experience-API-Consistent-Through" in answer.headers["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Credentials" not in answer.headers
    assert [answer.status_code for answer in answers] == [200, 401]
    assert "Access-Control-Allow-Origin" not in client.get("/healthz", headers=origin).headers


def test_the_lrs_has_a_limit_of_its_own(runtime: Runtime, client: TestClient) -> None:
    program, settings = Program(client, runtime), runtime.settings
    large = statement(result={"response": "x" * settings.max_body_bytes})
    program.store(large)
    too_large = b" " * (settings.max_xapi_body_bytes + 1)
    answer = program.send("POST", "/statements", body=too_large, Content_Type="application/json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert str(settings.max_xapi_body_bytes) in answer.json()["error"]["message"]
    assert answer.headers["X-Experience-API-Version"] == "2.0.0"
