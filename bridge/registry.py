"""The connectors that are installed: found by entry point, loaded when needed; a broken one never takes others down."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import BaseModel, ValidationError

from bridge.connect import Config, ConfigError, Connector, Http, Manifest

GROUP = "flowbridge.connectors"
#: The distribution whose connectors nobody else's can take the place of.
OURS = "flowbridge"


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One installed connector: its class, or the ``problem`` that keeps it from being used."""

    key: str
    distribution: str
    connector: type[Connector[Any]] | None
    problem: str = ""


def entries() -> list[Entry]:
    """Every installed connector, by key; broken ones with the reason."""
    loaded = [_load(point) for point in _points().values()]
    return sorted([*loaded, *_shadowed()], key=lambda entry: (entry.key, bool(entry.problem)))


def find(key: str) -> type[Connector[Any]]:
    """The connector class of that key; raises ConfigError with the keys that there are."""
    points = _points()
    if key not in points:
        known = f"the connectors are {', '.join(points)}" if points else "no connector is installed"
        raise ConfigError(f"there is no connector '{key}'; {_near(key, points)}{known}")
    entry = _load(points[key])
    if entry.connector is None:
        raise ConfigError(f"the connector '{key}' is broken: {entry.problem}")
    return entry.connector


def build(key: str, config: Mapping[str, Any], *, http: Http) -> Connector[Any]:
    """A connector with its settings checked; raises ConfigError naming each wrong setting, never its value."""
    connector = find(key)
    try:
        checked = connector.config_class.model_validate(dict(config))
    except ValidationError as error:
        wrong = "; ".join(_words(connector.config_class, error))
        raise ConfigError(f"the settings of the connector '{key}' are not right: {wrong}") from None
    return connector(checked, http)


def _points() -> Mapping[str, EntryPoint]:
    return {key: points[0] for key, points in _declared(tuple(sys.path)).items()}


@functools.cache
def _declared(path: tuple[str, ...]) -> Mapping[str, list[EntryPoint]]:
    """The entry points by name, the one that counts first; read once for each import path."""
    found: dict[str, list[EntryPoint]] = {}
    for point in sorted(
        entry_points(group=GROUP), key=lambda point: (point.name, _owner(point) != OURS, _owner(point))
    ):
        found.setdefault(point.name, []).append(point)
    return found


def _shadowed() -> Iterator[Entry]:
    for first, *others in _declared(tuple(sys.path)).values():
        for other in others:
            taken = (
                f"'{other.name}' is the connector of {_owner(first)} already: {_owner(other)} must choose another key"
            )
            yield Entry(other.name, _owner(other), None, taken)


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist else ""


@functools.cache
def _load(point: EntryPoint) -> Entry:
    try:
        loaded = point.load()
    except (Exception, SystemExit) as error:  # whatever a module of somebody else's does when it is imported
        problem = f"{point.value} can't be loaded: {type(error).__name__}: {error}"
        return Entry(point.name, _owner(point), None, problem)
    problem = _flaw(loaded, point.name)
    return Entry(point.name, _owner(point), None if problem else loaded, problem and f"{point.value} {problem}")


def _flaw(loaded: Any, key: str) -> str:
    """What keeps an object from being the connector of that key."""
    if not (isinstance(loaded, type) and issubclass(loaded, Connector)):
        return "is not a Connector class"
    if inspect.isabstract(loaded):
        return f"is not finished: it lacks {', '.join(sorted(loaded.__abstractmethods__))}"
    manifest, config_class = getattr(loaded, "manifest", None), getattr(loaded, "config_class", None)
    if not isinstance(manifest, Manifest):
        return "has no manifest"
    if not (isinstance(config_class, type) and issubclass(config_class, Config)):
        return "has no config_class"
    return "" if manifest.key == key else f"calls itself '{manifest.key}', and its entry point '{key}'"


def _words(config_class: type[BaseModel], error: ValidationError) -> Iterator[str]:
    """What is wrong with each setting. Inputs stay out: any of them may be a secret, pasted into the wrong place."""
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        name = ".".join(map(str, problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            known = config_class.model_fields if len(problem["loc"]) == 1 else ()
            message = f"no such setting; {_near(name, known)}" + (f"there are {', '.join(known)}" if known else "")
        elif problem["type"] == "missing":
            message = "is missing"
        yield f"{name}: {message}" if name else message


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean '{near[0]}'? " if near else ""
