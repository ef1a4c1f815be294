"""A batch as the body of one POST: JSON, or multipart/mixed where contents are attached."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bridge.connect import Attached, Statement


class Body(NamedTuple):
    """What is posted, and the Content-Type that says what it is."""

    data: bytes
    content_type: str


def of(statements: Sequence[Statement]) -> Body:
    """The exact bytes of each statement in one array, and the content of each attachment once."""
    array = b"[" + b",".join([statement.payload for statement in statements]) + b"]"
    attached = {held.sha2: held for statement in statements for held in statement.attachments}
    if not attached:
        return Body(array, "application/json")
    boundary = uuid.uuid4().hex
    parts = [b"Content-Type: application/json\r\n\r\n" + array, *map(_part, attached.values())]
    return Body(b"".join(_framed(parts, boundary.encode())), f'multipart/mixed; boundary="{boundary}"')


def _part(held: Attached) -> bytes:
    """One attachment's content with the headers that say which it is (xAPI-Communication 1.5.2)."""
    headers = (
        f"Content-Type: {held.content_type}\r\n"
        "Content-Transfer-Encoding: binary\r\n"
        f"X-Experience-API-Hash: {held.sha2}\r\n\r\n"
    )
    return headers.encode() + held.content


def _framed(parts: Sequence[bytes], boundary: bytes) -> Iterator[bytes]:
    for part in parts:
        yield b"--" + boundary + b"\r\n" + part + b"\r\n"
    yield b"--" + boundary + b"--\r\n"
