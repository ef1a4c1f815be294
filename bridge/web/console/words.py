"""How the console says things: reasons and states in words, times, numbers, facts of an event."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from bridge.domain.prompts import Reason
from bridge.domain.rules import Limits, Offer
from bridge.lti.vocabulary import LINE_ITEM, LINE_ITEM_READ, MEMBERS_READ, RESULT_READ, SCORE
from bridge.store import now

REASONS: Mapping[str, str] = {
    Reason.OFFERED: "Offered",
    Reason.OPENED_IN_LMS: "Opened in a course of the LMS",
    Reason.CONDITION_FALSE: "The condition is not true",
    Reason.CONDITION_FAILED: "The condition could not be worked out",
    Reason.PERSON_MISSING: "The event names nobody in that role",
    Reason.PERSON_UNKNOWN: "The person is not known here",
    Reason.PERSON_AMBIGUOUS: "It could be more than one person",
    Reason.ASSET_NOT_FOUND: "The catalogue has no such asset",
    Reason.ASSET_RETIRED: "The asset left its catalogue",
    Reason.ASSET_NOT_OPENABLE: "The asset can't be opened from here",
    Reason.ALREADY_PROMPTED: "Prompted before",
    Reason.COOLING_DOWN: "Prompted only lately",
    Reason.ALREADY_COMPLETED: "Completed lately",
    Reason.TEMPLATE_FAILED: "What it says could not be filled in",
}

#: (tag colour, word) of states that other parts keep as one word.
STATES: Mapping[str, tuple[str, str]] = {
    "works": ("good", "Works"),
    "problem": ("bad", "Problem"),
    "waiting": ("warn", "Waiting"),
    "off": ("", "Off"),
    "pending": ("warn", "Waits for approval"),
    "unsynchronised": ("warn", "Never synchronised"),
    "asked": ("accent", "Asked for"),
    "running": ("accent", "Running"),
    "failed": ("bad", "Failed"),
    "finished": ("good", "Finished"),
    "shown": ("good", "Shown"),
    "delivered": ("good", "Delivered"),
    "withdrawn": ("", "Taken back"),
    "recorded": ("good", "Written back"),
    "rejected": ("bad", "Refused"),
    "replaced": ("", "Replaced"),
    "matched": ("good", "All there"),
    "missing": ("bad", "Missing"),
    "different": ("warn", "Different"),
    "voided": ("warn", "Voided on one side"),
    "foreign": ("", "Of others"),
}

#: The services of LTI Advantage, by their scopes.
SCOPES: Mapping[str, str] = {
    LINE_ITEM: "Make columns in the gradebook, and change its own",
    LINE_ITEM_READ: "Read its columns in the gradebook",
    RESULT_READ: "Read the results in its columns",
    SCORE: "Send scores",
    MEMBERS_READ: "Read who was sent there",
}

QUEUES: Mapping[str, str] = {
    "decide": "Events to decide on",
    "deliver": "Prompts to deliver",
    "drain": "Statements to send",
    "write_back": "Completions to write back",
    "grades": "Grades to send",
}

_UNITS = (("week", 604_800), ("day", 86_400), ("hour", 3600), ("minute", 60))
_MOST_FACTS, _LONGEST_FACT = 60, 300


def reason(code: str) -> str:
    """A decision's reason in words."""
    return REASONS.get(code, code.replace("_", " "))


def state(code: str) -> Markup:
    """A state as a coloured tag."""
    colour, word = STATES.get(code, ("", code.replace("_", " ").capitalize()))
    return Markup('<span class="tag {}">{}</span>').format(colour, word)


def when(at: dt.datetime | None) -> str:
    """A moment in UTC, to the minute."""
    if at is None:
        return ""
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(), f"{at:%Y-%m-%d %H:%M}")


def ago(at: dt.datetime | None) -> str:
    """How long ago, or how far ahead, in the largest unit; the moment itself as a tooltip."""
    if at is None:
        return "never"
    seconds = (now() - at).total_seconds()
    length = span(abs(seconds))
    text = "just now" if length == "moments" else f"{length} ago" if seconds >= 0 else f"in {length}"
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        at.isoformat(), f"{at:%Y-%m-%d %H:%M:%S}", text
    )


def span(seconds: float | dt.timedelta) -> str:
    """A length of time in its largest unit."""
    whole = seconds.total_seconds() if isinstance(seconds, dt.timedelta) else seconds
    for unit, size in _UNITS:
        if whole >= size:
            number = int(whole // size)
            return f"{number} {unit}{'' if number == 1 else 's'}"
    return "moments"


def count(number: int) -> str:
    """A whole number with its thousands apart."""
    return f"{number:,}"


def plural(number: int, one: str, many: str = "") -> str:
    """A number with its noun: "1 event", "2 events"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def sentence(text: str) -> str:
    """Words as a sentence of their own."""
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?", "…")) else ".")


def last_part(iri: str) -> str:
    """The readable end of an IRI: a verb's word, say."""
    return iri.rstrip("/").rsplit("/", 1)[-1]


def facts(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Nested data as paths and texts, as far as somebody reads."""
    found: list[tuple[str, str]] = []
    for path, value in _leaves(data, ""):
        if len(found) == _MOST_FACTS:
            return [*found, ("…", "there is more; the API shows all of it")]
        text = "yes" if value is True else "no" if value is False else "" if value is None else str(value)
        found.append((path, text if len(text) <= _LONGEST_FACT else text[:_LONGEST_FACT] + "…"))
    return found


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if items is None or not value:
        yield path, value if items is None else "(empty)"
        return
    for key, inner in items:
        yield from _leaves(inner, f"{path}.{key}" if path else str(key))


def offer(wanted: Offer, title: str) -> str:
    """What a rule offers."""
    if wanted.asset:
        return f"“{title}” ({wanted.asset})" if title else wanted.asset
    kinds = " or ".join(kind.replace("-", " ") for kind in wanted.kinds) or "asset"
    parts = [f"the best {kinds}"]
    if wanted.search:
        parts.append(f"for “{wanted.search}”")
    if wanted.tags:
        parts.append(f"tagged {' and '.join(wanted.tags)}")
    if wanted.language:
        parts.append(f"in {wanted.language}")
    return " ".join(parts)


def limits(given: Limits) -> str:
    """How often is too often."""
    each = {"event": "event", "object": "record", "person": "person, ever"}[given.once_per]
    parts = [f"once for each {each}"]
    if given.cool_down:
        parts.append(f"not within {span(given.cool_down)} of the last one")
    if given.skip_if_completed_within:
        parts.append(f"not when it was completed within {span(given.skip_if_completed_within)}")
    return "; ".join(parts)


FILTERS = {
    "ago": ago,
    "count": count,
    "facts": facts,
    "last_part": last_part,
    "limits": limits,
    "offer": offer,
    "plural": plural,
    "queue": QUEUES.__getitem__,
    "reason": reason,
    "scope": SCOPES.__getitem__,
    "sentence": sentence,
    "span": span,
    "state": state,
    "when": when,
}
