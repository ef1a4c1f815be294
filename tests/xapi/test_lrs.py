"""The built-in LRS over HTTP, as a program that speaks xAPI meets it."""

from __future__ import annotations

import base64
import datetime as dt
import json
import uuid
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import select

from bridge.flows.runtime import Runtime
from bridge.store.tables import Connection, Outbox, Statement
from bridge.web.app import create_app
from bridge.xapi import ledger, lrs
from tests.xapi.program import ANN, Program, statement, voiding, words

STATEMENTS = "/xapi/statements"


class Sender(Program):
    """A program that sends statements and finds them."""

    def post(self, *statements: dict[str, Any], **more: str) -> Response:
        return self.post_raw(json.dumps(list(statements)), **more)

    def post_raw(self, body: str | bytes, **more: str) -> Response:
        headers = {**self.headers, "Content-Type": "application/json", **more}
        return self.client.post(STATEMENTS, content=body, headers=headers)

    def put(self, statement: dict[str, Any], **parameters: str) -> Response:
        return self.client.put(STATEMENTS, params=parameters, json=statement, headers=self.headers)

    def get(self, **parameters: Any) -> Response:
        return self.client.get(STATEMENTS, params=parameters, headers=self.headers)

    def found(self, **parameters: Any) -> list[str]:
        answer = self.get(**parameters)
        assert answer.status_code == 200, answer.text
        return [statement["id"] for statement in answer.json()["statements"]]


@pytest.fixture
def program(server: TestClient, bridge: Runtime) -> Sender:
    return Sender(server, bridge, "statements/read", "statements/write")


@pytest.fixture
def simple(runtime: Runtime, client: TestClient) -> Sender:
    """A program whose test depends on no SQL of its own: one database is enough."""
    return Sender(client, runtime, "statements/read", "statements/write")


def test_about_lists_the_versions_and_needs_nothing(client: TestClient) -> None:
    answer = client.get("/xapi/about")
    assert (answer.status_code, answer.json()["version"]) == (200, ["2.0.0", "1.0.3"])
    assert answer.headers["X-Experience-API-Version"] == "2.0.0"


@pytest.mark.parametrize(
    ("asked", "spoken"),
    [("1.0.3", "1.0.3"), ("1.0", "1.0.3"), ("1.0.0", "1.0.3"), ("2.0.0", "2.0.0"), ("2.0", "2.0.0")],
)
def test_the_version_is_the_family_that_was_asked_for(asked: str, spoken: str, simple: Sender) -> None:
    simple.headers["X-Experience-API-Version"] = asked
    answer = simple.get()
    assert (answer.status_code, answer.headers["X-Experience-API-Version"]) == (200, spoken)


@pytest.mark.parametrize("asked", [None, "", "0.95", "1.1.0", "3.0", "1.0.3x"])
def test_another_version_or_none_is_refused(asked: str | None, simple: Sender) -> None:
    simple.headers.pop("X-Experience-API-Version")
    if asked is not None:
        simple.headers["X-Experience-API-Version"] = asked
    answer = simple.get()
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "X-Experience-API-Version")
    assert "X-Experience-API-Consistent-Through" in answer.headers
    assert answer.headers["X-Experience-API-Version"] == ("0.95" if asked is None else "2.0.0")


