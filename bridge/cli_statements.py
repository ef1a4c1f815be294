"""The command ``flowbridge statements``: what an admin does with single statements of the bridge."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from bridge.cli_runtime import open_runtime
from bridge.flows import void_statement

app = typer.Typer(no_args_is_help=True)


@app.callback()  # with one command and no callback, Typer would make that command the group
def _statements() -> None:
    """The bridge's own xAPI statements."""


@app.command()
def void(
    statement: Annotated[UUID, typer.Argument(help="The statement's id, as reports show it")],
    reason: Annotated[str, typer.Option(help="Why it does not hold; every LRS gets these words, so name nobody")],
) -> None:
    """Take back a statement that is wrong, here and at every LRS that has it."""
    voided_by = void_statement.void(open_runtime(must_exist=True), statement, reason=reason, actor="cli")
    typer.echo(f"{statement} is voided by {voided_by}.")
