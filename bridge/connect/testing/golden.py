"""Golden files: the values of the contract as JSON."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from bridge.connect import BusinessEvent


def plain(value: Any) -> Any:
    """A value of the contract as golden files hold it: JSON types, times in ISO 8601, empty parts left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        made = {str(key): plain(item) for key, item in value.items()}
        return {key: item for key, item in made.items() if item not in (None, "", [], {})}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return value.value if isinstance(value, Enum) else value


def assert_golden(values: Iterable[Any], golden: Path) -> None:
    """Compare with a golden file: a JSON list of what ``plain`` makes of each value."""
    given = [plain(value) for value in values]
    text = json.dumps(given, indent=1, ensure_ascii=False)
    assert golden.is_file(), f"the golden file {golden} is missing; the connector gave\n{text}"
    assert given == json.loads(golden.read_text(encoding="utf-8")), f"not what {golden.name} holds"


def assert_sound(events: Sequence[BusinessEvent]) -> None:
    """Events have ids of their own, a type, a source and aware times."""
    assert all(event.id and event.type and event.source for event in events)
    assert len({event.id for event in events}) == len(events), "event ids are unique"
    assert all(event.time.tzinfo for event in events), "times carry their zone"


def assert_declared(types: set[str], connector: type[Any]) -> None:
    """The event types that were seen are those that the connector declares."""
    if "*" in connector.event_types:
        assert types, "no fixture makes an event"
        return
    assert types - connector.event_types == set(), "a fixture makes an event of a type that is not declared"
    assert connector.event_types - types == set(), "a declared event type has no fixture"
