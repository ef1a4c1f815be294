"""Why a condition failed on one event, told by the fields that it names and the kinds of their values."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from bridge.conditions.source import Path, kind, no_overload

_UNBOUND: Final = re.compile(r'No value with name "(?P<name>[^"]*)" found')
_MISSING: Final = re.compile(r'Key not found in map : "(?P<key>.*)"$', re.DOTALL)
_INDEX: Final = re.compile(r"index=(?P<index>-?\d+) size=(?P<size>\d+)")
_OVERLOAD: Final = re.compile(
    r"overloads found : (?:\((?P<target>[\w.]+)\)\.)?(?P<operator>[^(\s]+)(?:\((?P<kinds>[^)]*)\))?"
)
_PYTHON_KINDS: Final[Mapping[type, str]] = {type(None): "null", str: "string", float: "double", dict: "map"}


def stopped(said: str) -> str:
    """Why the engine gave up without a value."""
    if "Iteration budget" in said:
        return "a loop in it takes more than 10,000 steps"
    return "the engine could not evaluate it on this data"


def explain(said: str, *, text: str, paths: tuple[Path, ...], data: Mapping[str, Any]) -> str:
    """The engine's error `said` in words for the admin `text`, whose `paths` lead into `data`."""
    if unbound := _UNBOUND.search(said):
        return "the person is not known yet" if unbound["name"] == "person" else f"{unbound['name']} is not there"
    if missing := _MISSING.search(said):
        return _missing(missing["key"], text, paths, data)
    if overload := _OVERLOAD.search(said):
        kinds = [kind(name) for name in (overload["target"], *(overload["kinds"] or "").split(", ")) if name]
        return no_overload(overload["operator"], kinds) + _states(kinds, paths, data)
    if "SELECT to non-message type" in said:
        return _no_fields(paths, data)
    if index := _INDEX.search(said):
        return f"there is no element [{index['index']}] in a list of {index['size']}"
    # What follows a colon or stands in quotes may be a value out of the event.
    return re.sub(r'"[^"]*"', "...", said.partition(": ")[2]).partition(": ")[0]


def _missing(key: str, text: str, paths: tuple[Path, ...], data: Mapping[str, Any]) -> str:
    for path, depth, value in _broken(paths, data):
        if path[depth] == key and isinstance(value, dict):
            return f"{_spell(path[: depth + 1])} is not there"
    return f"{key} is not there" if key in text else "a key that is looked up is not there"


def _no_fields(paths: tuple[Path, ...], data: Mapping[str, Any]) -> str:
    for path, depth, value in _broken(paths, data):
        if not isinstance(value, dict):
            return f"{_spell(path[:depth])} is {_kind_of(value)} and has no {path[depth]}"
    return "a field is asked of a value that has none"


def _states(kinds: list[str], paths: tuple[Path, ...], data: Mapping[str, Any]) -> str:
    """What those fields are in this event whose kind is in question; all fields where the engine names no kind."""
    reached = ((path, *_walk(path, data)) for path in paths)
    states = {_spell(path): _kind_of(value) for path, depth, value in reached if depth == len(path)}
    told = [f"{name} is {what}" for name, what in states.items() if not kinds or what in kinds]
    return f" ({', '.join(told[:4])})" if told else ""


def _broken(paths: tuple[Path, ...], data: Mapping[str, Any]) -> Iterator[tuple[Path, int, Any]]:
    """Each path that ends early, the number of its steps that are there, and the value they lead to."""
    for path in paths:
        depth, value = _walk(path, data)
        if depth < len(path):
            yield path, depth, value


def _walk(path: Path, data: Mapping[str, Any]) -> tuple[int, Any]:
    value: Any = data
    for depth, step in enumerate(path):
        if isinstance(value, list):
            there = isinstance(step, int) and step < len(value)
        else:
            there = isinstance(value, dict) and step in value
        if not there:
            return depth, value
        value = value[step]
    return len(path), value


def _spell(path: Path) -> str:
    first, *rest = path
    steps = (f".{step}" if isinstance(step, str) and step.isidentifier() else f"[{step!r}]" for step in rest)
    return f"{first}{''.join(steps)}"


def _kind_of(value: Any) -> str:
    return kind(_PYTHON_KINDS.get(type(value), type(value).__name__))
