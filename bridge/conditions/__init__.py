"""Rule conditions in CEL: checked when a rule is saved, evaluated to matched, not matched or failed with its reason.

The language is the Common Expression Language (https://github.com/google/cel-spec/blob/master/doc/langdef.md), run by
its C++ implementation. Three names are declared: `event` (id, type, source, subject, time, data, people), `person`
(key, name, email, accounts, attributes) and `now`. `event.time` and `now` are timestamps; every other time in an event
is RFC 3339 text, as in its JSON, and is read with `timestamp(event.data.due)`. Whole and decimal numbers compare with
each other but do not add or multiply: `event.data.amount > 100000`, `double(event.data.amount) * 0.9 > 100000.0`.

What keeps an evaluation short, whoever wrote the condition: the engine's own limits (32 levels, 10,000 loop steps, RE2
patterns, which take linear time) and the limits in `source` and `values`, which it lacks.
"""

import dataclasses
import datetime as dt
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

from cel_expr_python import cel

from bridge.conditions import reasons, source, values
from bridge.conditions.source import ConditionError

__all__ = [
    "Condition",
    "ConditionError",
    "Expression",
    "Failed",
    "Found",
    "Matched",
    "NotMatched",
    "compile",
    "expression",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Matched:
    """The condition holds."""


@dataclasses.dataclass(frozen=True, slots=True)
class NotMatched:
    """The condition does not hold."""


@dataclasses.dataclass(frozen=True, slots=True)
class Failed:
    """It could not be judged on this event. `reason` names fields and kinds, never values out of the event."""

    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What an expression gave: text, a list, or a map, as plain Python values."""

    value: str | list[Any] | dict[Any, Any]


@dataclasses.dataclass(frozen=True)
class _Program:
    text: str
    paths: tuple[source.Path, ...] = dataclasses.field(repr=False)
    compiled: Any = dataclasses.field(repr=False, compare=False)

    def run(self, event: Mapping[str, Any], person: Mapping[str, Any] | None, now: dt.datetime) -> Any:
        """The engine's value, or Failed."""
        try:
            data = values.bindings(event, person, now)
            value = self.compiled.eval(data=data)
        except values.Unreadable as unreadable:
            return Failed(str(unreadable))
        except RuntimeError as error:
            return Failed(reasons.stopped(str(error)))
        except MemoryError:
            return Failed("what it builds is too large")
        if value.type() == cel.Type.ERROR:
            return Failed(reasons.explain(str(value.value()), text=self.text, paths=self.paths, data=data))
        return value


@dataclasses.dataclass(frozen=True)
class Condition:
    """A checked condition. Immutable, may be shared between threads."""

    _program: _Program

    @property
    def text(self) -> str:
        """The condition as the admin wrote it."""
        return self._program.text

    def evaluate(
        self, *, event: Mapping[str, Any], person: Mapping[str, Any] | None, now: dt.datetime
    ) -> Matched | NotMatched | Failed:
        """Judge one event. Never raises for what the event holds: that is a Failed with its reason.

        `event` and `person` have the keys in `source.FIELDS`; `person` is None while nobody is known yet. Times without
        a zone are read as UTC.
        """
        value = self._program.run(event, person, now)
        if isinstance(value, Failed):
            return value
        if value.type() != cel.Type.BOOL:
            return Failed(f"it gives {source.kind(value.type().name())}, not true or false")
        return Matched() if value.value() else NotMatched()


@dataclasses.dataclass(frozen=True)
class Expression:
    """A checked expression that finds something: text, a list or a map. Immutable, may be shared between threads."""

    _program: _Program

    @property
    def text(self) -> str:
        """The expression as the admin wrote it."""
        return self._program.text

    def evaluate(
        self, *, event: Mapping[str, Any], person: Mapping[str, Any] | None, now: dt.datetime
    ) -> Found | Failed:
        """Find the value in one event; arguments as for `Condition.evaluate`."""
        value = self._program.run(event, person, now)
        if isinstance(value, Failed):
            return value
        plain = value.plain_value()
        if not isinstance(plain, str | list | dict):
            return Failed(f"it gives {source.kind(value.type().name())}, not text, a list or a map")
        return Found(plain)


@lru_cache(maxsize=1024)
def compile(text: str) -> Condition:  # noqa: A001 - reads as conditions.compile, like re.compile
    """Check `text` as a condition: declared names, types, limits, a result of true or false.

    A result whose type depends on the event (`event.data.urgent`) is allowed here and judged when it is evaluated.
    Raises ConditionError with a message for the admin.
    """
    return Condition(_program(text, allowed=("BOOL", "DYN"), wanted="true or false"))


@lru_cache(maxsize=1024)
def expression(text: str) -> Expression:
    """Check `text` as an expression for text, a list or a map, such as `event.people.owner`. Raises ConditionError."""
    return Expression(_program(text, allowed=("STRING", "LIST", "MAP", "DYN"), wanted="text, a list or a map"))


@cache
def _environment() -> Any:
    anything, text, time = cel.Type.Map(cel.Type.STRING, cel.Type.DYN), cel.Type.STRING, cel.Type.TIMESTAMP
    # The longest declared name wins, so these fields of the open map have a type of their own.
    typed = {"event.id": text, "event.type": text, "event.source": text, "event.time": time, "event.data": anything}
    return cel.NewEnv(variables={"event": anything, "person": anything, "now": time, **typed})


def _program(text: str, *, allowed: tuple[str, ...], wanted: str) -> _Program:
    source.check_limits(text)
    paths = source.known_paths(text)
    try:
        compiled = _environment().compile(text)
    except RuntimeError as error:
        raise source.refusal(str(error), text) from None
    result = compiled.return_type().name()
    if result.partition("<")[0] not in allowed:
        raise ConditionError(f"This gives {source.kind(result)}, not {wanted}: {text.strip()}")
    return _Program(text, paths, compiled)
