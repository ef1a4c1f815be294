"""What a destination gets: which statements, whose identity, in which form."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError
from sqlalchemy import event

from bridge.connect import Rejected
from bridge.flows.runtime import Runtime
from bridge.secrets import Vault
from bridge.store import tables
from bridge.xapi import ledger
from bridge.xapi.destination import Policy, settings

ISSUER = "https://bridge.example"
GOLDEN = Path(__file__).parent / "golden" / "destination.json"
COMPLETED = "http://adlnet.gov/expapi/verbs/completed"
VIDEO = "https://w3id.org/xapi/video/activity-type/video"
HERE = {"objectType": "Agent", "name": "Ana Lima", "account": {"homePage": ISSUER, "name": "ana"}}
THERE = {"account": {"homePage": "https://idp.example", "name": "a-17"}}
#: Every place that holds an actor or extensions, in 2.0.
STATEMENT: dict[str, Any] = {
    "id": "0b9f7f6e-3a52-4d0e-9a39-6f0f6a3c1d11",
    "actor": HERE,
    "verb": {"id": COMPLETED, "display": {"en": "completed"}},
    "object": {
        "objectType": "SubStatement",
        "actor": {"mbox": "mailto:Bo@Example.COM"},
        "verb": {"id": COMPLETED},
        "object": {"objectType": "Group", "member": [HERE, THERE]},
        "context": {"extensions": {"https://x.example/secret": {"account": "kept as it is"}}},
        "result": {"extensions": {"https://x.example/steps": [1]}},
    },
    "result": {"score": {"scaled": 0.5, "raw": 12345678901234567890}, "extensions": {"https://x.example/steps": [2]}},
    "context": {
        "instructor": {"openid": "https://id.example/carla"},
        "team": {"objectType": "Group", "name": "Sales", "mbox": "mailto:sales@example.com", "member": [HERE]},
        "contextAgents": [{"objectType": "contextAgent", "agent": {"mbox_sha1sum": "AB" * 20}}],
        "contextGroups": [{"objectType": "contextGroup", "group": {"objectType": "Group", "member": [THERE]}}],
        "contextActivities": {
            "parent": [
                {"id": "https://x.example/course", "definition": {"extensions": {"https://x.example/secret": 3}}}
            ]
        },
        "extensions": {"https://x.example/secret": 4, "https://x.example/steps": {"mbox": "mailto:kept@x.example"}},
    },
    "timestamp": "2026-03-04T05:06:07.000Z",
    "version": "2.0.0",
}
NAMES = ("Ana", "Lima", '"ana"', "a-17", "bo@", "carla", "sales@", "Sales", "ab" * 20)


def policy(version: str = "1.0.3", **chosen: Any) -> Policy:
    return Policy.parse({"statements": chosen}, Vault("k" * 40), "warehouse", issuer=ISSUER, version=version)


def statement(**changes: Any) -> dict[str, Any]:
    plain = {"id": STATEMENT["id"], "actor": HERE, "verb": {"id": COMPLETED}, "object": {"id": "https://x.example/a"}}
    return {**plain, "timestamp": STATEMENT["timestamp"], **changes}


def raw(made: dict[str, Any]) -> bytes:
    return json.dumps(made, indent=1).encode()


def rendered(made: dict[str, Any], by: Policy, people: dict[str, str] | None = None) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(by.render(raw(made), people or {}))
    return shown


class TestFilter:
    @pytest.mark.parametrize(
        ("chosen", "own", "wanted"),
        [
            ({}, True, True),
            ({"only": {"verbs": [COMPLETED]}}, True, True),
            ({"only": {"verbs": [f"{COMPLETED}x"]}}, True, False),
            ({"without": {"verbs": [COMPLETED]}}, True, False),
            ({"only": {"activity_types": [VIDEO]}}, True, True),
            ({"only": {"activity_types": [f"{VIDEO}x"]}}, True, False),
            ({"only": {"verbs": [COMPLETED], "activity_types": [f"{VIDEO}x"]}}, True, False),
            ({"without": {"verbs": [f"{COMPLETED}x"], "activity_types": [VIDEO]}}, True, False),
            ({"only": {"from": "own"}}, True, True),
            ({"only": {"from": "own"}}, False, False),
            ({"without": {"from": "received"}}, False, False),
            ({"without": {"from": "received"}}, True, True),
        ],
    )
    def test_only_and_without(self, chosen: dict[str, Any], own: bool, wanted: bool) -> None:
        made = statement(object={"id": "https://x.example/a", "definition": {"type": VIDEO}})
        assert policy(**chosen).wants(made, own=own) is wanted

    def test_what_voids_a_statement_always_follows_it(self) -> None:
        voiding = statement(verb={"id": "http://adlnet.gov/expapi/verbs/voided"})
        assert policy(only={"verbs": [COMPLETED], "from": "own"}).wants(voiding, own=False)

    def test_a_type_is_looked_for_where_there_is_none(self) -> None:
        assert not policy(only={"activity_types": [VIDEO]}).wants(statement(), own=True)
        assert policy(without={"activity_types": [VIDEO]}).wants(STATEMENT, own=True)

    @pytest.mark.parametrize("db", ["runtime", "pg_runtime"])
    def test_what_is_not_wanted_is_not_queued(self, request: pytest.FixtureRequest, db: str) -> None:
        runtime: Runtime = request.getfixturevalue(db)
        names = {"all": {}, "own": {"only": {"from": "own"}}, "received": {"without": {"from": "own"}}}
        with runtime.db.write() as session:
            for name, chosen in names.items():
                config = {"endpoint": "http://lrs.example/xapi", "key": "k", "secret": "encrypted:x"}
                session.add(
                    tables.Connection(name=name, connector="lrs", config=config, options={"statements": chosen})
                )
            session.flush()
            assert ledger.add(session, raw(statement()), issuer=ISSUER)
            other = statement(id="1b9f7f6e-3a52-4d0e-9a39-6f0f6a3c1d11")
            ledger.add_received(session, [ledger.Entry(raw(other), other)], authority="", issuer=ISSUER)
        with runtime.db.read() as session:
            rows = session.query(tables.Connection.name, tables.Statement.authority).select_from(tables.Outbox)
            rows = rows.join(tables.Connection, tables.Connection.id == tables.Outbox.connection_id)
            rows = rows.join(tables.Statement, tables.Statement.seq == tables.Outbox.statement_seq)
            queued = {(name, "own" if authority else "received") for name, authority in rows}
        assert queued == {("all", "own"), ("all", "received"), ("own", "own"), ("received", "received")}


class TestIdentity:
    def test_an_account_goes_out_as_the_bytes_that_are_kept(self) -> None:
        assert policy("2.0.0").plain and not policy().plain
        for by in (policy(), policy("2.0.0")):
            assert by.render(raw(statement())) == raw(statement())

    def test_a_pseudonym_stands_wherever_an_actor_stands(self) -> None:
        shown = rendered(STATEMENT, policy("2.0.0", identity="pseudonym"))
        text = json.dumps(shown)
        assert not [name for name in NAMES if name.lower() in text.lower()]
        people = [shown["actor"], shown["object"]["object"]["member"][0], shown["context"]["team"]["member"][0]]
        assert people[0]["account"]["homePage"] == ISSUER and people[0]["objectType"] == "Agent"
        assert len({person["account"]["name"] for person in people}) == 1, "one person keeps one pseudonym"
        agents = [
            shown["context"]["contextAgents"][0]["agent"],
            shown["context"]["instructor"],
            shown["object"]["actor"],
        ]
        assert all(agent.keys() == {"account"} for agent in agents)
        assert shown["context"]["extensions"] == STATEMENT["context"]["extensions"], "extensions hold no actors"

    def test_a_pseudonym_is_of_the_person_and_one_destination(self) -> None:
        def name(of: Policy, actor: dict[str, Any]) -> str:
            return str(rendered(statement(actor=actor), of)["actor"]["account"]["name"])

        here = policy(identity="pseudonym")
        there = Policy.parse({"statements": {"identity": "pseudonym"}}, Vault("k" * 40), "other", issuer=ISSUER)
        elsewhere = Policy.parse({"statements": {"identity": "pseudonym"}}, Vault("o" * 40), "warehouse", issuer=ISSUER)
        assert name(here, HERE) == name(here, {"account": HERE["account"]})
        assert name(here, {"mbox": "mailto:a@Example.com"}) == name(here, {"mbox": "mailto:a@example.com"})
        assert len({name(of, HERE) for of in (here, there, elsewhere)} | {name(here, THERE)}) == 4

    def test_an_address_takes_the_place_of_an_account(self) -> None:
        people = {
            json.dumps({"account": {"homePage": ISSUER, "name": "ana"}}, separators=(",", ":")): "ana@example.com"
        }
        shown = rendered(STATEMENT, policy("2.0.0", identity="mbox"), people)
        assert shown["actor"] == {"objectType": "Agent", "name": "Ana Lima", "mbox": "mailto:ana@example.com"}
        assert shown["object"]["object"]["member"] == [shown["actor"], THERE], "who has no address stays as they are"

    @pytest.mark.parametrize("actor", [THERE, {"openid": "https://id.example/x"}])
    def test_an_actor_without_an_address_is_set_aside(self, actor: dict[str, Any]) -> None:
        with pytest.raises(Rejected, match=r"no e-mail address.*enter it under people"):
            policy(identity="mbox").render(raw(statement(actor=actor)), {})

    def test_a_group_has_no_address(self) -> None:
        group = {"objectType": "Group", "member": [THERE]}
        assert rendered(statement(actor=group), policy(identity="mbox"))["actor"] == group

    @pytest.mark.parametrize("db", ["runtime", "pg_runtime"])
    def test_addresses_of_a_batch_are_one_query(self, request: pytest.FixtureRequest, db: str) -> None:
        runtime: Runtime = request.getfixturevalue(db)
        with runtime.db.write() as session:
            bo = tables.Person(key="bo", email="bo@example.com", attributes={}, accounts=[])
            bo.accounts.append(tables.Account(issuer="https://idp.example", subject="a-17"))
            session.add_all([bo, tables.Person(key="ana", email="ana@example.com", attributes={}, accounts=[])])
            session.add(tables.Person(key="nobody", email="", attributes={}, accounts=[]))
        nobody = statement(actor={"account": {"homePage": ISSUER, "name": "nobody"}})
        batch = [raw(STATEMENT), raw(statement(actor=THERE)), raw(nobody)]
        asked: list[str] = []
        with runtime.db.read() as session:
            event.listen(session.connection(), "before_cursor_execute", lambda *call: asked.append(call[2]))
            people = policy(identity="mbox").people(session.connection(), batch)
            assert policy().people(session.connection(), batch) == {}
        assert sorted(people.values()) == ["ana@example.com", "bo@example.com"] and len(asked) == 1
        assert rendered(statement(actor=THERE), policy(identity="mbox"), dict(people))["actor"] == {
            "mbox": "mailto:bo@example.com"
        }


class TestVersion:
    def test_what_only_2_0_knows_stays_here(self) -> None:
        made = copy.deepcopy(STATEMENT)
        made["object"]["context"]["contextAgents"] = made["context"]["contextAgents"]
        shown = rendered(made, policy("1.0.3"))
        del made["version"], made["context"]["contextAgents"], made["context"]["contextGroups"]
        del made["object"]["context"]["contextAgents"]
        assert shown == made
        assert policy("2.0.0").render(raw(STATEMENT)) == raw(STATEMENT)

    def test_an_escaped_name_is_seen(self) -> None:
        hidden = raw(STATEMENT).replace(b"contextAgents", rb"context\u0041gents")
        assert "contextAgents" not in json.loads(policy().render(hidden))["context"]

    @pytest.mark.parametrize("version", ["1.0.0", "1.0.3"])
    def test_a_version_of_1_0_is_kept(self, version: str) -> None:
        made = raw(statement(version=version))
        assert policy().render(made) == policy("2.0.0").render(made) == made


class TestExtensions:
    def test_some_are_dropped(self) -> None:
        shown = rendered(STATEMENT, policy("2.0.0", extensions={"drop": ["https://x.example/secret"]}))
        assert "secret" not in json.dumps(shown)
        assert shown["context"]["extensions"] == {"https://x.example/steps": {"mbox": "mailto:kept@x.example"}}
        assert (
            shown["object"]["result"] == STATEMENT["object"]["result"]
            and "extensions" not in shown["object"]["context"]
        )

    def test_some_are_kept(self) -> None:
        kept = rendered(STATEMENT, policy("2.0.0", extensions={"keep": ["https://x.example/secret"]}))
        assert "steps" not in json.dumps(kept) and kept["context"]["extensions"] == {"https://x.example/secret": 4}
        assert "extensions" not in json.dumps(rendered(STATEMENT, policy("2.0.0", extensions={"keep": []})))


class TestSigned:
    SIGNATURE: ClassVar = {"usageType": "http://adlnet.gov/expapi/attachments/signature", "display": {"en": "s"}}

    @pytest.mark.parametrize("chosen", [{"identity": "pseudonym"}, {"extensions": {"keep": []}}, {}])
    def test_a_signature_is_never_broken(self, chosen: dict[str, Any]) -> None:
        made = raw({**STATEMENT, "attachments": [self.SIGNATURE]})
        with pytest.raises(Rejected, match=r"signed.*warehouse"):
            policy("1.0.3", **chosen).render(made)

    def test_what_needs_no_change_goes_as_it_is(self) -> None:
        made = raw(statement(attachments=[self.SIGNATURE]))
        assert policy(extensions={"keep": []}).render(made) == made
        assert policy("2.0.0").render(made) == made


def test_the_same_payload_is_always_the_same_bytes() -> None:
    """A destination compares a repeat with what it has: these bytes must outlive every version of this program."""
    chosen: dict[str, Any] = {"identity": "pseudonym", "extensions": {"drop": ["https://x.example/secret"]}}
    made = policy("1.0.3", **chosen).render(raw(STATEMENT))
    assert made == GOLDEN.read_bytes().rstrip(b"\n")


@pytest.mark.parametrize(
    "chosen",
    [
        {"identity": "email"},
        {"only": {}},
        {"only": {"verbs": ["completed"]}},
        {"only": {"from": "elsewhere"}},
        {"extensions": {}},
        {"extensions": {"keep": [], "drop": []}},
        {"rate": 0},
        {"batch": 0},
        {"batch_bytes": 10},
        {"filter": {}},
    ],
)
def test_settings_that_can_not_work_are_refused(chosen: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings({"statements": chosen})


def test_limits_are_told() -> None:
    chosen = policy(rate=5, batch=10, batch_bytes=50_000)
    assert (chosen.rate, chosen.batch, chosen.batch_bytes) == (5, 10, 50_000)
    assert (policy().rate, policy().batch, policy().batch_bytes) == (None, 100, 1_000_000)
