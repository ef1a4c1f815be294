"""CloudEvents 1.0.2 over HTTP: structured, batch and binary mode read, structured mode written.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from pydantic_core import from_json

from bridge.connect.errors import UnexpectedPayload
from bridge.domain.events import BusinessEvent, PersonRef

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
#: Where an event's data names its people, unless a connection says otherwise: role to dotted path.
PEOPLE: Mapping[str, str] = {"actor": "actor", "owner": "owner"}
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def parse_cloudevents(
    headers: Mapping[str, str], body: bytes, people_paths: Mapping[str, str] = PEOPLE
) -> list[BusinessEvent]:
    """Read the events of an HTTP request.

    ``people_paths`` maps a role to the dotted path in ``data`` of an object ``{id, email, name}`` or of a text, which
    is an e-mail address if it has an @ and an id if not; a path that leads to neither names nobody. The data must be a
    JSON object, or be left out. Without a ``time`` an event is of now. Raises UnexpectedPayload naming the field.
    """
    headers = {name.lower(): value for name, value in headers.items()}
    kind = _media_type(headers.get("content-type", ""))
    if kind == BATCH:
        batch = _json(body)
        if not isinstance(batch, list):
            raise UnexpectedPayload(f"a body of the type {BATCH} must be a JSON array of events")
        return [_event(event, people_paths, f"event {number}: ") for number, event in enumerate(batch, start=1)]
    if kind == STRUCTURED:
        return [_event(_json(body), people_paths)]
    if kind.startswith("application/cloudevents"):
        raise UnexpectedPayload(f"{kind} is not understood: send {STRUCTURED} or {BATCH}", field="content-type")
    if "ce-specversion" not in headers:
        raise UnexpectedPayload(
            f"this is no CloudEvent: send it as {STRUCTURED}, as {BATCH}, or with the headers ce-specversion, ce-id,"
            " ce-source and ce-type",
            field="specversion",
        )
    return [_event(_binary(headers, body), people_paths)]


def to_structured(
    event_id: str,
    event_type: str,
    source: str,
    data: Mapping[str, Any],
    *,
    subject: str = "",
    time: dt.datetime | None = None,
) -> bytes:
    """The body of one event in structured mode (content type STRUCTURED); the same values make the same bytes."""
    event: dict[str, Any] = {"specversion": "1.0", "id": event_id, "type": event_type, "source": source}
    if subject:
        event["subject"] = subject
    if time:
        event["time"] = time.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    event |= {"datacontenttype": "application/json", "data": data}
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def _media_type(content_type: str) -> str:
    return content_type.split(";", maxsplit=1)[0].strip().lower()


def _is_json(content_type: str) -> bool:
    kind = _media_type(content_type)
    return kind in ("", "application/json", "text/json") or kind.endswith("+json")


def _json(body: bytes, field: str = "") -> Any:
    """Strict JSON: UTF-8, no lone surrogates, no NaN, bounded depth."""
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise UnexpectedPayload(f"{field or 'the body'} is not JSON: {error}", field=field) from None


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _binary(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    event: dict[str, Any] = {
        name.removeprefix("ce-"): _header(name, value) for name, value in headers.items() if name.startswith("ce-")
    }
    if body:
        if not _is_json(headers.get("content-type", "")):
            raise UnexpectedPayload("data must be a JSON object, of the content type application/json", field="data")
        event["data"] = _json(body, "data")
    return event


def _header(name: str, value: str) -> str:
    """An attribute from its header: quotes taken off, then percent-decoded (section 3.1.3.2)."""
    if len(value) > 1 and value.startswith('"') and value.endswith('"'):
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise UnexpectedPayload(f"the header {name} is not percent-encoded UTF-8", field=name[3:]) from None


def _event(event: Any, people_paths: Mapping[str, str], where: str = "") -> BusinessEvent:
    if not isinstance(event, dict):
        raise UnexpectedPayload(f"{where}an event must be a JSON object")
    if event.get("specversion") != "1.0":
        raise UnexpectedPayload(f"{where}specversion must be '1.0'", field="specversion")
    id_, type_, source = (_text(event, name, where) for name in ("id", "type", "source"))
    subject = _text(event, "subject", where) if event.get("subject") is not None else ""
    data = _data(event, where)
    people = {role: _person(data, path) for role, path in people_paths.items()}
    return BusinessEvent(
        id=id_,
        type=type_,
        source=source,
        subject=subject,
        time=_time(event.get("time"), where),
        data=data,
        people={role: person for role, person in people.items() if person},
    )


def _text(event: Mapping[str, Any], name: str, where: str) -> str:
    value = event.get(name)
    if not isinstance(value, str) or not value or _CONTROL.search(value):
        raise UnexpectedPayload(
            f"{where}{name} must be a text that is not empty, without control characters", field=name
        )
    return value


def _time(value: Any, where: str) -> dt.datetime:
    if value is None:
        return dt.datetime.fromtimestamp(time.time(), dt.UTC)
    try:
        if isinstance(value, str) and _RFC3339.fullmatch(value):
            return dt.datetime.fromisoformat(value.upper()).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        pass
    raise UnexpectedPayload(f"{where}time must be like 2026-03-04T05:06:07Z (RFC 3339, with its zone)", field="time")


def _data(event: Mapping[str, Any], where: str) -> dict[str, Any]:
    data = event.get("data")
    if event.get("data_base64") is not None:
        try:
            data = _json(base64.b64decode(event["data_base64"], validate=True), "data_base64")
        except (binascii.Error, TypeError, ValueError):
            raise UnexpectedPayload(f"{where}data_base64 is not base64", field="data_base64") from None
    if data is None:
        return {}
    if not isinstance(data, dict) or not _is_json(str(event.get("datacontenttype") or "")):
        raise UnexpectedPayload(f"{where}data must be a JSON object", field="data")
    for leaf in _leaves(data):
        if leaf in (math.inf, -math.inf) or (isinstance(leaf, str) and "\0" in leaf):  # PostgreSQL keeps neither
            raise UnexpectedPayload(f"{where}data holds a NUL character or a number beyond bounds", field="data")
    return data


def _person(data: Mapping[str, Any], path: str) -> PersonRef:
    found: Any = data
    for step in path.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    if isinstance(found, dict):
        id_, email, name = (_word(found.get(part)) for part in ("id", "email", "name"))
        return PersonRef(id_, email, name)
    text = _word(found)
    return PersonRef(email=text) if "@" in text else PersonRef(id=text)


def _word(value: Any) -> str:
    """An id, address or name: many systems have numbers for ids."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
