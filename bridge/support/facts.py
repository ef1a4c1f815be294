"""Facts as they are shown: one line of plain text, or None where there is nothing to show. Nothing here raises."""

import datetime as dt
import enum
import math
import re
import uuid
from decimal import Decimal, InvalidOperation
from typing import Any, Final

MAX_CHARACTERS: Final = 500
MAX_ITEMS: Final = 50
# Control characters, half surrogate pairs, the marks of `document`, and what turns the direction of reading.
_UNSHOWN: Final = re.compile("[\0-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ue000-\ue002]")


def shown(value: Any) -> str | None:
    """The value as text of at most MAX_CHARACTERS; a list as its items with commas; None for blank text and maps."""
    if isinstance(value, list | tuple | set | frozenset):
        items = [_scalar(item) for item in list(value)[:MAX_ITEMS]]
        text = ", ".join(item for item in items if item)
    else:
        text = _scalar(value)
    line = " ".join(_UNSHOWN.sub("", text).split())
    return (line if len(line) <= MAX_CHARACTERS else line[: MAX_CHARACTERS - 1] + "…") or None


def number(value: Any) -> Any:
    """A number with thousands separated and two decimals or none, such as "120,000.50"; any other value as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return value
    try:
        exact = Decimal(str(value))
    except (InvalidOperation, ValueError):
        return value
    if not exact.is_finite() or exact.adjusted() > 30:
        return value
    return f"{exact:,.2f}".removesuffix(".00")


def date(value: Any) -> Any:
    """A time, or its ISO 8601 text, as "2026-03-02 09:30 UTC"; any other value, a date as well, as it is."""
    if isinstance(value, str) and "T" in value.upper():
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            return value
    return f"{value:%Y-%m-%d %H:%M %Z}".strip() if isinstance(value, dt.datetime) else value


def _scalar(value: Any) -> str:
    match value:
        case enum.Enum():
            return str(value.value)
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.15g}" if math.isfinite(value) else ""
        case dt.date():
            return str(date(value))
        case str() | int() | Decimal() | uuid.UUID():
            return str(value)
    return ""
