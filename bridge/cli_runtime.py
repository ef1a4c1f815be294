"""What the commands begin with: the settings of this installation, and a database that is ready for this version."""

from __future__ import annotations

import typer

from bridge.flows import setup
from bridge.flows.runtime import Runtime
from bridge.observe import configure as configure_logs
from bridge.settings import Settings


def open_runtime() -> Runtime:
    """A prepared runtime; on the very first start the first admin is told on standard error."""
    settings = Settings.load()
    configure_logs(level=settings.log_level, form=settings.log_format)
    runtime = Runtime.start(settings)
    if first := setup.prepare(runtime):
        # Beside what the command writes, which may go into a file, and never in a log.
        typer.echo(f"First start: sign in as {first.email} with the one-time password {first.password}", err=True)
    return runtime
