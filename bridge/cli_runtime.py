"""What the commands begin with: the settings of this installation, and a database that is ready for this version."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

import typer
from sqlalchemy import make_url

from bridge.flows import setup
from bridge.flows.errors import Refused
from bridge.flows.runtime import Runtime
from bridge.observe import configure as configure_logs
from bridge.settings import Settings
from bridge.store import migrate


def open_runtime(*, must_exist: bool = False) -> Runtime:
    """A prepared runtime; on the very first start the first admin is told on standard error.

    With ``must_exist`` an empty database is refused: what tells of the past would tell of nothing, in good order, where
    somebody is only in the wrong folder. Raises SettingsError and Refused.
    """
    settings = Settings.load()
    configure_logs(level=settings.log_level, form=settings.log_format)
    runtime = Runtime.start(settings)
    if must_exist and migrate.current(runtime.db) is None:
        place = make_url(settings.database).render_as_string(hide_password=True)
        raise Refused(
            f"There is no bridge in the database {place} yet. Run this in the folder where the bridge was started, or"
            " with its FLOWBRIDGE_HOME or FLOWBRIDGE_DATABASE_URL."
        )
    if first := setup.prepare(runtime):
        # Beside what the command writes, which may go into a file, and never in a log.
        typer.echo(f"First start: sign in as {first.email} with the one-time password {first.password}", err=True)
    return runtime


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """What shows how far a command is, beside its output: on a terminal in one line, which ends before the result."""
    at_terminal, shown = sys.stderr.isatty(), False

    def show(line: str) -> None:
        nonlocal shown
        typer.echo(f"\r{line}" if at_terminal else line, err=True, nl=not at_terminal)
        shown = True

    try:
        yield show
    finally:
        if at_terminal and shown:
            typer.echo(err=True)