def test_statements_come_back_as_they_were_sent_with_what_the_lrs_adds(program: Sender, bridge: Runtime) -> None:
    claimed = {"version": "1.0.3", "authority": ANN, "stored": "2020-01-01T00:00:00Z"}
    raw = (
        '[ {"object" : {"id":"https://lms.test/course/1"},\n "result":{"extensions":{"https://x.test/n":'
        '[1.50, 1e2, 12345678901234567890123, "\\u00e4\\ud83d\\ude00 ü", null, {"a":1}]}}, "actor":{"mbox":'
        '"mailto:ann@example.com"},"verb":{"id":"http://adlnet.gov/expapi/verbs/completed"}  } ,'
        + json.dumps(statement(**claimed, timestamp="2026-01-02T03:04:05+01:00"))
        + " ]"
    )
    answer = program.post_raw(raw)
    assert answer.status_code == 200, answer.text
    first, second = answer.json()
    with bridge.db.read() as session:
        kept = session.scalars(select(Statement.payload).order_by(Statement.stored)).all()
    assert '"result":{"extensions":{"https://x.test/n":[1.50, 1e2, 12345678901234567890123, "' in kept[0].decode()
    for payload in map(json.loads, kept):
        assert {"id", "timestamp"} <= payload.keys()
        assert payload.keys().isdisjoint(("stored", "authority"))

    shown = program.get(statementId=first)
    assert '[1.50, 1e2, 12345678901234567890123, "\\u00e4\\ud83d\\ude00 ü", null, {"a":1}]' in shown.text
    one = shown.json()
    assert (one["id"], one["version"], one["timestamp"]) == (first, "1.0.0", one["stored"])
    assert one["authority"] == {
        "objectType": "Agent",
        "account": {"homePage": "http://bridge.test", "name": program.key},
    }
    assert one["stored"].endswith("Z")
    two = program.get(statementId=second).json()
    assert (two["version"], two["timestamp"]) == ("1.0.3", "2026-01-02T03:04:05+01:00")
    assert (two["authority"], two["stored"] > "2026") == (one["authority"], True)
    assert "Last-Modified" in shown.headers


def test_put_stores_under_its_id_and_says_nothing(program: Sender) -> None:
    sent = statement()
    statement_id = sent.pop("id")
    answer = program.put(sent, statementId=statement_id)
    assert (answer.status_code, answer.content) == (204, b"")
    assert program.put(sent, statementId=statement_id).status_code == 204
    assert program.get(statementId=statement_id).json()["id"] == statement_id


@pytest.mark.parametrize(
    ("parameters", "parts", "field"),
    [
        ({}, {}, "statementId"),
        ({"statementId": "x"}, {}, "statementId"),
        ({"statementId": str(uuid.uuid4())}, {}, "id"),
        ({"statementId": str(uuid.uuid4()), "agent": "{}"}, {}, "agent"),
    ],
)
def test_a_put_that_is_wrong_is_refused(
    parameters: dict[str, str], parts: dict[str, Any], field: str, simple: Sender
) -> None:
    answer = simple.put(statement(**parts), **parameters)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)


def test_an_invalid_statement_is_refused_with_its_path_and_rule_and_none_is_stored(program: Sender) -> None:
    answer = program.post(statement(), statement(verb={"id": "completed"}))
    assert answer.status_code == 400
    assert words(answer) == "[1].verb.id: must be an IRI with a scheme (xAPI-Data 2.4.3)"
    assert program.found() == []


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "multipart/mixed", ""])
def test_only_json_and_what_comes_with_attachments_is_taken(kind: str, simple: Sender) -> None:
    answer = simple.post_raw(json.dumps(statement()), **{"Content-Type": kind})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "Content-Type")


def test_an_attachment_that_is_not_sent_needs_an_address(simple: Sender) -> None:
    attachment = {
        "usageType": "https://x.test/certificate",
        "display": {"en": "Certificate"},
        "contentType": "application/pdf",
        "length": 1,
        "sha2": "0f" * 32,
    }
    answer = simple.post(statement(), statement(object={**SUB, "attachments": [attachment]}))
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "[1].object.attachments[0].fileUrl")
    lasting = {**attachment, "fileUrl": "https://x.test/certificate.pdf"}
    assert simple.post(statement(attachments=[lasting])).status_code == 200


def test_json_may_name_its_charset(simple: Sender) -> None:
    answer = simple.post_raw(json.dumps(statement()), **{"Content-Type": "application/json; charset=utf-8"})
    assert answer.status_code == 200


def test_no_credential_or_a_wrong_one_is_unauthorized(simple: Sender) -> None:
    right = simple.headers["Authorization"]
    for wrong in (
        "",
        "Basic",
        "Basic !!",
        "Basic Og==",
        "Basic AGE6Yg==",
        right[:-4] + "AAAA",
        right.replace("Basic", "Bearer"),
    ):
        simple.headers["Authorization"] = wrong
        answer = simple.get()
        assert (answer.status_code, answer.headers["WWW-Authenticate"][:5]) == (401, "Basic")


