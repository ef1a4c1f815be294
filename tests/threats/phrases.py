"""The phrase book: which words mean which attempt.

A phrase is a pattern over the whole text of a case, whose named groups are what the attempt is made of. Words that no
pattern accounts for make a case unknown: it is better not to be tried than to be tried wrongly. What a text lists, as
in "response_mode query; fragment; missing", is tried one by one; remarks in brackets about who sends such a thing, and
what the text says must be seen ("plain error page"), are no part of the deviation.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any

from tests.threats.cases import Case
from tests.threats.running import Came, Stage
from tests.threats.signing import raw


class Unknown(Exception):
    """The attempt can't be made of these words; the message says which."""


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """One thing to try: what it is, and how it is done."""

    label: str
    run: Callable[[Stage], Came]


@dataclasses.dataclass(frozen=True, slots=True)
class _Phrase:
    pattern: re.Pattern[str]
    build: Callable[..., Came]

    def attempt(self, text: str) -> Attempt | None:
        found = self.pattern.fullmatch(text)
        if found is None:
            return None
        given = {name: value for name, value in found.groupdict().items() if value is not None}
        return Attempt(text, lambda stage: self.build(stage, **given))


_BOOK: dict[str, list[_Phrase]] = {"tool": [], "platform": []}


def phrase(side: str, *patterns: str) -> Callable[[Callable[..., Came]], Callable[..., Came]]:
    """Enter a builder: it takes the stage and the pattern's named groups, and makes its attempt."""

    def enter(build: Callable[..., Came]) -> Callable[..., Came]:
        for pattern in patterns:
            _BOOK[side].append(_Phrase(re.compile(pattern, re.IGNORECASE), build))
        return build

    return enter


#: Remarks that change nothing: who does such a thing, and why it is so.
_REMARK = re.compile(
    r"\s*\((?:(?:and )?(?:Moodle|Canvas|ltijs|pylti1p3|Blackboard|D2L|Brightspace|Sakai)\b[^()]*|extra credit|scaled"
    r"|inside the \d+ s leeway|outside the \d+ s leeway|no Authorization header is sent then)\)"
)
#: What must be seen, which every builder looks for anyway.
_SEEN = re.compile(
    r"(?:a )?plain error page|nothing is posted to it|echoed exactly|escaped|not asked for|scaled"
    r"|no side effect|ticket not used up|no launch|(?:a )?friendly(?: escaped)? page|a page that offers a new window"
    r"|accepted|always shown escaped|refused|(?:answered )?4\d\d|all answered 200|one effect|exactly one wins"
    r"|(?:all others|\d+) refused|all refused|at most (?:one|two|three|ten|\d+) refetch(?:es)?|one refetch"
    r"|throttled|no unbounded rows|one registration|left out of the reply|ignored|a new one is made"
    r"|not in the answer|exactly one (?:id_token|token|registration|effect)|200"
    r"|(?:is |always )?shown escaped|always escaped"
    r"|no second (?:effect|launch)|no effect|a line item is made|launch again from (?:your|the) LMS"
    r"|kept|no result|taken as none chosen|that item is left out|or all refused|all is refused"
    r"|exactly that is granted|token for the granted one|named in the reply|first launch goes to the pending list"
    r"|no-op|nothing new|held as pending|not trusted|the pending list|one wins|one selection"
)


def attempts(case: Case) -> list[Attempt]:
    """What a text without a ``change`` says to try; empty where that is not known."""
    text = _REMARK.sub("", " ".join(case.text.split())).strip().rstrip(".")
    for words in _without_what_is_seen(text):
        if found := _all(case.side, words):
            return found
    return []


def _without_what_is_seen(text: str) -> Iterator[str]:
    """The text, and the text without what it says must be seen."""
    yield text
    said, colon, seen = text.rpartition(": ")
    if colon and all(_SEEN.fullmatch(one.strip()) for one in re.split(r",|;|\band\b", seen)):
        yield said


def _all(side: str, text: str) -> list[Attempt]:
    if whole := _matching(side, text):
        return [attempt for _, attempt in whole]
    for separator, alike in (
        (r";\s*(?:also|or)?\s*", False),
        (r"\s*;\s*(?:also\s+|or\s+)?|,\s*(?:also\s+|or\s+)?|\s+or\s+", True),
    ):
        pieces = re.split(separator, text)
        if len(pieces) > 1 and (found := _each(side, pieces, alike=alike)):
            return found
    return []


