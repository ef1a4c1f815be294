"""What Desk keeps: its records, what happened to them, and the events that others are told about."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bridge.demo.areas import AREAS, PEOPLE, Area, Colleague, State

_SCHEMA = """
create table if not exists record (
    id integer primary key, area text not null, state text not null, owner text not null, data text not null,
    opened_at text not null, updated_at text not null
);
create table if not exists activity (
    id integer primary key, record_id integer not null, at text not null, who text not null, text text not null
);
create table if not exists event (
    id text primary key, type text not null, subject text not null, at text not null, data text not null,
    due_at real, attempts integer not null default 0, answer text not null default '', received_as text
);
"""
_NEW_RECORD = (
    "insert into record (area, state, owner, data, opened_at, updated_at) values (?, ?, ?, ?, ?, ?) returning *"
)
_NEW_EVENT = "insert into event (id, type, subject, at, data, due_at) values (?, ?, ?, ?, ?, 0)"


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One record as pages show it."""

    id: int
    area: Area
    state: State
    owner: Colleague
    data: Mapping[str, Any]
    opened_at: dt.datetime
    updated_at: dt.datetime

    @property
    def number(self) -> str:
        return f"{self.area.prefix}-{self.id}"

    @property
    def subject(self) -> str:
        return f"{self.area.one}/{self.id}"

    @property
    def title(self) -> str:
        return str(self.data[self.area.fields[0].name])


@dataclasses.dataclass(frozen=True, slots=True)
class Outgoing:
    """An event on its way out, or how it went: ``received_as`` is the id that the receiver gave it."""

    id: str
    type: str
    subject: str
    at: dt.datetime
    data: Mapping[str, Any]
    attempts: int
    answer: str
    received_as: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class _What:
    """What happened to a record, by whom; ``url`` is Desk's own address, ``before`` the state that it was in."""

    event: str
    by: Colleague
    url: str
    before: str = ""


