"""Fields of service requests: read strictly, refused with the field's name."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping
from typing import Any

import orjson

from bridge.lti.errors import LtiError

LONGEST = 1024
PAGE_LIMIT = 100
#: Scores are divided and multiplied: within these bounds that stays finite.
LARGEST = 1e9
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")


def invalid(name: str, message: str) -> LtiError:
    """The refusal of one field."""
    return LtiError("field_invalid", f"{name}: {message}")


def json_object(body: bytes) -> dict[str, Any]:
    """The body as a JSON object; NaN and Infinity are no JSON."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise LtiError("body_malformed", "the body is not JSON") from None
    if not isinstance(value, dict):
        raise LtiError("body_malformed", "the body is not a JSON object")
    return value


def text(body: Mapping[str, Any], name: str, *, required: bool = False) -> str:
    """A text without white space around it, "" when it is absent or null."""
    value = body.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not value.strip()):
        raise invalid(name, "a text is required" if required else "must be a text")
    return storable(value.strip(), name)


def storable(value: str, name: str) -> str:
    """A text as every database takes it."""
    if len(value) > LONGEST or "\x00" in value:
        raise invalid(name, f"use at most {LONGEST} characters, without NUL")
    return value


def number(body: Mapping[str, Any], name: str, *, required: bool = False, positive: bool = False) -> float | None:
    """A finite number of zero or more, or a text that is one: Moodle sends ``"73.00000"``; None when absent or null."""
    value = body.get(name)
    if value is None and not required:
        return None
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise invalid(name, "a number is required")
    if value < 0 or (positive and value == 0):
        raise invalid(name, "must be greater than zero" if positive else "must not be negative")
    if value > LARGEST or 0 < value < 1 / LARGEST:
        raise invalid(name, f"must be between {1 / LARGEST:g} and {LARGEST:g}")
    return float(value)


def identifier(value: str, name: str) -> uuid.UUID:
    """An id that the platform has made; another one names nothing (404)."""
    try:
        return uuid.UUID(value)
    except ValueError:
        raise LtiError("not_found", f"there is no such {name}", status=404) from None


def limit(query: Mapping[str, str]) -> int:
    """How many at most on a page."""
    value = query.get("limit")
    if value is None:
        return PAGE_LIMIT
    if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) == 0:
        raise invalid("limit", "must be a number of 1 or more")
    return min(int(value), PAGE_LIMIT)


def shown(value: float) -> float | int:
    """A number without a needless fraction."""
    return int(value) if value.is_integer() else value
