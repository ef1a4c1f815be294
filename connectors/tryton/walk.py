"""Walking over a Tryton model again and again without losing a record or meeting one twice."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from connectors.tryton.rest import EPOCH, Row, created, encoded_time, written

#: PostgreSQL stamps a record with the start of the transaction that wrote it, and its id is taken before the commit. So
#: each walk looks this far behind the newest stamp that it knows, for what longer transactions have committed since.
OVERLAP = dt.timedelta(hours=1)


@dataclasses.dataclass
class Walk:
    """How far a model is known, walked over in the order of ids.

    ``last`` and ``mark`` are the highest id and the newest stamp of the last finished walk, ``after`` and ``newest``
    those of the running one. ``created`` and ``written`` are the stamps by id that were seen within the overlap.
    """

    last: int = 0
    mark: dt.datetime = EPOCH
    after: int = 0
    newest: dt.datetime = EPOCH
    created: dict[int, dt.datetime] = dataclasses.field(default_factory=dict)
    written: dict[int, dt.datetime] = dataclasses.field(default_factory=dict)

    @classmethod
    def behind(cls, rows: Sequence[Row]) -> Self:
        """A walk that has all of now behind it, told by the record with the highest id and the one written last."""
        stamps = [stamp for row in rows for stamp in (created(row), written(row))]
        return cls(max((row["id"] for row in rows), default=0), _past(max(stamps, default=EPOCH)))

    def domain(self) -> list[Any]:
        low = encoded_time(_before(self.mark))
        return ["OR", [["id", ">", self.last]], [["create_date", ">=", low]], [["write_date", ">=", low]]]

    def is_new(self, row: Row) -> bool:
        recent = row["id"] > self.last or created(row) >= _before(self.mark)
        return recent and row["id"] not in self.created

    def is_changed(self, row: Row) -> bool:
        return written(row) not in (EPOCH, created(row), self.written.get(row["id"]))

    def see(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self.created[row["id"]] = created(row)
            if written(row) != EPOCH:
                self.written[row["id"]] = written(row)
            self.newest = max(self.newest, created(row), written(row))

    def go_on(self, page: Sequence[Row], *, finished: bool) -> None:
        """Step behind a page, or end the walk with it; forget what no later page or walk can show again."""
        self.after = page[-1]["id"] if page else self.after
        mark = max(self.mark, _past(self.newest))
        for seen in (self.created, self.written):
            for record in [record for record, stamp in seen.items() if stamp < _before(mark)]:
                if finished or record <= self.after:
                    del seen[record]
        if finished:
            self.last, self.mark, self.after, self.newest = max(self.last, self.after), mark, 0, EPOCH

    def to_json(self) -> dict[str, Any]:
        stamps = {"mark": self.mark.isoformat(), "newest": self.newest.isoformat()}
        seen = {"created": _by_stamp(self.created), "written": _by_stamp(self.written)}
        return {"last": self.last, "after": self.after, **stamps, **seen}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        mark, newest = (dt.datetime.fromisoformat(state[name]) for name in ("mark", "newest"))
        created, written = _by_id(state["created"]), _by_id(state["written"])
        return cls(state["last"], mark, state["after"], newest, created, written)


def _before(stamp: dt.datetime) -> dt.datetime:
    return max(EPOCH, stamp - OVERLAP)


def _past(stamp: dt.datetime) -> dt.datetime:
    """A stamp of the future, from a clock that was wrong for a while, must not hide what comes before it."""
    return min(stamp, dt.datetime.now(dt.UTC))


def _by_stamp(stamps: Mapping[int, dt.datetime]) -> dict[str, list[list[int]]]:
    """Ids by stamp, as ranges: an import of thousands of records in one transaction stays one entry."""
    ranges: dict[str, list[list[int]]] = {}
    for record, stamp in sorted(stamps.items()):
        held = ranges.setdefault(stamp.isoformat(), [])
        if held and held[-1][1] == record - 1:
            held[-1][1] = record
        else:
            held.append([record, record])
    return ranges


def _by_id(ranges: Mapping[str, Sequence[Sequence[int]]]) -> dict[int, dt.datetime]:
    return {
        record: dt.datetime.fromisoformat(stamp)
        for stamp, held in ranges.items()
        for first, last in held
        for record in range(first, last + 1)
    }
