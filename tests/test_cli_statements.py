"""``flowbridge statements``: taking a wrong statement back by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from bridge import cli
from bridge.domain.events import BusinessEvent
from bridge.flows import accept_event, open_launch, show_prompts
from bridge.store import tables
from tests.flows.conftest import event
from tests.test_cli import Run, file, home, run, told

__all__ = ["event", "file", "home", "run"]


@pytest.mark.usefixtures("home")
def test_a_statement_is_voided_with_a_reason(run: Run, file: Path, event: Callable[..., BusinessEvent]) -> None:
    run("apply", file)
    run("sync", "guides")
    bridge = cli.open_runtime()
    accept_event.accept(bridge, "desk", [event()])
    run("decide")
    with bridge.db.read() as session:
        sam = session.scalars(select(tables.Person.id).where(tables.Person.key == "E001")).one()
    (prompt,) = show_prompts.open_prompts(bridge, sam)
    open_launch.open_prompt(bridge, prompt.id, sam)
    with bridge.db.read() as session:
        (row,) = session.scalars(select(tables.Statement)).all()
    shown = run("statements", "void", row.id, "--reason", "opened by a test")
    with bridge.db.read() as session:
        voiding = session.scalars(select(tables.Statement).where(tables.Statement.id != row.id)).one()
    assert shown.out == f"{row.id} is voided by {voiding.id}.\n"
    assert "opened by a test" in json.loads(voiding.payload)["context"]["extensions"].values()
    assert "is voided already" in told(run("statements", "void", row.id, "--reason", "again"))
    assert run("statements", "void", row.id).code == 2