class Records:
    """The records of one SQLite file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as db:
            db.executescript("pragma journal_mode=wal;" + _SCHEMA)
            if not db.execute("select 1 from record").fetchone():
                self._fill(db)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self._path, timeout=10)
        db.row_factory = sqlite3.Row
        try:
            with db:
                yield db
        finally:
            db.close()

    def _fill(self, db: sqlite3.Connection) -> None:
        """A few weeks of work, so that nobody begins with empty tables."""
        today = _now()
        for record in json.loads((Path(__file__).parent / "setup" / "desk.json").read_text()):
            area, data = AREAS[record["area"]], dict(record["data"])
            for field in area.fields:
                if field.kind == "date":
                    data[field.name] = (today + dt.timedelta(days=data[field.name])).date().isoformat()
            at = (today - dt.timedelta(hours=record["hours_ago"])).isoformat()
            values = (record["id"], area.key, record["state"], record["owner"], json.dumps(data), at, at)
            db.execute("insert into record values (?, ?, ?, ?, ?, ?, ?)", values)
            self._note(db, record["id"], record["owner"], f"entered this {area.one}", at)

    @staticmethod
    def _note(db: sqlite3.Connection, record_id: int, who: str, text: str, at: str = "") -> None:
        values = (record_id, at or _now().isoformat(), who, text)
        db.execute("insert into activity (record_id, at, who, text) values (?, ?, ?, ?)", values)

    def all(self, area: Area, words: str = "") -> list[Record]:
        """The records of an area that hold every word, the newest first."""
        with self._open() as db:
            rows = db.execute("select * from record where area = ? order by updated_at desc", (area.key,)).fetchall()
        found = [_record(row) for row in rows]
        return [record for record in found if all(word in _text(record) for word in words.lower().split())]

    def get(self, area: Area, record_id: int) -> Record | None:
        with self._open() as db:
            row = db.execute("select * from record where area = ? and id = ?", (area.key, record_id)).fetchone()
        return _record(row) if row else None

    def activity(self, record: Record) -> list[dict[str, Any]]:
        """What was done to a record, the newest first."""
        with self._open() as db:
            rows = db.execute("select * from activity where record_id = ? order by id desc", (record.id,)).fetchall()
        return [
            {"at": dt.datetime.fromisoformat(row["at"]), "who": PEOPLE[row["who"]], "text": row["text"]} for row in rows
        ]

    def create(self, area: Area, by: Colleague, data: Mapping[str, Any], url: str) -> Record:
        """Save a new record, and the event of it, in one transaction."""
        with self._open() as db:
            at = _now().isoformat()
            values = (area.key, area.states[0].key, by.key, json.dumps(data), at, at)
            record = _record(db.execute(_NEW_RECORD, values).fetchone())
            self._note(db, record.id, by.key, f"entered this {area.one}")
            self._tell(db, record, _What("created", by, url))
        return record

    def move(self, record: Record, state: State, by: Colleague, asked: Mapping[str, Any], url: str) -> None:
        """Bring a record into another state, with what was asked on the way, and save the event of it."""
        data = {**record.data, **asked}
        with self._open() as db:
            db.execute(
                "update record set state = ?, data = ?, updated_at = ? where id = ?",
                (state.key, json.dumps(data), _now().isoformat(), record.id),
            )
            self._note(db, record.id, by.key, f"moved it from {record.state.label} to {state.label}")
            moved = dataclasses.replace(record, state=state, data=data)
            self._tell(db, moved, _What(state.event, by, url, before=record.state.key))

    @staticmethod
    def _tell(db: sqlite3.Connection, record: Record, what: _What) -> None:
        state = record.area.state_name
        data = {
            **record.data,
            record.area.number_name: record.number,
            state: record.state.key,
            **({f"{state}_before": what.before} if what.before else {}),
            "currency": "USD",
            "opened_at": record.opened_at.isoformat(),
            "url": f"{what.url}/{record.area.key}/{record.id}",
            "owner": record.owner.name,
            "people": {"actor": what.by.as_person(), "owner": record.owner.as_person()},
        }
        event = (f"evt_{uuid.uuid4().hex}", f"desk.{record.area.one}.{what.event}", record.subject, _now().isoformat())
        db.execute(_NEW_EVENT, (*event, json.dumps(data)))

    def events(self, *, due_by: float | None = None, subject: str = "") -> list[Outgoing]:
        """The newest events; with ``due_by`` (Unix time) those that wait to be sent, the oldest first."""
        query = "select * from event where (? = '' or subject = ?) order by at desc limit 200"
        arguments: tuple[Any, ...] = (subject, subject)
        if due_by is not None:
            query, arguments = "select * from event where due_at <= ? order by at limit 20", (due_by,)
        with self._open() as db:
            return [_outgoing(row) for row in db.execute(query, arguments)]

    def next_due(self) -> float | None:
        """When an event is to be sent next (Unix time)."""
        with self._open() as db:
            return db.execute("select min(due_at) from event").fetchone()[0]  # type: ignore[no-any-return]

    def settle(self, event_id: str, answer: str, *, again_at: float | None, received_as: str | None = None) -> None:
        """Note how sending went; ``again_at`` is the next try."""
        with self._open() as db:
            db.execute(
                "update event set attempts = attempts + 1, answer = ?, due_at = ?, received_as = ? where id = ?",
                (answer, again_at, received_as, event_id),
            )


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _record(row: sqlite3.Row) -> Record:
    area = AREAS[row["area"]]
    return Record(
        id=row["id"],
        area=area,
        state=area.state(row["state"]),
        owner=PEOPLE[row["owner"]],
        data=json.loads(row["data"]),
        opened_at=dt.datetime.fromisoformat(row["opened_at"]),
        updated_at=dt.datetime.fromisoformat(row["updated_at"]),
    )


def _text(record: Record) -> str:
    return " ".join([record.number, record.state.label, *map(str, record.data.values())]).lower()


def _outgoing(row: sqlite3.Row) -> Outgoing:
    return Outgoing(
        id=row["id"],
        type=row["type"],
        subject=row["subject"],
        at=dt.datetime.fromisoformat(row["at"]),
        data=json.loads(row["data"]),
        attempts=row["attempts"],
        answer=row["answer"],
        received_as=row["received_as"],
    )
