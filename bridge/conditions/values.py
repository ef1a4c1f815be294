"""Events and people in the types that the CEL engine takes: those of JSON, and bytes."""

import datetime as dt
import enum
import math
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

# The engine converts data by recursion on the C stack: without a limit a deep or cyclic value ends the process.
MAX_DEPTH: Final = 32


class Unreadable(Exception):
    """The data holds a value that a condition cannot read."""


def bindings(event: Mapping[str, Any], person: Mapping[str, Any] | None, now: dt.datetime) -> dict[str, Any]:
    """The variables of an evaluation. What is not there is not bound, so that asking for it is an error with its name.

    Raises Unreadable.
    """
    plain = plain_value(event)
    bound = {f"event.{name}": plain[name] for name in ("id", "type", "source") if isinstance(plain.get(name), str)}
    bound.update({"event": plain, "now": _aware(now)})
    if isinstance(plain.get("data"), dict):
        bound["event.data"] = plain["data"]
    if (time := _instant(event.get("time"))) is not None:
        bound["event.time"] = time
    if person is not None:
        bound["person"] = plain_value(person)
    return bound


def plain_value(value: Any, depth: int = 0) -> Any:
    """Times become RFC 3339 text, durations text like "90.0s", UUIDs text, numbers whole where they are exact.

    A whole number of more than 64 bits becomes a decimal one. Raises Unreadable for other kinds and for data that is
    nested deeper than MAX_DEPTH, or in itself.
    """
    kind = type(value)
    if kind is str:
        return value if value.isascii() and "\0" not in value else _text(value)
    if value is None or kind in (bool, float, bytes):
        return value
    if kind is int:
        return value if -(2**63) <= value < 2**64 else _large(value)
    if depth > MAX_DEPTH:
        raise Unreadable(f"the data is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return {_text(str(key)): plain_value(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_value(item, depth + 1) for item in value]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    match value:
        case enum.Enum():
            return plain_value(value.value)
        case dt.datetime():
            return _aware(value).isoformat()
        case dt.date() | uuid.UUID():
            return str(value)
        case dt.timedelta():
            return f"{value.total_seconds()}s"
        case Decimal() if value.is_finite():
            # The exponent first: int(Decimal("1e999999")) would write out every digit.
            whole = value.adjusted() < 19 and value == value.to_integral_value()
            return int(value) if whole else float(value)
        case Decimal():
            return math.nan if value.is_nan() else float(value)
    raise Unreadable(f"the data holds a {type(value).__name__}, which a condition cannot read")


def _text(value: str) -> str:
    # The engine cuts text at a NUL and cannot take half a surrogate pair.
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _large(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _instant(value: object) -> dt.datetime | None:
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            return None
    return _aware(value) if isinstance(value, dt.datetime) else None


def _aware(value: dt.datetime) -> dt.datetime:
    return value if value.tzinfo else value.replace(tzinfo=dt.UTC)
