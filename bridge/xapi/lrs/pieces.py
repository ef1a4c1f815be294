"""JSON text taken apart and put together without writing any value anew; all of it is known to be well-formed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

_scan = json.JSONDecoder().raw_decode
_blank = re.compile(r"[ \t\r\n]*")


def items(text: str) -> list[str]:
    """The items of a JSON array with at least one, each as its own piece of the text."""
    found: list[str] = []
    at = _skip(text, text.index("[") + 1)
    while True:
        _, end = _scan(text, at)
        found.append(text[at:end])
        at = _skip(text, end)
        if text[at] != ",":
            return found
        at = _skip(text, at + 1)


def members(text: str) -> dict[str, str]:
    """The properties of a JSON object, each value as its own piece of the text."""
    found: dict[str, str] = {}
    at = _skip(text, text.index("{") + 1)
    if text[at] == "}":
        return found
    while True:
        name, end = _scan(text, at)
        start = _skip(text, _skip(text, end) + 1)
        _, end = _scan(text, start)
        found[name] = text[start:end]
        at = _skip(text, end)
        if text[at] != ",":
            return found
        at = _skip(text, at + 1)


def joined(pieces: Mapping[str, str]) -> str:
    """The JSON object of these properties."""
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in pieces.items()) + "}"


def _skip(text: str, at: int) -> int:
    blank = _blank.match(text, at)
    assert blank is not None  # it can be empty
    return blank.end()
