"""Statements made with tincan's objects: exact bytes out of them, and every valid statement into them."""

from __future__ import annotations

import copy
import datetime as dt
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tincan

from bridge.flows.runtime import Runtime
from bridge.store import tables
from bridge.xapi import by_hand, ledger
from bridge.xapi.index import moment
from bridge.xapi.validation import InvalidStatement, Version, loads, validate
from tests.xapi.validating import BASE, RECORDED

AT = dt.datetime(2026, 3, 4, 7, 6, 7, 250_000, tzinfo=dt.timezone(dt.timedelta(hours=2)))
ID = "0190163d-8694-739b-aea5-966c26f8ad91"
ADA = {"mbox": "mailto:ada@example.com"}
REF = {"objectType": "StatementRef", "id": ID}
SIMPLE = {"actor": ADA, "verb": {"id": "https://example.com/read"}, "object": {"id": "https://example.com/page"}}
Change = Callable[[tincan.Statement], None]


def made(**parts: Any) -> tincan.Statement:
    whole: dict[str, Any] = {
        "actor": tincan.Agent(mbox="mailto:ada@example.com"),
        "verb": tincan.Verb(id="http://adlnet.gov/expapi/verbs/completed"),
        "object": tincan.Activity(id="https://example.com/course"),
        "timestamp": AT,
    }
    return tincan.Statement(**{**whole, **parts})


def written(statement: tincan.Statement) -> dict[str, Any]:
    return dict(json.loads(by_hand.from_tincan(statement)))


# Writing


def test_a_statement_is_written_as_it_was_built() -> None:
    statement = made(
        id=uuid.UUID(ID),
        result=tincan.Result(
            score=tincan.Score(scaled=0.5, raw=90, min=0, max=100),
            completion=True,
            duration=dt.timedelta(minutes=1, seconds=30.25),
            extensions=tincan.Extensions({"https://example.com/note": None, "https://example.com/_x": {"_y": 1}}),
        ),
        context=tincan.Context(
            registration=uuid.UUID(ID),
            context_activities=tincan.ContextActivities(parent=[{"id": "https://example.com/programme"}]),
        ),
    )
    assert written(statement) == {
        "id": ID,
        "actor": {"objectType": "Agent", "mbox": "mailto:ada@example.com"},
        "verb": {"id": "http://adlnet.gov/expapi/verbs/completed"},
        "object": {"objectType": "Activity", "id": "https://example.com/course"},
        "result": {
            "score": {"scaled": 0.5, "raw": 90, "min": 0, "max": 100},
            "completion": True,
            "duration": "PT01M30.25S",
            "extensions": {"https://example.com/note": None, "https://example.com/_x": {"_y": 1}},
        },
        "context": {
            "registration": ID,
            "contextActivities": {"parent": [{"objectType": "Activity", "id": "https://example.com/programme"}]},
        },
        "timestamp": "2026-03-04T05:06:07.250000Z",
    }


def test_what_it_lacks_is_given_and_what_is_an_lrss_to_say_is_left_out() -> None:
    bare = made(timestamp=None, stored=AT, authority=tincan.Agent(mbox="mailto:lrs@example.com"), version="1.0.1")
    first, second = written(bare), written(bare)
    assert first.keys() == {"id", "actor", "verb", "object", "timestamp"}
    assert first["id"] != second["id"]
    assert abs(moment(first["timestamp"]) - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=1)


def test_whole_numbers_stay_whole() -> None:
    payload = by_hand.from_tincan(made(result=tincan.Result(score=tincan.Score(raw=90, scaled=1.0))))
    assert b'"raw":90' in payload and b"90.0" not in payload


def _attached(**parts: Any) -> list[tincan.Attachment]:
    whole = {"usage_type": "https://example.com/u", "display": {"en": "x"}, "content_type": "text/plain"}
    return [tincan.Attachment(**{**whole, "length": 1, "sha2": "0f" * 32, **parts})]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"actor": tincan.Agent(name="Ada")}, "actor"),
        ({"actor": tincan.Agent(mbox="mailto:a@example.com", openid="https://a.example.com")}, "actor"),
        ({"verb": tincan.Verb(id="completed")}, r"verb\.id"),
        ({"verb": None}, "verb"),
        ({"result": tincan.Result(score=tincan.Score(scaled=7))}, r"result\.score\.scaled"),
        ({"result": tincan.Result(score=tincan.Score(raw=float("nan")))}, r"result\.score\.raw"),
        ({"result": tincan.Result(duration=dt.timedelta(seconds=-5))}, r"result\.duration.*must not be negative"),
        ({"timestamp": AT.replace(tzinfo=None)}, "timestamp.*must say its zone"),
        ({"result": tincan.Result(extensions=tincan.Extensions({"https://example.com/x": {1}}))}, "JSON can't hold"),
        ({"attachments": _attached()}, "each needs a fileUrl"),
    ],
)
def test_what_tincan_takes_and_no_lrs_would_is_refused_with_its_path(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidStatement, match=words):
        by_hand.from_tincan(made(**parts))


def test_times_within_a_substatement_say_their_zone_too() -> None:
    inner = {name: getattr(made(), name) for name in ("actor", "verb", "object")}
    planned = tincan.SubStatement(**inner, timestamp=AT.replace(tzinfo=None), object_type="SubStatement")
    with pytest.raises(InvalidStatement, match=r"object\.timestamp"):
        by_hand.from_tincan(made(object=planned))