def test_a_scope_opens_only_its_own_door(runtime: Runtime, client: TestClient) -> None:
    reader, writer = Sender(client, runtime, "statements/read"), Sender(client, runtime, "statements/write")
    other = Sender(client, runtime, "events:write")
    assert (writer.post(statement()).status_code, reader.get().status_code) == (200, 200)
    refused = [reader.post(statement()), writer.get(), other.get(), other.post(statement())]
    assert [answer.status_code for answer in refused] == [403] * 4
    assert "statements/write" in words(refused[0])


def test_the_identical_statement_again_is_fine_alone_and_in_a_batch(program: Sender) -> None:
    first, second = statement(), statement()
    assert program.post(first).status_code == 200
    answer = program.post(first, second)
    assert (answer.status_code, answer.json()) == (200, [first["id"], second["id"]])
    assert sorted(program.found()) == sorted([first["id"], second["id"]])


def test_a_known_id_with_other_content_is_a_conflict_and_nothing_of_the_batch_is_stored(program: Sender) -> None:
    known, new = statement(), statement()
    program.post(known)
    answer = program.post(new, {**known, "object": {"id": "https://lms.test/other"}})
    assert answer.status_code == 409
    assert known["id"] in words(answer)
    assert program.found() == [known["id"]]
    assert program.get(statementId=known["id"]).json()["object"] == known["object"]


GROUP = {"objectType": "Group", "member": [ANN, {"mbox": "mailto:bob@example.com"}]}
SUB: dict[str, Any] = {
    "objectType": "SubStatement",
    "actor": ANN,
    "verb": {"id": "http://adlnet.gov/expapi/verbs/passed"},
    "object": {"objectType": "Agent", **ANN},
}
CONTEXT: dict[str, Any] = {
    "registration": "ec531277-b57b-4c15-8d91-d292c5b2b8f7",
    "language": "en-gb",
    "team": {"objectType": "Group", "mbox": "mailto:team@example.com"},
    "statement": {"objectType": "StatementRef", "id": "ec531277-b57b-4c15-8d91-d292c5b2b8f8"},
    "contextActivities": {"parent": {"id": "https://lms.test/p"}},
}


@pytest.mark.parametrize(
    ("kept", "repeat", "same"),
    [
        ({}, {"version": "1.0.0", "stored": "2020-01-01T00:00:00Z", "authority": ANN}, True),
        ({"timestamp": "2026-01-02T03:04:05Z"}, {"timestamp": "2026-01-02T04:04:05.000+01:00"}, True),
        ({"timestamp": "2026-01-02T03:04:05Z"}, {}, True),
        ({"timestamp": "2026-01-02T03:04:05Z"}, {"timestamp": "2026-01-02T03:04:06Z"}, False),
        ({}, {"verb": {"id": "http://adlnet.gov/expapi/verbs/completed", "display": {"en": "did"}}}, True),
        ({}, {"object": {"id": "https://lms.test/course/1", "definition": {"name": {"en": "One"}}}}, True),
        ({}, {"actor": {"mbox": "mailto:ann@EXAMPLE.com"}}, True),
        ({}, {"actor": {"mbox": "mailto:Ann@example.com"}}, False),
        ({"actor": GROUP}, {"actor": {**GROUP, "member": GROUP["member"][::-1]}}, True),
        ({"actor": GROUP}, {"actor": {**GROUP, "member": [ANN]}}, False),
        ({"result": {"duration": "PT1M"}}, {"result": {"duration": "PT60S"}}, False),
        ({"result": {"duration": "PT1.234S"}}, {"result": {"duration": "PT1.239S"}}, True),
        ({"result": {"duration": "PT1.23S"}}, {"result": {"duration": "PT1.24S"}}, False),
        ({"result": {"success": True}}, {"result": {"success": False}}, False),
        ({"actor": ANN}, {"actor": {"objectType": "Agent", **ANN}}, True),
        ({"result": {"score": {"raw": 5}}}, {"result": {"score": {"raw": 5.0}}}, True),
        ({"result": {"score": {"raw": 5}}}, {"result": {"score": {"raw": 5.5}}}, False),
        (
            {"result": {"extensions": {"https://x.test/e": 1}}},
            {"result": {"extensions": {"https://x.test/e": True}}},
            False,
        ),
        ({"result": {"score": {"raw": 1}}}, {}, False),
        (
            {"context": CONTEXT},
            {"context": {**CONTEXT, "registration": CONTEXT["registration"].upper(), "language": "en-GB"}},
            True,
        ),
        (
            {"context": CONTEXT},
            {"context": {**CONTEXT, "contextActivities": {"parent": [{"id": "https://lms.test/p", "definition": {}}]}}},
            True,
        ),
        (
            {"context": CONTEXT},
            {"context": {**CONTEXT, "contextActivities": {"parent": [{"id": "https://lms.test/q"}]}}},
            False,
        ),
        ({"object": SUB}, {"object": {**SUB, "verb": {**SUB["verb"], "display": {}}}}, True),
        ({"object": SUB}, {"object": {**SUB, "verb": {"id": "http://adlnet.gov/expapi/verbs/failed"}}}, False),
    ],
)
def test_what_counts_in_a_comparison(kept: dict[str, Any], repeat: dict[str, Any], same: bool, simple: Sender) -> None:
    first = statement(**kept)
    assert simple.post(first).status_code == 200
    again = {**first, **repeat}
    if "timestamp" in kept and "timestamp" not in repeat:
        del again["timestamp"]
    if "result" in kept and "result" not in repeat:
        del again["result"]
    assert simple.post(again).status_code == (200 if same else 409)


