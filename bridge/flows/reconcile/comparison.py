"""One comparison of an LRS with the ledger: the walk, the questions that it leaves, and what is kept of it."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime as dt
import itertools
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Self

from sqlalchemy import ColumnElement, and_, or_, select, true

from bridge.connect import ConnectorError, Rejected, StatementArchive, StoredPage, UnexpectedPayload
from bridge.flows.overview.reconciliations import KINDS
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from bridge.store.insert import insert_into
from bridge.xapi.destination import People, Policy
from bridge.xapi.index import Json
from bridge.xapi.lrs.comparing import alike
from bridge.xapi.profile import VOIDED
from bridge.xapi.validation import InvalidStatement

STREAM = "reconcile"
#: How far two clocks may be apart, and how long a statement may be on its way from the answer to the receipt.
OVERLAP = dt.timedelta(minutes=2)
#: The most statements of others that one run lists; all of them are counted.
MOST_FOREIGN = 1000
_CHUNK = 500
_SET_BY_THE_LRS = {"id", "stored", "authority", "version"}
#: Why a statement is voided here alone, by what became of its voiding statement there.
_NOT_VOIDED: Mapping[str | None, str] = {
    None: "it is voided here, and not there: the voiding statement was never sent there",
    "delivered": "it is voided here, and not there, though the voiding statement was delivered",
    "rejected": "it is voided here, and not there: the voiding statement was refused there",
    "replaced": "it is voided here, and not there: another statement was sent instead of the voiding one",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: ``seen`` there, and ``asked`` for one by one because the walk did not show them."""

    seen: int
    asked: int