def test_an_attachment_with_its_address_is_written() -> None:
    (attachment,) = written(made(attachments=_attached(fileurl="https://example.com/a.txt")))["attachments"]
    assert attachment["fileUrl"] == "https://example.com/a.txt"
    assert (attachment["usageType"], attachment["contentType"]) == ("https://example.com/u", "text/plain")


def test_the_ledger_takes_it(runtime: Runtime) -> None:
    payload = by_hand.from_tincan(made(id=uuid.UUID(ID)))
    with runtime.db.write() as session:
        assert ledger.add(session, payload, issuer="http://bridge.test")
        assert not ledger.add(session, payload, issuer="http://bridge.test")
        assert session.query(tables.Statement).one().payload == payload


# Reading


def test_what_tincan_alone_can_not_read_is_read() -> None:
    statement = {
        **SIMPLE,
        "id": ID.upper(),
        "timestamp": "2026-03-04T05:06:07",
        "authority": {"objectType": "Group", "member": [{"openid": "https://a.example.com"}, ADA]},
        "context": {"registration": ID.upper(), "statement": {**REF, "id": ID.upper()}},
    }
    with pytest.raises(ValueError, match="UUID"):
        tincan.Statement.from_json(json.dumps(statement))
    read = by_hand.to_tincan(json.dumps(statement).encode())
    assert read.id == read.context.registration == read.context.statement.id == uuid.UUID(ID)
    assert read.timestamp == dt.datetime(2026, 3, 4, 5, 6, 7, tzinfo=dt.UTC)
    assert len(read.authority.member) == 2
    assert by_hand.left_out(json.dumps(statement).encode()) == []


def test_what_tincan_has_no_place_for_is_left_out_and_named() -> None:
    around = [{"objectType": "contextAgent", "agent": ADA, "relevantTypes": ["https://example.com/coach"]}]
    inner = {
        **SIMPLE,
        "objectType": "SubStatement",
        "result": {"duration": "P1M"},
        "context": {"contextAgents": around},
    }
    statement = {
        **SIMPLE,
        "object": inner,
        "result": {"duration": "P1Y2M", "success": True},
        "context": {"contextAgents": around, "platform": "here"},
    }
    del statement["context"]["platform"]  # only for activities
    payload = json.dumps(statement).encode()
    assert by_hand.left_out(payload) == [
        "context.contextAgents",
        "result.duration",
        "object.result",
        "object.context.contextAgents",
    ]
    read = by_hand.to_tincan(payload)
    assert (read.result.duration, read.result.success) == (None, True)
    assert read.object.verb.id == "https://example.com/read"


@pytest.mark.parametrize("duration", ["PT1M30S", "P3DT4H", "P2W", "PT0.5S"])
def test_other_durations_are_read_as_long_as_they_are(duration: str) -> None:
    lengths = {"PT1M30S": 90, "P3DT4H": 273_600, "P2W": 1_209_600, "PT0.5S": 0.5}
    payload = json.dumps({**SIMPLE, "result": {"duration": duration}}).encode()
    assert by_hand.left_out(payload) == []
    assert by_hand.to_tincan(payload).result.duration.total_seconds() == lengths[duration]


def test_a_statement_that_is_none_is_refused() -> None:
    for payload in (b"[]", b"{}", json.dumps({**SIMPLE, "object": {}}).encode()):
        with pytest.raises(InvalidStatement):
            by_hand.to_tincan(payload)


def _recorded() -> Iterator[dict[str, Any]]:
    """Every valid statement that a conformance suite sends."""
    for file in sorted(RECORDED.glob("verdicts-*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            sent = json.loads(line)["statement_or_batch"]
            for statement in sent if isinstance(sent, list) else [sent]:
                if any(map(_is_valid, [statement] * len(Version), Version)):
                    yield statement


def _is_valid(statement: Any, version: Version) -> bool:
    try:
        validate(loads(json.dumps(statement).encode()), version)
    except InvalidStatement:
        return False
    return True


def test_every_valid_statement_is_read_and_written_with_the_same_meaning() -> None:
    statements = [*_recorded(), {name: value for name, value in BASE.items() if name != "attachments"}]
    assert len(statements) > 500
    for statement in statements:
        before = copy.deepcopy(statement)
        payload = json.dumps(statement).encode()
        again = json.loads(by_hand.from_tincan(by_hand.to_tincan(payload)))
        lost = {f".{path}" for path in by_hand.left_out(payload)}
        given = {name for name in ("id", "timestamp") if name not in statement}
        assert statement == before
        assert set(_differences(_meaning(statement), _meaning(again))) - {f".{name}" for name in given} == lost


def _meaning(value: Any, name: str = "") -> Any:
    """Without what is of the LRS, and in one form where there are several for the same."""
    if isinstance(value, dict):
        plain = {key: _meaning(part, key) for key, part in value.items()}
        if plain.get("objectType") in ("Agent", "Activity"):
            del plain["objectType"]
        if name == "contextActivities":
            plain = {kind: some if isinstance(some, list) else [some] for kind, some in plain.items()}
        of_the_lrs = () if name else ("version", "stored", "authority")
        return {key: part for key, part in plain.items() if key not in of_the_lrs and (key, part) != ("member", [])}
    if isinstance(value, list):
        return [_meaning(part, "[]") for part in value]
    if name == "timestamp":
        return moment(value)
    if name == "duration":
        return tincan.Result(duration=value).duration
    return value.lower() if name in ("id", "registration") and isinstance(value, str) else value


def _differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in one.keys() | other.keys():
            if (name in one) != (name in other):
                yield f"{path}.{name}"
            elif name in one:
                yield from _differences(one[name], other[name], f"{path}.{name}")
    elif one != other:
        yield path
