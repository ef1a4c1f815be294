"""The commands ``flowbridge reconcile`` and ``flowbridge dead-letters``: does each LRS have it all, and what not?"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Annotated, Any

import typer

from bridge.cli_runtime import open_runtime, progress
from bridge.connect import ConnectorError, Unsupported
from bridge.flows import dead_letters as letters
from bridge.flows import operate, spreadsheet
from bridge.flows import reconcile as flow
from bridge.flows.errors import Refused
from bridge.flows.overview import connections, reconciliations
from bridge.flows.overview.reconciliations import Gap, Run
from bridge.flows.runtime import Runtime


class Comparison(StrEnum):
    """The forms in which a comparison is told."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"


class Letters(StrEnum):
    """The forms of dead letters: lines to read, or one JSON object a line, with the whole statement."""

    TEXT = "text"
    NDJSON = "ndjson"


def reconcile(
    connection: Annotated[str, typer.Argument(help="The LRS; default: every one that can be read back")] = "",
    full: Annotated[bool, typer.Option(help="Compare everything, not only what is new since the last time")] = False,
    repair: Annotated[bool, typer.Option(help="Send again what is missing there or not voided there")] = False,
    form: Annotated[Comparison, typer.Option("--format")] = Comparison.TEXT,
) -> None:
    """Compare what an LRS has with what was sent there; exits 1 where they differ, or one could not be compared."""
    runtime = open_runtime(must_exist=True)
    differ = False
    _write(_HEADS.get(form, ""))
    for name in [connection] if connection else _readable(runtime):
        try:
            run = _compared(runtime, name, full=full)
        except Unsupported:
            raise
        except ConnectorError as error:  # one LRS that is away must not keep the others from being compared
            differ = True
            typer.echo(f"{name}: not compared: {error}. `flowbridge doctor {name}` looks for the cause.", err=True)
            continue
        if repair and flow.repair(runtime, run.id, actor="cli"):
            run = reconciliations.run(runtime, run.id)
        _write(_FORMS[form](run, reconciliations.gaps(runtime, run.id)))
        differ |= run.state == "different"
    raise typer.Exit(int(differ))


def dead_letters(
    connection: Annotated[str, typer.Argument(help="The LRS; default: all of them")] = "",
    replay: Annotated[bool, typer.Option(help="Send all of them again, as they are")] = False,
    form: Annotated[Letters, typer.Option("--format")] = Letters.TEXT,
) -> None:
    """List the statements that an LRS refused, newest first, with its words; or send them again."""
    runtime = open_runtime(must_exist=True)
    names = _destinations(runtime, connection)
    if replay:
        for name in names:
            typer.echo(f"{name}: {operate.replay_statements(runtime, name, actor='cli')} queued again.")
        return
    found = letters.letters(runtime, connection)
    first = next(found, None)
    if first is None:  # beside the output, which programs read
        typer.echo(f"{connection or 'No LRS'} has refused {'nothing' if connection else 'a statement'}.", err=True)
        return
    _write(map(_line if form is Letters.NDJSON else _told, itertools.chain([first], found)))


def _destinations(runtime: Runtime, connection: str) -> list[str]:
    """Every LRS, or that one. Raises NotFound, and Refused for a connection that takes no statements."""
    names = [row.name for row in _lrss(runtime)]
    if connection and connection not in names:
        held = connections.detail(runtime, connection).row.system
        raise Refused(f"'{connection}' is no LRS but {held}; the LRSs are: {', '.join(names) or 'none yet'}")
    return [connection] if connection else names


def _readable(runtime: Runtime) -> list[str]:
    names = [row.name for row in _lrss(runtime) if "archive" in row.capabilities and row.enabled]
    if not names:
        raise Refused("no enabled connection is an LRS that can be read back; `flowbridge apply` adds one")
    return names


def _lrss(runtime: Runtime) -> list[connections.Row]:
    return [row for row in connections.listing(runtime) if "statements" in row.capabilities]


def _compared(runtime: Runtime, name: str, *, full: bool) -> Run:
    with progress() as show:

        def tell(at: flow.Progress) -> None:
            show(f"{at.seen} statements seen, {at.asked} asked for one by one")

        return flow.reconcile(runtime, name, actor="cli", full=full, progress=tell)


def _write(pieces: Iterable[str]) -> None:
    for piece in pieces:
        sys.stdout.write(piece)


def _text(run: Run, gaps: Iterator[Gap]) -> Iterator[str]:
    since = f"since {run.since:%Y-%m-%d %H:%M:%S} UTC" if run.since else "from the beginning"
    through = f" through {run.through:%Y-%m-%d %H:%M:%S} UTC" if run.through else ""
    yield f"{run.connection}: compared {since}{through}\n"
    yield from (f"  {kind:9} {getattr(run, kind)}\n" for kind in reconciliations.KINDS)
    if run.repaired:
        yield f"  {run.repaired} queued again\n"
    yield from (f"{gap.kind:9} {gap.statement_id}  {gap.detail}\n" for gap in gaps)


def _json(run: Run, gaps: Iterator[Gap]) -> Iterator[str]:
    """One object a line for each LRS."""
    yield _dumped({**dataclasses.asdict(run), "state": run.state})[:-1] + ', "differences": ['
    for number, gap in enumerate(gaps):
        yield (", " if number else "") + _dumped(dataclasses.asdict(gap))
    yield "]}\n"


def _dumped(held: dict[str, Any]) -> str:
    return json.dumps(held, default=lambda one: one.isoformat() if isinstance(one, dt.datetime) else str(one))


def _csv(run: Run, gaps: Iterator[Gap]) -> Iterator[str]:
    """A line for each difference; the numbers go beside it."""
    typer.echo("".join(_text(run, iter(()))), err=True, nl=False)
    for gap in gaps:
        repaired = gap.repaired_at.isoformat() if gap.repaired_at else ""
        yield spreadsheet.line((run.connection, gap.kind, gap.statement_id, gap.detail, repaired))


def _line(letter: letters.DeadLetter) -> str:
    return letter.line


def _told(letter: letters.DeadLetter) -> str:
    at = f"{letter.refused_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"{letter.connection}  {at}  {letter.id}  {letter.verb}\n    {letter.words}\n"


_FORMS: dict[Comparison, Callable[[Run, Iterator[Gap]], Iterator[str]]] = {
    Comparison.TEXT: _text,
    Comparison.JSON: _json,
    Comparison.CSV: _csv,
}
_HEADS = {Comparison.CSV: spreadsheet.line(("connection", "kind", "statement", "detail", "queued_again"))}
