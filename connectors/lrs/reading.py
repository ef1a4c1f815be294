"""What an LRS's answers say: JSON, times, versions."""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import re
from typing import Any

from requests import Response

#: A clock that is further off than this, in seconds, puts statements in a wrong order.
SKEW = 60
#: What some LRSs say with 400 where others answer 413, as Django ("Request body exceeded
#: settings.DATA_UPLOAD_MAX_MEMORY_SIZE") and IIS ("Maximum request length exceeded") do.
_TOO_LARGE = re.compile(
    r"(request|body|payload|entity|upload)\b[^.\n]{0,80}\b(exceed|too (large|big|long))|DATA_UPLOAD_MAX", re.IGNORECASE
)


#: xAPI is younger: an earlier Consistent-Through is the zero of somebody's clock, and promises nothing.
_FIRST_YEAR = 2011


def parsed(answer: Response) -> Any:
    """The answer's JSON; None where it is none."""
    try:
        return json.loads(answer.content)
    except (ValueError, RecursionError):
        return None


def said(answer: Response) -> str:
    """The beginning of what the answer says, to be redacted before it is cut.

    As UTF-8 whatever it is declared to be: to guess takes long, and Python knows encodings that raise.
    """
    return answer.content[:10_000].decode(errors="replace")


def page(answer: Response) -> dict[str, Any] | None:
    """The answer as a StatementResult; None where it is anything else, such as a sign-in page."""
    found = parsed(answer)
    statements = found.get("statements") if isinstance(found, dict) else None
    if not isinstance(statements, list) or not all(isinstance(one, dict) for one in statements):
        return None
    return dict(found)


def versions(answer: Response) -> list[str]:
    """The xAPI versions that /about lists; none where it is no such answer."""
    about = parsed(answer) if answer.ok else None
    told = about.get("version") if isinstance(about, dict) else None
    return [str(version) for version in told] if isinstance(told, list) else []


def is_too_large(answer: Response) -> bool:
    """Does the answer say that the request has too many bytes?"""
    return answer.status_code == 413 or (answer.status_code == 400 and bool(_TOO_LARGE.search(said(answer)[:2000])))


def through(answer: Response) -> dt.datetime | None:
    """Up to when the LRS promises to show all that it has stored; None where it promises nothing."""
    try:
        told = dt.datetime.fromisoformat(answer.headers.get("X-Experience-API-Consistent-Through", ""))
    except ValueError:
        return None
    if told.year < _FIRST_YEAR:
        return None
    return told if told.tzinfo else told.replace(tzinfo=dt.UTC)


def wrong_clock(answer: Response) -> str:
    """How far the LRS's clock is off, in words; "" where it is right or not told."""
    try:
        theirs = email.utils.parsedate_to_datetime(answer.headers.get("Date", ""))
    except (ValueError, OverflowError):
        return ""
    # In one of its forms a date has no zone, and is in UTC (RFC 9110 5.6.7).
    skew = (theirs.replace(tzinfo=theirs.tzinfo or dt.UTC) - dt.datetime.now(dt.UTC)).total_seconds()
    if abs(skew) <= SKEW:
        return ""
    ahead = "ahead of" if skew > 0 else "behind"
    return f"its clock is {abs(skew):.0f} s {ahead} this one: set both by NTP, or times will not agree"