def test_two_requests_with_one_new_id_agree_on_one_statement(bridge: Runtime, program: Sender) -> None:
    from concurrent.futures import ThreadPoolExecutor

    ids = [str(uuid.uuid4()) for _ in range(40)]

    def send(actor: str) -> int:
        batch = [statement(id=of, actor={"mbox": f"mailto:{actor}@example.com"}) for of in ids]
        return program.post(*(batch if actor == "ann" else reversed(batch))).status_code

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(send, ["ann", "bob"])) == [200, 409]
    with bridge.db.read() as session:
        assert len(set(session.scalars(select(Statement.actor)))) == 1


def test_a_query_finds_by_each_filter_and_by_all_of_them(program: Sender) -> None:
    registration = str(uuid.uuid4())
    account = {"account": {"homePage": "https://hr.test", "name": "E001"}}
    by_account = statement(actor={"name": "Sam", **account})
    about_ann = statement(actor=account, object={"objectType": "Agent", **ANN})
    registered = statement(verb={"id": "http://adlnet.gov/expapi/verbs/passed"}, context={"registration": registration})
    elsewhere = statement(object={"id": "https://lms.test/course/2"})
    program.post(by_account, about_ann, registered, elsewhere)
    named = {
        name: sent["id"]
        for name, sent in locals().items()
        if name in ("by_account", "about_ann", "registered", "elsewhere")
    }

    def found(**parameters: str) -> set[str]:
        ids = program.found(**parameters)
        return {name for name, statement_id in named.items() if statement_id in ids}

    assert found(agent=json.dumps(account)) == {"by_account", "about_ann"}
    assert found(agent=json.dumps(ANN)) == {"about_ann", "registered", "elsewhere"}
    assert found(agent=json.dumps({"mbox": "mailto:ann@EXAMPLE.com", "name": "A"})) == {
        "about_ann",
        "registered",
        "elsewhere",
    }
    assert found(verb="http://adlnet.gov/expapi/verbs/passed") == {"registered"}
    assert found(activity="https://lms.test/course/2") == {"elsewhere"}
    assert found(registration=registration.upper()) == {"registered"}
    assert found(agent=json.dumps(ANN), activity="https://lms.test/course/1") == {"registered"}
    assert found(registration=str(uuid.uuid4())) == set()


def test_since_is_exclusive_and_until_inclusive(program: Sender) -> None:
    ids = [program.post(statement()).json()[0] for _ in range(4)]
    stored = [program.get(statementId=of).json()["stored"] for of in ids]
    assert program.found(since=stored[0], ascending="true") == ids[1:]
    assert program.found(until=stored[2]) == ids[2::-1]
    assert program.found(since=stored[0], until=stored[1]) == [ids[1]]


