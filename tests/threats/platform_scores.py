"""The bridge as platform: scores and line items."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from typing import Any

from bridge.store import now
from tests.threats.phrases import COUNT, DURATION, VALUE, number, phrase, seconds, value
from tests.threats.platform_services import ABSENT, ITEM_TYPE, Book, written
from tests.threats.platform_side import Tool
from tests.threats.running import Came, Stage, at_once, call, came_of

# Scores

_SCORE_FIELDS = "userId|timestamp|activityProgress|gradingProgress|scoreGiven|scoreMaximum|comment"


@phrase(
    "platform",
    rf"(?P<name>{_SCORE_FIELDS}) (?:is )?(?P<how>missing|absent|null)",
    rf"(?:no|without) (?P<name>{_SCORE_FIELDS})",
)
def score_field_missing(stage: Stage, name: str, how: str = "missing") -> Came:
    book = Book(stage)
    left = None if how == "null" else ABSENT
    return book.attempt(book.score(**{name: left}), result=None if name == "scoreGiven" else 80)


@phrase("platform", r"scoreGiven and scoreMaximum as (?P<how>numbers|(?:numeric )?(?:texts|strings)|decimals)")
def score_as(stage: Stage, how: str) -> Came:
    book = Book(stage)
    numbers = {"numbers": (40, 50), "decimals": (40.0, 50.0)}.get(how.lower(), ("40.00000", "50"))
    return book.attempt(book.score(scoreGiven=numbers[0], scoreMaximum=numbers[1]))


@phrase(
    "platform",
    r"(?P<name>scoreGiven|scoreMaximum) (?:as|is) an? (?:numeric )?(?:string|text)(?: of digits)?",
    r"(?P<name>scoreGiven|scoreMaximum) is a number in a (?:string|text)",
)
def score_text(stage: Stage, name: str) -> Came:
    book = Book(stage)
    return book.attempt(book.score(**{name: "40.00000" if name == "scoreGiven" else "50.00000"}))


@phrase("platform", r"comment with markup", r"comment of (?P<size>\d+) KB")
def score_comment(stage: Stage, size: str = "") -> Came:
    book = Book(stage)
    return book.attempt(book.score(comment="x" * 1024 * int(size) if size else "<script>alert(1)</script>"))


@phrase(
    "platform", rf"(?P<name>scoreGiven|scoreMaximum) (?:is |of |as )?(?:the (?:string|text|number) )?(?P<what>{VALUE})"
)
def score_value(stage: Stage, name: str, what: str) -> Came:
    book = Book(stage)
    sent = value(what)
    plain = re.fullmatch(r"['\"]?(\d+(?:\.\d+)?)['\"]?", what)
    points = float(plain[1]) if plain else 0.0
    due = 2 * points if name == "scoreGiven" else 4000 / (points or 1)
    return book.attempt(book.score(**{name: sent}), result=due)


@phrase("platform", r"scoreGiven above scoreMaximum")
def score_above(stage: Stage) -> Came:
    book = Book(stage)
    return book.attempt(book.score(scoreGiven=60, scoreMaximum=50), result=120)


@phrase("platform", r"scoreGiven without scoreMaximum")
def score_without_maximum(stage: Stage) -> Came:
    book = Book(stage)
    return book.attempt(book.score(scoreMaximum=ABSENT))


@phrase("platform", rf"scoreMaximum (?P<maximum>{COUNT}) on a line item of (?P<of>{COUNT})")
def score_of_other_maximum(stage: Stage, maximum: str, of: str) -> Came:
    book, most = Book(stage), number(maximum)
    headers = {**book.bearer, "Content-Type": ITEM_TYPE}
    body = {"label": "x", "scoreMaximum": number(of), "resourceLinkId": book.link}
    item = call(stage, "POST", book.items, data=written(body), headers=headers).json()["id"]
    return book.attempt(book.score(scoreGiven=most / 4, scoreMaximum=most), item=item, result=number(of) / 4)


_ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"


@phrase("platform", rf"timestamp '?(?P<moment>{_ISO})'?")
def score_at(stage: Stage, moment: str) -> Came:
    """The form of the time that is named; a time of its own, as the named one may be in the future by now."""
    given = dt.datetime.fromisoformat(moment)
    if given.tzinfo is not None and given > now():
        moment = moment.replace(str(given.year), str(now().year - 1), 1)
    book = Book(stage)
    return book.attempt(book.score(timestamp=moment))


_FORMS = {
    r"(?:a )?Z": "{:%Y-%m-%dT%H:%M:%S}Z",
    r"(?:a )?Z and milliseconds|milliseconds(?: and (?:a )?Z)?": "{:%Y-%m-%dT%H:%M:%S}.123Z",
    r"(?:a )?Z and microseconds|microseconds(?: and (?:a )?Z)?": "{:%Y-%m-%dT%H:%M:%S}.123456Z",
    r"(?:an )?offset(?: and)? with (?:a )?colon|(?:an )?offset": "{:%Y-%m-%dT%H:%M:%S}+00:00",
    r"(?:an )?offset(?: and)? without (?:a )?colon": "{:%Y-%m-%dT%H:%M:%S}+0000",
}


@phrase("platform", rf"timestamp with (?P<form>{'|'.join(_FORMS)})")
def score_time_form(stage: Stage, form: str) -> Came:
    shape = next(found for pattern, found in _FORMS.items() if re.fullmatch(pattern, form, re.IGNORECASE))
    book = Book(stage)
    return book.attempt(book.score(timestamp=shape.format(now() - dt.timedelta(minutes=1))))


@phrase("platform", r"timestamp with (?:an offset of )?(?P<offset>[+-]\d\d:?\d\d)")
def score_offset(stage: Stage, offset: str) -> Came:
    zone = dt.datetime.strptime(offset, "%z").tzinfo
    moment = (now() - dt.timedelta(minutes=1)).astimezone(zone)
    book = Book(stage)
    return book.attempt(book.score(timestamp=f"{moment:%Y-%m-%dT%H:%M:%S}{offset}"))


@phrase("platform", r"timestamp without (?:a )?(?:time )?zone")
def score_without_zone(stage: Stage) -> Came:
    book = Book(stage)
    return book.attempt(book.score(timestamp=f"{now() - dt.timedelta(days=1):%Y-%m-%dT%H:%M:%S}"))


@phrase(
    "platform",
    r"timestamp (?:is )?(?P<what>a number|not a (?:date|time)|'[^']*'|empty|(?:a )?date only|without (?:a )?time)",
)
def score_no_time(stage: Stage, what: str) -> Came:
    sent: Any = {"a number": 1_790_000_000, "empty": "", "date only": "2026-01-01", "a date only": "2026-01-01"}.get(
        what
    )
    if sent is None:
        sent = what[1:-1] if what[0] == "'" else "2026-01-01" if "without" in what else "yesterday"
    book = Book(stage)
    return book.attempt(book.score(timestamp=sent))


@phrase("platform", rf"timestamp (?P<length>{DURATION}) (?P<way>ahead|in the future|ago|in the past)")
def score_time_away(stage: Stage, length: str, way: str) -> Came:
    away = dt.timedelta(seconds=seconds(length))
    book = Book(stage)
    return book.attempt(
        book.score(timestamp=(now() + away if way in ("ahead", "in the future") else now() - away).isoformat())
    )


@phrase("platform", rf"(?:the )?same score (?P<times>{COUNT}) times at once")
def score_at_once(stage: Stage, times: str) -> Came:
    book = Book(stage)
    body = book.score()
    stage.mark()
    statuses = {one.status_code for one in at_once(number(times), lambda _: book.post(body))}
    grown = stage.grown()
    came = Came(accepted=statuses == {200}).but(f"answered {sorted(statuses)}" if statuses != {200} else "")
    return came.but("" if grown == {"score": 1, "outcome": 1} else f"there is more: {grown}")


@phrase("platform", r"(?:the )?(?:same|identical) score (?:a second time|twice|again)")
def score_again(stage: Stage) -> Came:
    book = Book(stage)
    body = book.score()
    book.post(body)
    stage.mark()
    return came_of(book.post(body)).but("it had an effect" if stage.grown() else "")


@phrase("platform", r"same timestamp, other score", r"other score (?:with|of) the same timestamp")
def score_same_time(stage: Stage) -> Came:
    book = Book(stage)
    body = book.score()
    book.post(body)
    stage.mark()
    return _conflict(book, body | {"scoreGiven": 10})


@phrase("platform", r"timestamp older than the stored one", r"(?:an )?older score")
def score_older(stage: Stage) -> Came:
    book = Book(stage)
    book.post(book.score())
    return _conflict(book, book.score(timestamp=(now() - dt.timedelta(days=1)).isoformat(), scoreGiven=10))


def _conflict(book: Book, body: Any) -> Came:
    book.stage.mark()
    response = book.post(body)
    status = "" if response.status_code == 409 else f"answered {response.status_code}, not 409"
    return came_of(response).but(status, "" if book.result() == [80] else "the result was changed")


@phrase("platform", r"timestamp newer than the stored one", r"(?:a )?newer score")
def score_newer(stage: Stage) -> Came:
    book = Book(stage)
    book.post(book.score(timestamp=(now() - dt.timedelta(days=1)).isoformat(), scoreGiven=10))
    came = came_of(book.post(book.score()))
    return came.but("" if book.result() == [80] else "the result was not changed")


@phrase(
    "platform",
    r"userId (?:(?P<how>not in the context|unknown|of nobody|empty|a number)|of another (?P<whose>context|tool))",
)
def score_for_other(stage: Stage, how: str = "", whose: str = "") -> Came:
    book = Book(stage)
    if whose:
        user: Any = Book(stage, book.tool if whose == "context" else None, "crm").user
    else:
        user = {"empty": "", "a number": 7}.get(how, "nobody")
        if how == "not in the context":
            user = Book(stage, book.tool, "crm").user
    return book.attempt(book.score(userId=user))


_PROGRESS = {
    "activityProgress": "Initialized|Started|InProgress|Submitted|Completed",
    "gradingProgress": "NotReady|Failed|Pending|PendingManual|FullyGraded",
}


@phrase("platform", r"(?P<name>activityProgress|gradingProgress) (?:is )?(?:not on the list|unknown|'Foo'|Foo)")
def progress_unknown(stage: Stage, name: str) -> Came:
    book = Book(stage)
    return book.attempt(book.score(**{name: "Foo"}))


@phrase("platform", *(rf"(?P<name>{name}) (?:is )?(?P<word>{words})" for name, words in _PROGRESS.items()))
def progress(stage: Stage, name: str, word: str) -> Came:
    book = Book(stage)
    final = name != "gradingProgress" or word == "FullyGraded"
    return book.attempt(book.score(**{name: word}), result=80 if final else None)


@phrase("platform", r"Content-Type (?P<kind>[a-z]+/[\w.+-]+(?:; ?charset=[\w-]+)?)", r"Content-Type (?P<kind>missing)")
def score_content_type(stage: Stage, kind: str) -> Came:
    book = Book(stage)
    headers = {**book.bearer, "Content-Type": "" if kind == "missing" else kind}
    return book.attempt(book.score(), headers=headers)


@phrase(
    "platform",
    r"(?:score )?body (?:is |of )?(?P<how>not JSON|a list|a text|a number|null|empty|(?P<size>\d+) (?P<unit>[KM])i?B)",
)
def score_body(stage: Stage, how: str, size: str = "", unit: str = "") -> Came:
    bodies = {"not JSON": "{", "a list": "[]", "a text": '"x"', "a number": "1", "null": "null", "empty": ""}
    book = Book(stage)
    body = bodies.get(how, "")
    if size:
        body = written(book.score(comment="x" * int(size) * 1024 ** (1 if unit == "K" else 2)))
    return book.attempt(body)


# Line items

_ITEM_FIELDS = "scoreMaximum|label|resourceLinkId|tag|resourceId"


@phrase(
    "platform",
    rf"line item with (?P<name>{_ITEM_FIELDS}) (?P<what>{VALUE}|missing|unknown|of another tool)",
    r"line item without (?:a )?(?P<name>label|scoreMaximum)",
)
def line_item(stage: Stage, name: str, what: str = "missing") -> Came:
    book = Book(stage)
    body: dict[str, Any] = {"label": "x", "scoreMaximum": 10}
    if what == "missing":
        body.pop(name, None)
    elif what == "of another tool":
        body[name] = Book(stage, Tool(stage)).link
    else:
        body[name] = "unknown" if what == "unknown" else value(what)
    headers = {**book.bearer, "Content-Type": ITEM_TYPE}
    stage.mark()
    came = came_of(call(stage, "POST", book.items, data=written(body), headers=headers))
    return came.but("no line item was made" if came.accepted and stage.grown() != {"line_item": 1} else "")


@phrase("platform", r"line item for a (?:resource )?link of another tool")
def line_item_for_other(stage: Stage) -> Came:
    return line_item(stage, "resourceLinkId", "of another tool")


@phrase("platform", r"PUT (?:that|which) changes (?P<name>resourceLinkId|label|scoreMaximum|tag)")
def line_item_put(stage: Stage, name: str) -> Came:
    book = Book(stage)
    headers = {**book.bearer, "Content-Type": ITEM_TYPE}
    before = call(stage, "GET", book.item, headers=headers).json()
    change = {"resourceLinkId": str(uuid.uuid4()), "scoreMaximum": 7}.get(name, "other")
    stage.mark()
    came = came_of(call(stage, "PUT", book.item, data=written(before | {name: change}), headers=headers))
    after = call(stage, "GET", book.item, headers=headers).json()
    moved = after.get(name) == change
    return came.but("" if moved == came.accepted else f"{name} is {after.get(name)}")


@phrase("platform", r"score to (?:a line item that is not there|an unknown line item|a deleted line item)")
def score_to_nothing(stage: Stage) -> Came:
    book = Book(stage)
    return book.attempt(book.score(), item=f"{book.items}/{uuid.uuid4()}")
