"""The commands ``flowbridge reconcile`` and ``flowbridge dead-letters``: does each LRS have it all, and what not?"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Annotated, Any

import typer

from bridge.cli_runtime import open_runtime
from bridge.flows import dead_letters as letters
from bridge.flows import operate, spreadsheet
from bridge.flows import reconcile as flow
from bridge.flows.errors import Refused
from bridge.flows.overview import destinations, reconciliations
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
    """Compare what an LRS has with what was sent there; exits 1 where they differ."""
    runtime = open_runtime()
    differ = False
    _write(_HEADS.get(form, ""))
    for name in [connection] if connection else _readable(runtime):
        run = flow.reconcile(runtime, name, actor="cli", full=full, progress=_show)
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
    runtime = open_runtime()
    if not replay:
        found = letters.letters(runtime, connection)
        _write(letter.line for letter in found) if form is Letters.NDJSON else _write(map(_told, found))
        return
    for name in [connection] if connection else [each.row.name for each in destinations.listing(runtime)]:
        typer.echo(f"{name}: {operate.replay_statements(runtime, name, actor='cli')} queued again.")


def _readable(runtime: Runtime) -> list[str]:
    names = [each.row.name for each in destinations.listing(runtime) if each.readable and each.row.enabled]
    if not names:
        raise Refused("no enabled connection is an LRS that can be read back; `flowbridge apply` adds one")
    return names


def _show(progress: flow.Progress) -> None:
    is_terminal = sys.stderr.isatty()
    line = f"{progress.seen} statements seen, {progress.asked} asked for one by one"
    typer.echo(f"\r{line}" if is_terminal else line, err=True, nl=not is_terminal)


def _write(pieces: Iterable[str]) -> None:
    for piece in pieces:
        sys.stdout.write(piece)


def _text(run: Run, gaps: Iterator[Gap]) -> Iterator[str]:
    since = f"since {run.since:%Y-%m-%d %H:%M:%S}" if run.since else "from the beginning"
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


def _told(letter: letters.DeadLetter) -> str:
    return (
        f"{letter.connection}  {letter.refused_at:%Y-%m-%d %H:%M:%S}  {letter.id}  {letter.verb}\n    {letter.words}\n"
    )


_FORMS: dict[Comparison, Callable[[Run, Iterator[Gap]], Iterator[str]]] = {
    Comparison.TEXT: _text,
    Comparison.JSON: _json,
    Comparison.CSV: _csv,
}
_HEADS = {Comparison.CSV: spreadsheet.line(("connection", "kind", "statement", "detail", "queued_again"))}