def _each(side: str, pieces: list[str], *, alike: bool) -> list[Attempt]:
    """One attempt or more for each piece; later ones may leave out the first one's beginning.

    Pieces apart by commas must be ``alike``: of the same phrase, or they may be one sentence.
    """
    first, *rest = pieces
    found = _matching(side, first)
    kinds = {id(one.build) for one, _ in found}
    for piece in rest:
        more = next((hit for text in _completed(first, piece) if (hit := _matching(side, text))), [])
        if alike:
            more = [(one, attempt) for one, attempt in more if id(one.build) in kinds]
        if not more or not found:
            return []
        found = found + more
    return [attempt for _, attempt in found]


def _completed(first: str, piece: str) -> Iterator[str]:
    yield piece
    words = first.split()
    for length in range(len(words) - 1, 0, -1):
        if words[length - 1] != "not":
            yield " ".join([*words[:length], piece])


def _matching(side: str, text: str) -> list[tuple[_Phrase, Attempt]]:
    return [(one, attempt) for one in _BOOK[side] if (attempt := one.attempt(text)) is not None]


_NUMBERS = {
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "ten": 10,
    "a": 1,
    "an": 1,
    "twenty": 20,
    "hundred": 100,
}
_UNITS = {"s": 1, "second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800, "year": 31_536_000}
#: A duration, for patterns: "61 s", "one hour".
DURATION = r"(?:\d[\d,]*|one|two|three|five|ten|an?)\s*(?:s|seconds?|minutes?|hours?|days?|weeks?|years?)"
#: What makes something too old: its lifetime is over, or a time since it was made.
AGE = rf"(?:is )?(?:expired|older than its lifetime|older than (?P<length>{DURATION})|(?P<old>{DURATION}) old)"
COUNT = r"(?:\d[\d,]*|one|two|three|four|five|ten|twenty|hundred)"


def number(text: str) -> int:
    """A count in figures or words."""
    return _NUMBERS.get(text.lower()) or int(text.replace(",", ""))


def seconds(text: str) -> int:
    """A duration in seconds."""
    found = re.fullmatch(r"(\S+?)\s*([a-z]+)", text.lower())
    assert found is not None
    unit = found[2] if found[2] in _UNITS else found[2].removesuffix("s")
    return number(found[1]) * _UNITS[unit]


def shift(length: str, old: str) -> int | None:
    """The seconds that an AGE names: one more than what something is older than; None for the whole lifetime."""
    return seconds(length) + 1 if length else seconds(old) if old else None


#: How a text is changed a little, for patterns.
MANGLED = (
    r"(?:(?:with )?one character (?:changed|added|missing)|(?:in |with )?(?:another letter case|upper case)"
    r"|with an? (?:trailing )?(?:slash|blank|space) added)"
)


def mangled(text: str, how: str) -> str:
    """A text that differs a little."""
    if "case" in how:
        return text.upper() if text.upper() != text else text.lower()
    if "changed" in how:
        return text[:-1] + ("A" if text[-1] != "A" else "B")
    return text[:-1] if "missing" in how else text + {"slash": "/", "character": "x"}.get(how.split()[-2], " ")


_WORDS: dict[str, Any] = {
    "true": True,
    "false": False,
    "null": None,
    "negative": -1,
    "zero": 0,
    "empty": "",
    "a number": 7,
    "a boolean": True,
    "a text": "x",
    "a string": "x",
    "an empty text": "",
    "an empty string": "",
    "a list": [1],
    "an empty list": [],
    "an object": {"a": 1},
    "an empty object": {},
}
_NUMBER = r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|-?Infinity|NaN"
#: A value in words, for patterns.
VALUE = rf"(?:'[^']*'|\"[^\"]*\"|{_NUMBER}|{'|'.join(sorted(_WORDS, key=len, reverse=True))})"


def value(text: str) -> Any:
    """A value that a text names: JSON, or a word for a kind of value."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    return text[1:-1] if text[0] in "'\"" else raw(text)
