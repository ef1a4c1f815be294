"""Put more into a statement, and leave every byte of what it said as it came."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Iterator
from typing import Any

import orjson

Json = dict[str, Any]

_decode = json.JSONDecoder().raw_decode
_blanks = re.compile(r"[ \t\n\r]*").match
#: Where something is put into a text, and what.
_Insertion = tuple[int, str]


def put_in(payload: bytes, addition: Json) -> bytes:
    """The JSON object ``payload`` with what it lacks of ``addition``.

    Objects are filled, lists of activities get those whose ids they lack, and what has another value keeps it. A single
    activity where a list may stand becomes one of a list (xAPI-Data 2.4.6.2). Again changes nothing.
    """
    text = payload.decode()
    done, pieces = 0, []
    # In the order of the text; where two meet, what is put into the inner one comes first, as it was found.
    for at, words in sorted(_into_object(text, 0, addition), key=operator.itemgetter(0)):
        pieces += [text[done:at], words]
        done = at
    return "".join([*pieces, text[done:]]).encode()


def _into_object(text: str, at: int, addition: Json) -> Iterator[_Insertion]:
    members, end = _members(text, at)
    for name, value in addition.items():
        if name in members and isinstance(value, dict) and text[members[name]] == "{":
            yield from _into_object(text, members[name], value)
        elif name in members and isinstance(value, list):
            yield from _into_list(text, members[name], value)
    lacking = {name: value for name, value in addition.items() if name not in members}
    if lacking:
        yield end, ("," if members else "") + _inside(lacking)


def _into_list(text: str, at: int, items: list[Json]) -> Iterator[_Insertion]:
    there, end = _decode(text, at)
    is_list = isinstance(there, list)
    known = {item["id"] for item in (there if is_list else [there])}
    lacking = [item for item in items if item["id"] not in known]
    if not lacking:
        return
    if is_list:
        yield end - 1, ("," if there else "") + _inside(lacking)
    else:
        yield at, "["
        yield end, f",{_inside(lacking)}]"


def _inside(value: Json | list[Json]) -> str:
    return orjson.dumps(value).decode()[1:-1]


def _members(text: str, at: int) -> tuple[dict[str, int], int]:
    """Where the values of the object at ``at`` begin, by name, and where its closing brace is."""
    members: dict[str, int] = {}
    at = _blank(text, at + 1)
    while text[at] != "}":
        name, at = _decode(text, at)
        members[name] = at = _blank(text, _blank(text, at) + 1)
        _, at = _decode(text, at)
        at = _blank(text, at)
        if text[at] == ",":
            at = _blank(text, at + 1)
    return members, at


def _blank(text: str, at: int) -> int:
    """The next character that is none of JSON's blanks."""
    match = _blanks(text, at)
    assert match  # an empty text matches too
    return match.end()
