"""CloudEvents over HTTP: the three modes, and what is refused with the field's name."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.connect import PersonRef, UnexpectedPayload
from bridge.connect.cloudevents import BATCH, STRUCTURED, parse_cloudevents, to_structured

EVENT = {"specversion": "1.0", "id": "1", "type": "deal.won", "source": "/crm", "time": "2026-03-04T05:06:07Z"}
BINARY = {f"ce-{name}": value for name, value in EVENT.items()}
NO_NAMES: list[Any] = [None, "", 7, {}, "\x00", "\x1f", "\x7f", "\x9f"]


def structured(event: Any) -> tuple[dict[str, str], bytes]:
    return {"Content-Type": STRUCTURED}, json.dumps(event).encode()


def refused(headers: dict[str, str], body: bytes) -> UnexpectedPayload:
    with pytest.raises(UnexpectedPayload, match=" ") as caught:
        parse_cloudevents(headers, body)
    return caught.value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("specversion", None),
        ("specversion", "0.3"),
        ("specversion", 1.0),
        *((name, value) for name in ("id", "type", "source") for value in NO_NAMES),
        ("subject", ""),
        ("subject", 7),
        *(
            ("time", value)
            for value in (
                "",
                7,
                "yesterday",
                "2026-03-04",
                "2026-03-04T05:06:07",
                "2026-13-04T05:06:07Z",
                "20260304T050607Z",
            )
        ),
        ("time", "0001-01-01T00:00:00+14:00"),
        ("data", [1]),
        ("data", "text"),
        ("data", 0),
        ("data_base64", "%"),
        ("data_base64", 7),
        ("data_base64", "eyJ"),
    ],
)
def test_a_wrong_attribute_is_named(field: str, value: Any) -> None:
    assert refused(*structured({**EVENT, field: value})).field == field
    where = refused({"content-type": BATCH}, json.dumps([EVENT, {**EVENT, field: value}]).encode())
    assert where.field == field and "event 2" in str(where)


@pytest.mark.parametrize("missing", ["specversion", "id", "type", "source"])
def test_a_missing_attribute_is_named(missing: str) -> None:
    assert refused(*structured({name: value for name, value in EVENT.items() if name != missing})).field == missing
    headers = {name: value for name, value in BINARY.items() if name != f"ce-{missing}"}
    assert refused(headers, b"{}").field == missing


@pytest.mark.parametrize(
    ("given", "utc"),
    [
        ("2026-03-04t05:06:07z", "2026-03-04T05:06:07+00:00"),
        ("2026-03-04T05:06:07.5+02:00", "2026-03-04T03:06:07.500000+00:00"),
        ("2026-03-04T05:06:07.123456789Z", "2026-03-04T05:06:07.123456+00:00"),
    ],
)
def test_times_are_told_in_utc(given: str, utc: str) -> None:
    [event] = parse_cloudevents(*structured({**EVENT, "time": given}))
    assert event.time.isoformat() == utc


def test_an_event_without_a_time_is_of_now() -> None:
    before = dt.datetime.now(dt.UTC)
    [event] = parse_cloudevents(*structured({**EVENT, "time": None}))
    assert before - dt.timedelta(seconds=1) <= event.time <= dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)


def test_plain_json_is_no_cloudevent() -> None:
    error = refused({"content-type": "application/json"}, json.dumps(EVENT).encode())
    assert error.field == "specversion" and STRUCTURED in str(error) and "ce-id" in str(error)


def test_another_event_format_is_told() -> None:
    error = refused({"content-type": "application/cloudevents+avro"}, b"\x01")
    assert error.field == "content-type" and STRUCTURED in str(error)


def test_a_batch_may_be_empty() -> None:
    assert parse_cloudevents({"content-type": BATCH}, b"[]") == []
    assert "array" in str(refused({"content-type": BATCH}, json.dumps(EVENT).encode()))


@pytest.mark.parametrize("kind", ["application/json", "application/vnd.acme+json", "text/json; charset=utf-8", ""])
def test_binary_mode_takes_json(kind: str) -> None:
    [event] = parse_cloudevents({**BINARY, "Content-Type": kind}, b'{"stage": "won"}')
    assert event.data == {"stage": "won"} and event.type == "deal.won"


def test_binary_mode_needs_no_body() -> None:
    [event] = parse_cloudevents(BINARY, b"")
    assert event.data == {} and event.subject == ""


@pytest.mark.parametrize(("kind", "body"), [("text/plain", b"won"), ("application/json", b"{"), ("image/png", b"\x89")])
def test_binary_mode_takes_nothing_else(kind: str, body: bytes) -> None:
    assert refused({**BINARY, "content-type": kind}, body).field == "data"


@pytest.mark.parametrize(
    ("header", "subject"),
    [("caf%C3%A9 %E2%82%AC", "café €"), ('"a \\"b\\" %25"', 'a "b" %'), ("100%", "100%"), ("a+b", "a+b")],
)
def test_headers_are_decoded(header: str, subject: str) -> None:
    [event] = parse_cloudevents({**BINARY, "ce-subject": header}, b"")
    assert event.subject == subject


def test_a_header_that_is_not_utf8_is_named() -> None:
    assert refused({**BINARY, "ce-subject": "%ff"}, b"").field == "subject"


@pytest.mark.parametrize(
    "data", [b"1e999", b"NaN", b'"\\u0000"', b'{"\\u0000": 1}', b'"\\ud800"', b"[" * 500 + b"]" * 500]
)
def test_what_no_database_keeps_is_refused(data: bytes) -> None:
    body = b'{"specversion": "1.0", "id": "1", "type": "t", "source": "s", "data": {"a": ' + data + b"}}"
    refused({"content-type": STRUCTURED}, body)
    assert refused(BINARY, b'{"a": ' + data + b"}").field == "data"


@pytest.mark.parametrize(
    ("held", "person"),
    [
        ({"id": 7, "email": "bo@example.com", "name": "Bo"}, PersonRef("7", "bo@example.com", "Bo")),
        ("bo@example.com", PersonRef(email="bo@example.com")),
        ("E1001", PersonRef("E1001")),
        (1001, PersonRef("1001")),
        *(
            (nobody, None)
            for nobody in (None, "", [], {}, True, 1.5, {"name": "Bo"}, {"id": {"a": 1}}, ["bo@example.com"])
        ),
    ],
)
def test_people_are_found_by_path(held: Any, person: PersonRef | None) -> None:
    request = structured({**EVENT, "data": {"deal": {"rep": held}}})
    [event] = parse_cloudevents(*request, {"owner": "deal.rep", "actor": "deal.rep.id.no"})
    assert event.people == ({"owner": person} if person else {})


def test_what_is_written_is_read() -> None:
    time = dt.datetime(2026, 3, 4, 6, 6, 7, tzinfo=dt.timezone(dt.timedelta(hours=1)))
    body = to_structured("1", "deal.won", "/crm", {"é": [1]}, subject="deal/4", time=time)
    [event] = parse_cloudevents({"content-type": STRUCTURED}, body)
    assert (event.id, event.type, event.source, event.subject) == ("1", "deal.won", "/crm", "deal/4")
    assert event.time == time and event.data == {"é": [1]}
    assert b"time" not in to_structured("1", "deal.won", "/crm", {})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(changes=st.dictionaries(st.sampled_from([*EVENT, "subject", "data", "data_base64", "datacontenttype"]), VALUES))
def test_anything_is_read_or_refused(changes: dict[str, Any]) -> None:
    """Never an error of another kind, and never an event that could not be stored."""
    body = json.dumps({**EVENT, **changes}).encode()
    try:
        [event] = parse_cloudevents({"content-type": STRUCTURED}, body)
    except UnexpectedPayload:
        return
    assert event.id and event.type and event.source and event.time.tzinfo
    text = json.dumps(event.data, allow_nan=False)
    assert "\\u0000" not in text.replace("\\\\", "") and text.encode()
