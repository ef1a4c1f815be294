"""Strict JSON: a body that two readers could understand differently is refused."""

import json
import math
import re
from collections import Counter
from typing import Any

from bridge.xapi.validation.shapes import InvalidStatement, Json, step

_DEEPEST = 100
#: Of values in a body; a full batch has fewer by far. Small ones take 30 times as much memory as text, and seconds.
_MOST_VALUES = 2_000_000
#: In digits, of those that surely are in the range of a 64-bit float.
_LONGEST_INTEGER = 308
_may_hold_surrogate = re.compile(r"\\u[dD][89a-fA-F]").search


def loads(raw: bytes) -> object:
    """The value of a JSON body.

    Raises `InvalidStatement` for what is not UTF-8 or not JSON (RFC 8259), for a key that stands twice in one object,
    NaN, Infinity and numbers that only fit as such, half a surrogate pair, nesting deeper than 100, and more than two
    million commas and brackets (those within texts count too: to tell them apart takes as long as to read the body).
    """
    if len(raw) > _MOST_VALUES and sum(map(raw.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise InvalidStatement("", f"the body holds more than {_MOST_VALUES} values: send less at once")
    try:
        text = raw.decode("utf-8")
        value: object = _decode(text)
    except InvalidStatement:
        raise
    except UnicodeDecodeError as error:
        raise InvalidStatement("", f"the body must be UTF-8, byte {error.start} is not (RFC 8259 8.1)") from None
    except json.JSONDecodeError as error:
        raise InvalidStatement("", f"the body must be JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise _too_deep() from None
    _refuse_depth(value)
    if _may_hold_surrogate(text):
        _refuse_surrogates(value)
    return value


def _object(pairs: list[tuple[str, object]]) -> Json:
    value = dict(pairs)
    if len(value) != len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise InvalidStatement(step(twice), "stands twice in one JSON object (xAPI-Data 2.2)")
    return value


def _no_constant(name: str) -> float:
    raise InvalidStatement("", f"the body holds {name}, which is not JSON (RFC 8259 6)")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise InvalidStatement("", "the body holds a number beyond the range of a 64-bit float (RFC 8259 6)")
    return number


def _integer(digits: str) -> int:
    if len(digits) > _LONGEST_INTEGER:  # many readers, those of LRSs too, know no other numbers than floats
        _finite(digits)
    return int(digits)


_decode = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite, parse_int=_integer
).decode


def _refuse_depth(value: object) -> None:
    level: list[Any] = [[value]]
    for _ in range(_DEEPEST + 1):
        level = [
            item
            for node in level
            for item in (node.values() if isinstance(node, dict) else node)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> InvalidStatement:
    return InvalidStatement("", f"the body is nested deeper than {_DEEPEST} levels")


def _refuse_surrogates(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidStatement(
            "", "the body holds half a surrogate pair, which is no character (RFC 8259 8.2)"
        ) from None
