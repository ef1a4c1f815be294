"""What is sent and how much is broken: the same numbers give the same statements, in every process and every time."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Mapping
from typing import Any, Literal

#: The answer of a learner at which the sink refuses a statement; to everybody else it is as good as any other.
POISON = "none of these"
#: So many statements are a producer's step: one POST, or as many transactions. What it was at, it does again.
STEP = 50

#: How a statement comes in: in a transaction of the bridge's own, or by HTTP, which every fourth step does.
Way = Literal["ledger", "http"]


@dataclasses.dataclass(frozen=True, slots=True)
class Statements:
    """So many statements, of which so many are poisoned, written within ``seconds`` at the soonest."""

    count: int
    poisoned: int
    seconds: float

    def id(self, number: int) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://lms.example/answer/{number}"))

    def is_poisoned(self, number: int) -> bool:
        """The one in the middle of each of as many parts as there are poisoned ones."""
        part = self.count // self.poisoned
        return number % part == part // 2

    def payload(self, number: int) -> bytes:
        """The bytes of a statement, the same each time."""
        course = f"https://lms.example/course/{number % 40}"
        question = {"name": {"en": "Which exit?"}, "type": "http://adlnet.gov/expapi/activities/cmi.interaction"}
        made: dict[str, Any] = {
            "id": self.id(number),
            "actor": {"account": {"homePage": "https://people.example", "name": f"E{number % 500}"}},
            "verb": {"id": "http://adlnet.gov/expapi/verbs/answered", "display": {"en": "answered"}},
            "object": {"id": f"{course}/question/{number % 7}", "definition": question},
            "result": {"response": POISON if self.is_poisoned(number) else f"exit {number}"},
            "context": {"platform": "lms.example", "contextActivities": {"parent": [{"id": course}]}},
            "timestamp": f"2026-03-04T05:{number // 60 % 60:02}:{number % 60:02}.{number % 1000:03}Z",
        }
        return json.dumps(made).encode()

    def steps(self, way: Way) -> list[range]:
        """The numbers that come in one way, step by step."""
        steps = [range(begin, min(begin + STEP, self.count)) for begin in range(0, self.count, STEP)]
        return [step for place, step in enumerate(steps) if (place % 4 == 3) == (way == "http")]


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """What is sent, and what is broken meanwhile: how often each kind of thing (``tests.chaos.breaking``).

    Each time waits until more has settled since the one before, but no longer than ``recovery`` seconds.
    ``silences`` of the requests that the sink never answers are held until the client gives up; the others are cut.
    ``patience`` is how many seconds the backlog may take once everything is written and nothing is broken any more;
    with ``hurry`` leases and pauses are over sooner than they say, then.
    """

    statements: Statements
    breaks: Mapping[str, int]
    recovery: float
    silences: int
    patience: float
    hurry: bool = False


FULL = Size(
    Statements(count=20_000, poisoned=20, seconds=75.0),
    breaks={"worker": 12, "child": 6, "web": 4, "producer": 6, "leases": 3, "broker": 3, "database": 3},
    recovery=20.0,
    silences=3,
    patience=420.0,
)
SHORT = Size(
    Statements(count=1_000, poisoned=2, seconds=8.0),
    breaks={"worker": 1, "child": 1, "producer": 1, "leases": 1, "broker": 1, "database": 1},
    recovery=3.0,
    silences=0,
    patience=180.0,
    hurry=True,
)