class _Numbers:
    """A set of the ledger's numbers: a bit for each, in blocks, so that a million take an eighth of a megabyte."""

    _BLOCK = 1 << 16

    def __init__(self) -> None:
        self._blocks: dict[int, bytearray] = {}

    def add(self, number: int) -> bool:
        """Add a number; False where it was there already."""
        block = self._blocks.setdefault(number // self._BLOCK, bytearray(self._BLOCK // 8))
        place, bit = divmod(number % self._BLOCK, 8)
        new = not block[place] & 1 << bit
        block[place] |= 1 << bit
        return new


@dataclasses.dataclass(frozen=True, slots=True)
class Before:
    """The run before this one: receipts ``settled`` up to then were compared, and what it listed is asked for again."""

    run: int
    settled: dt.datetime

    @classmethod
    def read(cls, value: Json) -> Self:
        return cls(value["run"], dt.datetime.fromisoformat(value["settled"]))


@dataclasses.dataclass(frozen=True, slots=True)
class _Known:
    """A statement as the ledger has it."""

    seq: int
    id: uuid.UUID
    payload: bytes
    voided_by: uuid.UUID | None


@dataclasses.dataclass(frozen=True, slots=True)
class _Pair:
    """A statement of ours, and what the LRS has under its id: ``voided`` there, or not."""

    ours: _Known
    there: Json
    voided: bool = False


_KNOWN = select(tables.Statement.seq, tables.Statement.id, tables.Statement.payload, tables.Statement.voided_by)


@dataclasses.dataclass
class Comparison:
    """One run, after the one ``before`` it; without one, everything is compared."""

    runtime: Runtime
    connection: tables.Connection
    archive: StatementArchive
    policy: Policy
    run: tables.Reconciliation
    before: Before | None
    progress: Callable[[Progress], None]
    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    _seen: _Numbers = dataclasses.field(default_factory=_Numbers)
    #: What voiding statements there name: their effect may be on what was compared long ago.
    _targets: set[uuid.UUID] = dataclasses.field(default_factory=set)
    _shown: int = 0
    _asked: int = 0
    _through: dt.datetime | None = None

    @property
    def horizon(self) -> dt.datetime:
        """What has a receipt from before this must have been shown by now.

        An LRS that promises nothing is taken to show everything at once. One whose clock is ahead promises what is yet
        to come: a receipt from then would never be looked at.
        """
        return min(self._through or self.run.started_at, self.run.started_at) - OVERLAP

    def walk(self) -> None:
        """Compare everything that the LRS shows."""
        for page in self.archive.stored(self.run.since):
            if page.through is not None:  # it may go back from one answer to the next
                self._through = min(page.through, self._through or page.through)
            self._compare_page(page)
            self.progress(Progress(self._shown, self._asked))

    def _compare_page(self, page: StoredPage) -> None:
        shown = {_id_of(self.connection, statement): dict(statement) for statement in page.statements}
        self._shown += len(shown)
        self._targets |= {target for statement in shown.values() if (target := _voids(statement))}
        with self.runtime.db.read() as session:
            known = {row.id: _Known(*row) for row in session.execute(_KNOWN.where(tables.Statement.id.in_(shown)))}
        self._judge([_Pair(ours, shown[ours.id]) for ours in known.values() if self._seen.add(ours.seq)])
        foreign = {of: _foreign(statement) for of, statement in shown.items() if of not in known}
        room = max(MOST_FOREIGN - self.counts["foreign"], 0)
        self.counts["foreign"] += len(foreign)
        self._note("foreign", dict(itertools.islice(foreign.items(), room)))

    def _judge(self, pairs: Sequence[_Pair]) -> None:
        different = self._different(pairs)
        one_sided = [pair for pair in pairs if pair.ours.id not in different and _voided_on_one_side(pair)]
        voided = {pair.ours.id: "it is voided there, and not here" for pair in one_sided if pair.voided}
        voided |= self._not_voided_there([pair.ours for pair in one_sided if not pair.voided])
        self.counts["matched"] += len(pairs) - len(different) - len(voided)
        for kind, found in (("different", different), ("voided", voided)):
            self.counts[kind] += len(found)
            self._note(kind, found)

    def _different(self, pairs: Sequence[_Pair]) -> dict[uuid.UUID, str]:
        """Of statements that are not there as they were sent, in what they differ."""
        sent = self._sent([pair.ours for pair in pairs])
        return {
            pair.ours.id: _difference(forms, pair.there)
            for pair, forms in zip(pairs, sent, strict=True)
            if not _alike(forms, pair.there)
        }

    def _sent(self, known: Sequence[_Known]) -> list[list[Json]]:
        """Of each statement what can have been sent: as the destination gets it now, and as it is in the ledger."""
        with self.runtime.db.read() as session:
            people = self.policy.people(session.connection(), [of.payload for of in known])
        return [[json.loads(form) for form in dict.fromkeys(self._forms(of.payload, people))] for of in known]

    def _forms(self, payload: bytes, people: People) -> Iterator[bytes]:
        with contextlib.suppress(Rejected):  # it would not be sent as the settings are now
            yield self.policy.render(payload, people)
        yield payload

    def _not_voided_there(self, known: Sequence[_Known]) -> dict[uuid.UUID, str]:
        """Of statements that are voided here alone, those whose voiding statement is not just on its way there."""
        if not known:
            return {}
        voiding = [of.voided_by for of in known]
        receipt, waits = tables.StatementReceipt, tables.Outbox
        here = and_(receipt.statement_seq == tables.Statement.seq, receipt.connection_id == self.connection.id)
        on_its_way = and_(waits.statement_seq == tables.Statement.seq, waits.connection_id == self.connection.id)
        lately = self.run.started_at - OVERLAP
        query = select(tables.Statement.id, receipt.state).outerjoin(receipt, here).outerjoin(waits, on_its_way)
        settled = or_(receipt.settled_at.is_(None), receipt.settled_at <= lately)
        with self.runtime.db.read() as session:
            of_voiding = query.where(tables.Statement.id.in_(voiding), waits.statement_seq.is_(None), settled)
            states = {row.id: row.state for row in session.execute(of_voiding)}
        return {of.id: _NOT_VOIDED[states[of.voided_by]] for of in known if of.voided_by in states}

    def ask_for_the_rest(self) -> None:
        """Ask for what a receipt says is there and the walk did not show: it may be voided, or older than the walk."""
        for numbers in self._due():
            unseen = [number for number in numbers if self._seen.add(number)]
            if not unseen:
                continue
            with self.runtime.db.read() as session:
                known = [_Known(*row) for row in session.execute(_KNOWN.where(tables.Statement.seq.in_(unseen)))]
            found = [pair for ours in known if (pair := self._find(ours))]
            self._judge(found)
            missing = {ours.id for ours in known} - {pair.ours.id for pair in found}
            self.counts["missing"] += len(missing)
            self._note("missing", dict.fromkeys(missing, "it was delivered, and is not there any more"))
            self.progress(Progress(self._shown, self._asked))

    def _due(self) -> Iterator[Sequence[int]]:
        """What was delivered since the run before; what that one listed; and what was voided since."""
        receipt, statement, gap = tables.StatementReceipt, tables.Statement, tables.Difference
        if self.before is None:
            yield from self._delivered(true())
            return
        yield from self._delivered(receipt.settled_at > self.before.settled)
        listed = select(statement.seq).join(gap, gap.statement_id == statement.id)
        yield from self._delivered(receipt.statement_seq.in_(listed.where(gap.reconciliation_id == self.before.run)))
        for targets in _in_parts(sorted(self._targets)):
            of_targets = select(statement.seq).where(statement.id.in_(targets))
            yield from self._delivered(receipt.statement_seq.in_(of_targets))

    def _delivered(self, which: ColumnElement[bool]) -> Iterator[Sequence[int]]:
        """The numbers of delivered statements that the LRS must have shown, in order, some at a time."""
        receipt, last = tables.StatementReceipt, -1
        due = (receipt.connection_id == self.connection.id, receipt.state == "delivered", which)
        while True:
            query = select(receipt.statement_seq).where(*due, receipt.settled_at <= self.horizon)
            with self.runtime.db.read() as session:
                following = query.where(receipt.statement_seq > last).order_by(receipt.statement_seq)
                numbers = session.scalars(following.limit(_CHUNK)).all()
            if not numbers:
                return
            yield numbers
            last = numbers[-1]

    def _find(self, ours: _Known) -> _Pair | None:
        """What is there under the id: asked for first as what it should be, voided or not."""
        self._asked += 1
        for voided in (True, False) if ours.voided_by else (False, True):
            there = self.archive.find(str(ours.id), voided=voided)
            if there is not None:
                return _Pair(ours, dict(there), voided)
        return None

    def _note(self, kind: str, found: Mapping[uuid.UUID, str]) -> None:
        if not found:
            return
        rows = [
            {"reconciliation_id": self.run.id, "statement_id": of, "kind": kind, "detail": words}
            for of, words in found.items()
        ]
        with self.runtime.db.write() as session:
            session.execute(insert_into(session, tables.Difference).on_conflict_do_nothing(), rows)

    def end(self, actor: str, error: ConnectorError | None = None) -> None:
        """Keep what was found; where all of it was looked at, the next run goes on from here."""
        settled = max(self.horizon, self.before.settled) if self.before else self.horizon
        values = {kind: self.counts[kind] for kind in KINDS}
        with self.runtime.db.write() as session:
            run = session.get_one(tables.Reconciliation, self.run.id)
            for kind, count in values.items():
                setattr(run, kind, count)
            run.finished_at, run.through, run.error = now(), self._through, str(error) if error else None
            if error is None:
                place = {"run": run.id, "settled": settled.isoformat()}
                row = tables.Checkpoint(connection_id=run.connection_id, stream=STREAM, value=place, updated_at=now())
                session.merge(row)
            name = self.connection.name
            session.add(tables.Audit(actor=actor, action="connection.reconcile", subject=name, detail=values))


def _id_of(connection: tables.Connection, statement: Mapping[str, object]) -> uuid.UUID:
    try:
        return uuid.UUID(str(statement["id"]))
    except (KeyError, ValueError):
        raise UnexpectedPayload(
            f"{connection.connector} '{connection.name}' lists a statement without an id, so it can't be compared"
        ) from None


def _voids(statement: Json) -> uuid.UUID | None:
    """The statement that this one voids, where it is a voiding statement (xAPI-Data 2.3.2)."""
    try:
        return uuid.UUID(statement["object"]["id"]) if statement["verb"]["id"] == VOIDED else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _voided_on_one_side(pair: _Pair) -> bool:
    return pair.voided is not (pair.ours.voided_by is not None)


def _in_parts(items: Sequence[uuid.UUID]) -> Iterator[Sequence[uuid.UUID]]:
    return (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))


def _foreign(statement: Json) -> str:
    """Whose it is not ours: nobody's name is in it."""
    verb = statement.get("verb")
    word = verb.get("id") if isinstance(verb, dict) else "unknown"
    return f"its verb is {word}; it was stored at {statement.get('stored', 'an unknown time')}"


def _alike(forms: Sequence[Json], there: Json) -> bool:
    """Is this what was sent, in one of the forms (xAPI-Data 2.3.1)? What is no statement is not."""
    try:
        return any(alike(ours, there) for ours in forms)
    except (KeyError, TypeError, ValueError, AttributeError, InvalidStatement):
        return False


def _difference(forms: Sequence[Json], there: Json) -> str:
    """Which properties differ from what was sent, in words."""
    ours = forms[0]
    names = sorted((ours.keys() | there.keys()) - _SET_BY_THE_LRS)
    return "it differs in: " + ", ".join(name for name in names if not _alike([ours], _with(ours, name, there)))


def _with(ours: Json, name: str, there: Json) -> Json:
    """Our statement, with one property as it is there."""
    mixed = {**ours, name: there.get(name)}
    return mixed if name in there else {key: value for key, value in ours.items() if key != name}
