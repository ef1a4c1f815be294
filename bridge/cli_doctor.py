"""The command ``flowbridge doctor``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

import typer

from bridge.connect import Finding
from bridge.flows import doctor as flow
from bridge.flows.runtime import Runtime
from bridge.observe import configure as configure_logs
from bridge.settings import Settings


def doctor(
    name: Annotated[str | None, typer.Argument(metavar="CONNECTION", help="One connection, in depth")] = None,
    write: Annotated[bool, typer.Option(help="Also store something there, and take it back")] = False,
) -> None:
    """Say what of the installation, or of one connection, is wrong, and what to change.

    Nothing is changed here, and nothing written there without --write. The exit code is 1 when something is wrong.
    """
    settings = Settings.load()
    configure_logs(level=settings.log_level, form=settings.log_format)
    own = flow.packages()
    if not own.works:  # what runs may be another's program by half
        _tell([own])
    runtime = Runtime.start(settings)
    if name is not None:
        _tell(flow.connection(runtime, name, write=write))
    else:
        _tell(_installation(runtime, own))


def _installation(runtime: Runtime, own: Finding) -> Iterator[Finding]:
    yield own
    stored = list(flow.database(runtime))
    yield from stored
    yield _broker(runtime.settings)
    if all(found.works for found in stored):
        yield from flow.connections(runtime)


def _broker(settings: Settings) -> Finding:
    from workers.reachable import broker_problem

    problem = broker_problem(settings)
    return Finding(works=not problem, words=problem or "the broker answers, or none is needed")


def _tell(findings: Iterable[Finding]) -> None:
    """Each finding as it comes; ends the command with 1 when one of them was wrong."""
    wrong = 0
    for found in findings:
        typer.echo(f"{'ok   ' if found.works else 'WRONG'}  {found.words}")
        wrong += not found.works
    if wrong:
        typer.echo(f"{wrong} {'thing is' if wrong == 1 else 'things are'} wrong.", err=True)
        raise typer.Exit(1)
