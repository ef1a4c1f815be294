"""What a launch is about, read at once as plain values: as entities it would take a launch several times as long.

The values have the names that the entities in ``tables`` have, so that what tells of a launch takes either.
"""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import bindparam, select
from sqlalchemy.orm import aliased

from bridge.store import tables


class System(NamedTuple):
    id: int
    name: str
    connector: str
    config: dict[str, Any]
    options: dict[str, Any]
    enabled: bool


class Asset(NamedTuple):
    id: uuid.UUID
    connection_id: int
    external_id: str
    kind: str
    title: str
    summary: str
    language: str
    activity_id: str
    opening: dict[str, Any] | None
    retired_at: dt.datetime | None
    connection: System


class Source(NamedTuple):
    name: str


class Event(NamedTuple):
    id: uuid.UUID
    type: str
    source: str
    subject: str
    time: dt.datetime
    data: dict[str, Any]
    connection: Source


class Person(NamedTuple):
    id: int
    key: str
    name: str
    email: str
    attributes: dict[str, Any]


class Rule(NamedTuple):
    name: str


class Prompt(NamedTuple):
    """A prompt with all that belongs to it; only an offered one has a person and an asset."""

    id: uuid.UUID
    rule_version: int
    say: str
    event: Event
    rule: Rule
    person: Person | None
    asset: Asset | None


class Launch(NamedTuple):
    """A launch that begins now."""

    id: uuid.UUID
    how: str
    started_at: dt.datetime
    prompt: Prompt
    person: Person
    asset: Asset
    progress: Sequence[str] = ()


AnyAsset = tables.Asset | Asset
AnyPerson = tables.Person | Person
AnyPrompt = tables.Prompt | Prompt
AnyLaunch = tables.Launch | Launch

_SYSTEM, _CATALOGUE = aliased(tables.Connection), aliased(tables.Connection)
#: The parts of a row, each with where it is from; a part's own parts are no columns of it.
_PARTS: tuple[tuple[Any, Any], ...] = (
    (Prompt, tables.Prompt),
    (Event, tables.Event),
    (Source, _SYSTEM),
    (Rule, tables.Rule),
    (Person, tables.Person),
    (Asset, tables.Asset),
    (System, _CATALOGUE),
)
_INNER = {"event", "rule", "person", "asset", "connection"}
_COLUMNS = [[getattr(source, name) for name in shape._fields if name not in _INNER] for shape, source in _PARTS]
_ENDS = list(itertools.accumulate(map(len, _COLUMNS)))
_SLICES = [slice(end - len(columns), end) for end, columns in zip(_ENDS, _COLUMNS, strict=True)]
_PROMPT = (
    select(*itertools.chain.from_iterable(_COLUMNS))
    .select_from(tables.Prompt)
    .join(tables.Prompt.event)
    .join(_SYSTEM, tables.Event.connection)
    .join(tables.Prompt.rule)
    .outerjoin(tables.Prompt.person)
    .outerjoin(tables.Prompt.asset)
    .outerjoin(_CATALOGUE, tables.Asset.connection)
    .where(tables.Prompt.id == bindparam("id"))
)


def of_prompt(connection: SqlConnection, prompt_id: uuid.UUID) -> Prompt | None:
    """The prompt with that id, by one query; None where there is none."""
    row = connection.execute(_PROMPT, {"id": prompt_id}).first()
    if row is None:
        return None
    prompt, event, source, rule, person, asset, catalogue = (row[columns] for columns in _SLICES)
    of_event = Event._make((*event, Source._make(source)))
    of_person = Person._make(person) if person[0] is not None else None
    of_asset = Asset._make((*asset, System._make(catalogue))) if asset[0] is not None else None
    return Prompt._make((*prompt, of_event, Rule._make(rule), of_person, of_asset))