@pytest.mark.parametrize("ascending", ["true", "false"])
def test_more_leads_through_every_page_once_also_while_others_write(ascending: str, program: Sender) -> None:
    ids = program.post(*(statement() for _ in range(25))).json()
    expected = ids if ascending == "true" else ids[::-1]
    seen, answer = [], program.get(limit=10, ascending=ascending, agent=json.dumps(ANN))
    while True:
        page = answer.json()
        seen += [one["id"] for one in page["statements"]]
        if not page["more"]:
            break
        if ascending == "false":  # newer ones do not move what is still to come
            program.post(statement())
        assert not urlsplit(page["more"]).netloc
        answer = program.client.get(page["more"], headers=program.headers)
        assert answer.status_code == 200, answer.text
    assert seen == expected


def test_more_is_relative_to_the_root_of_the_server(bridge: Runtime) -> None:
    object.__setattr__(bridge.settings, "base_url", "https://corp.test/learning")
    with TestClient(create_app(bridge), base_url="http://bridge.test") as client:
        program = Sender(client, bridge, "all")
        program.post(statement(), statement())
        assert program.get(limit=1).json()["more"].startswith("/learning/xapi/statements?more=")


def test_limit_nought_and_none_mean_as_many_as_the_server_gives(program: Sender) -> None:
    program.post(*(statement() for _ in range(lrs.MOST + 5)))
    for parameters in ({}, {"limit": "0"}, {"limit": "999999"}):
        answer = program.get(**parameters).json()
        assert (len(answer["statements"]), bool(answer["more"])) == (lrs.MOST, True)
    assert program.get(limit=str(lrs.MOST - 1)).json()["more"] != ""


def test_nothing_found_is_an_empty_list(program: Sender) -> None:
    assert program.get().json() == {"statements": [], "more": ""}


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"agent": "{}"}, "agent"),
        ({"agent": "ann"}, "agent"),
        ({"agent": '{"mbox":"ann"}'}, "agent.mbox"),
        ({"agent": json.dumps(GROUP)}, "agent"),
        ({"verb": "completed"}, "verb"),
        ({"activity": "one two"}, "activity"),
        ({"registration": "1"}, "registration"),
        ({"since": "yesterday"}, "since"),
        ({"until": "2026"}, "until"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"ascending": "yes"}, "ascending"),
        ({"format": "short"}, "format"),
        ({"attachments": "yes"}, "attachments"),
        ({"related_agents": "1"}, "related_agents"),
        ({"Verb": "https://x.test"}, "Verb"),
        ({"statementId": str(uuid.uuid4()), "voidedStatementId": str(uuid.uuid4())}, "voidedStatementId"),
        ({"statementId": str(uuid.uuid4()), "limit": "1"}, "limit"),
        ({"statementId": "1"}, "statementId"),
        ({"more": "x"}, "more"),
        ({"more": base64.urlsafe_b64encode(b'[{"limit":5},"2026-01-01T00:00:00",1]').decode()}, "more"),
        ({"more": base64.urlsafe_b64encode(b'[[],"2026-01-01T00:00:00","x"]').decode()}, "more"),
    ],
)
def test_a_parameter_that_is_wrong_or_unknown_is_named(parameters: dict[str, str], field: str, simple: Sender) -> None:
    answer = simple.get(**parameters)
    assert (answer.status_code, answer.json()["error"].get("field", "")) == (400, field)


def test_a_statement_that_is_not_there_is_not_found(simple: Sender) -> None:
    assert simple.get(statementId=str(uuid.uuid4())).status_code == 404


def test_head_answers_as_get_without_the_body(simple: Sender) -> None:
    statement_id = simple.post(statement()).json()[0]
    answer = simple.client.head(STATEMENTS, params={"statementId": statement_id}, headers=simple.headers)
    assert (answer.status_code, answer.content) == (200, b"")
    assert "X-Experience-API-Consistent-Through" in answer.headers


def test_a_voided_statement_is_out_of_lists_and_found_as_voided(program: Sender) -> None:
    target = program.post(statement()).json()[0]
    by = program.post(voiding(target)).json()[0]
    assert program.found() == [by]
    assert program.get(statementId=target).status_code == 404
    assert program.get(voidedStatementId=target).json()["id"] == target
    assert program.get(voidedStatementId=by).status_code == 404
    assert program.post(voiding(target)).status_code == 200  # once more changes nothing
    assert program.get(voidedStatementId=target).status_code == 200


