"""Statements out of requests, each with its own bytes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from bridge.connect import Attached
from bridge.xapi.index import Json
from bridge.xapi.ledger import Entry
from bridge.xapi.lrs import multipart, pieces, signatures
from bridge.xapi.lrs.multipart import Body
from bridge.xapi.validation import InvalidStatement, Version, loads, validate, validate_batch
from bridge.xapi.validation.formats import is_uuid
from bridge.xapi.validation.statement import SIGNATURE

#: All statements of a request are stored in one transaction, which others on SQLite wait for.
MOST_AT_ONCE = 10_000
#: What each LRS says for itself, whatever a sender claims (xAPI-Data 2.4.8, 2.4.9).
_OWN_WORD = ("stored", "authority")


class TooMany(Exception):
    """A request with more statements than are taken at once; the message says how many that is."""


def read_batch(body: bytes, content_type: str, version: Version) -> list[Entry]:
    """The statements of a POST, each with its own bytes of the body; those without an id are given one.

    Raises InvalidStatement, and TooMany for more than ``MOST_AT_ONCE``.
    """
    opened = multipart.opened(body, content_type)
    batch = loads(opened.json)
    if isinstance(batch, list) and len(batch) > MOST_AT_ONCE:
        raise TooMany(
            f"The request has {len(batch)} statements, and at most {MOST_AT_ONCE} are taken at once: send less."
        )
    statements = validate_batch(batch, version)
    text = opened.json.decode()
    listed = isinstance(batch, list)
    payloads = pieces.items(text) if listed else [text.strip()]
    attached = [_attached(one, opened, f"[{place}]." if listed else "") for place, one in enumerate(statements)]
    _all_belong(opened, attached)
    return [_entry(*one) for one in zip(payloads, statements, attached, strict=True)]


def read_one(body: bytes, content_type: str, version: Version, statement_id: str | None) -> Entry:
    """The statement of a PUT, which stands under ``statementId`` (xAPI-Communication 2.1.1)."""
    if statement_id is None or not is_uuid(statement_id):
        raise InvalidStatement("statementId", "must be given, and be a UUID (xAPI-Communication 2.1.1)")
    opened = multipart.opened(body, content_type)
    statement = loads(opened.json)
    validate(statement, version)
    assert isinstance(statement, dict)
    attached = _attached(statement, opened)
    _all_belong(opened, [attached])
    if statement.get("id", statement_id).lower() != statement_id.lower():
        raise InvalidStatement("id", "must be the statementId of the request (xAPI-Communication 2.1.1)")
    return _entry(opened.json.decode().strip(), statement, attached, statement_id)


def _entry(payload: str, statement: Json, attached: tuple[Attached, ...], given: str | None = None) -> Entry:
    """The statement as it is kept: with an id, and without what each LRS says for itself."""
    if not statement.keys().isdisjoint(_OWN_WORD):
        kept = {name: piece for name, piece in pieces.members(payload).items() if name not in _OWN_WORD}
        payload, statement = pieces.joined(kept), {name: statement[name] for name in kept}
    if "id" not in statement:
        given = given or str(uuid.uuid4())
        payload, statement = f'{{"id":"{given}",{payload[1:]}', {"id": given, **statement}
    return Entry(payload.encode(), statement, attached)


def _attached(statement: Json, body: Body, path: str = "") -> tuple[Attached, ...]:
    """What came with this statement. What did not must be found at its ``fileUrl`` (xAPI-Communication 1.5.1)."""
    found = []
    for place, attachment in _attachments(statement, path):
        came = body.attachments.get(attachment["sha2"].lower())
        if came is not None:
            found.append(came)
        elif "fileUrl" not in attachment or attachment["usageType"] == SIGNATURE:
            rule = "is required, because the attachment itself was not sent (xAPI-Communication 1.5.1)"
            raise InvalidStatement(f"{place}.fileUrl", rule)
        if came is not None and attachment["usageType"] == SIGNATURE:
            signatures.check(statement, came.content, place)
    return tuple(found)


def _attachments(statement: Json, path: str) -> Iterator[tuple[str, Json]]:
    for place, attachment in enumerate(statement.get("attachments", ())):
        yield f"{path}attachments[{place}]", attachment
    if statement["object"].get("objectType") == "SubStatement":
        yield from _attachments(statement["object"], f"{path}object.")


def _all_belong(body: Body, attached: list[tuple[Attached, ...]]) -> None:
    strays = body.attachments.keys() - {one.sha2 for some in attached for one in some}
    if strays:
        place = list(body.attachments).index(min(strays)) + 1
        raise InvalidStatement(f"parts[{place}]", "belongs to no statement of this request (xAPI-Communication 1.5.2)")
