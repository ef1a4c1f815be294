"""The connectors that are installed: found by entry point, loaded when needed; a broken one never takes others down."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import ValidationError

from bridge.connect import ConfigError, Connector, Http

GROUP = "flowbridge.connectors"


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One installed connector: its class, or the ``problem`` that keeps it from being used."""

    key: str
    distribution: str
    connector: type[Connector[Any]] | None
    problem: str = ""


@functools.cache
def _points() -> Mapping[str, EntryPoint]:
    return {point.name: point for point in sorted(entry_points(group=GROUP))}


@functools.cache
def _load(key: str) -> Entry:
    point = _points()[key]
    owner = point.dist.name if point.dist else ""
    try:
        loaded = point.load()
    except Exception as error:
        return Entry(key, owner, None, f"{point.value} can't be loaded: {type(error).__name__}: {error}")
    if not (isinstance(loaded, type) and issubclass(loaded, Connector)):
        return Entry(key, owner, None, f"{point.value} is not a Connector class")
    if loaded.manifest.key != key:
        return Entry(key, owner, None, f"{point.value} calls itself '{loaded.manifest.key}', its entry point '{key}'")
    return Entry(key, owner, loaded)


def entries() -> list[Entry]:
    """Every installed connector, by key; broken ones with the reason."""
    return [_load(key) for key in _points()]


def find(key: str) -> type[Connector[Any]]:
    """The connector class of that key; raises ConfigError with the keys that there are."""
    if key not in _points():
        near = difflib.get_close_matches(key, _points(), n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ConfigError(f"there is no connector '{key}'; {hint}the connectors are {', '.join(_points())}")
    entry = _load(key)
    if entry.connector is None:
        raise ConfigError(f"the connector '{key}' is broken: {entry.problem}")
    return entry.connector


def build(key: str, config: Mapping[str, Any], *, http: Http) -> Connector[Any]:
    """A connector with its settings checked; raises ConfigError naming each wrong setting, never its value."""
    connector = find(key)
    try:
        checked = connector.config_class.model_validate(dict(config))
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors(include_input=False)]
        raise ConfigError(f"the settings of the connector '{key}' are not right: {'; '.join(wrong)}") from None
    return connector(checked, http)