def test_voiding_takes_effect_in_any_order(program: Sender) -> None:
    late = statement()
    program.post(voiding(late["id"]))
    program.post(late)
    assert program.get(voidedStatementId=late["id"]).status_code == 200
    together = statement()
    assert program.post(voiding(together["id"].upper()), together).status_code == 200
    assert program.get(voidedStatementId=together["id"]).status_code == 200


def test_a_voiding_statement_can_not_be_voided(program: Sender) -> None:
    target = program.post(statement()).json()[0]
    by = program.post(voiding(target)).json()[0]
    assert program.post(voiding(by)).status_code == 200
    assert program.get(statementId=by).status_code == 200


def test_only_the_sender_or_a_credential_for_all_voids_a_statement(bridge: Runtime, program: Sender) -> None:
    with bridge.db.write() as session:
        ledger.add(
            session,
            json.dumps(statement(id=str(uuid.UUID(int=7)), timestamp="2026-01-02T03:04:05Z")).encode(),
            issuer="http://bridge.test",
        )
    evidence = str(uuid.UUID(int=7))
    unborn = statement()
    program.post(voiding(unborn["id"]))
    other = Sender(program.client, bridge, "statements/read", "statements/write")
    refused = [program.post(voiding(evidence)), other.post(voiding(program.post(statement()).json()[0]))]
    assert [answer.status_code for answer in refused] == [403, 403]
    assert program.get(statementId=evidence).status_code == 200
    other.post(unborn)
    assert program.get(statementId=unborn["id"]).status_code == 200
    assert Sender(program.client, bridge, "all").post(voiding(evidence)).status_code == 200
    assert program.get(voidedStatementId=evidence).status_code == 200


def test_the_bridges_own_statements_are_there_with_the_bridge_as_authority(bridge: Runtime, program: Sender) -> None:
    sent = statement(timestamp="2026-01-02T03:04:05.678Z")
    with bridge.db.write() as session:
        ledger.add(session, json.dumps(sent).encode(), issuer="http://bridge.test")
    [one] = program.get().json()["statements"]
    assert one["authority"]["account"] == {"homePage": "http://bridge.test", "name": "flowbridge"}
    assert {name: one[name] for name in sent} == sent


def test_received_statements_go_on_to_other_stores(bridge: Runtime, program: Sender) -> None:
    with bridge.db.write() as session:
        session.add(Connection(name="lrs", connector="lrs", config={"endpoint": "https://lrs.test/xapi"}))
        session.add(Connection(name="here", connector="lrs", config={"endpoint": "http://bridge.test/xapi"}))
    nudged: list[str] = []
    bridge.nudge = nudged.append
    program.post(statement())
    with bridge.db.read() as session:
        queued = session.scalars(select(Connection.name).join(Outbox, Outbox.connection_id == Connection.id)).all()
    assert (queued, nudged) == (["lrs"], ["drain"])


def test_everything_stored_until_consistent_through_is_found(program: Sender, bridge: Runtime) -> None:
    def through(answer: Response) -> dt.datetime:
        return dt.datetime.fromisoformat(answer.headers["X-Experience-API-Consistent-Through"])

    before = dt.datetime.now(dt.UTC)
    program.post(statement())
    at = through(program.get())
    assert before - dt.timedelta(seconds=10) < at <= dt.datetime.now(dt.UTC)
    if bridge.db.is_sqlite:
        return
    with bridge.db.write() as session:  # one is on its way: nothing is promised beyond its beginning
        began = dt.datetime.now(dt.UTC)
        ledger.add(
            session, json.dumps(statement(timestamp="2026-01-02T03:04:05Z")).encode(), issuer="http://bridge.test"
        )
        assert through(program.get()) < began
    assert len(program.found()) == 2


def test_2_0_takes_context_agents_and_1_0_3_does_not(runtime: Runtime, client: TestClient) -> None:
    new = Sender(client, runtime, "statements/read", "statements/write", version="2.0.0")
    old = Sender(client, runtime, "statements/write")
    context = {"contextAgents": [{"objectType": "contextAgent", "agent": {"objectType": "Agent", **ANN}}]}
    assert new.post(statement(context=context)).status_code == 200
    assert old.post(statement(context=context)).status_code == 400
    assert new.post(statement(timestamp="2026-01-02T03:04:05")).status_code == 400
