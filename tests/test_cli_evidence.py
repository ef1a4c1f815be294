"""The commands that tell what is there and what is not: they never answer "nothing" where they could not look."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.connect import ConfigError, Rejected, Retryable
from bridge.flows.runtime import Runtime
from bridge.settings import Settings
from tests.flows import scripted
from tests.flows.conftest import script
from tests.flows.evidence import connect, deliver, state, statement
from tests.test_cli import Run, file, home, run, told

__all__ = ["file", "home", "run", "script"]


@pytest.fixture
def bridge(home: object, script: scripted.Script) -> Runtime:
    """The installation of the command, with two LRSs that have one statement each."""
    del home, script
    made = Runtime.start(Settings.load())
    connect(made, "archive")
    connect(made, "records")
    state(made, statement(0))
    deliver(made)
    return made


@pytest.mark.parametrize("error", [Retryable("the archive did not answer"), ConfigError("the archive says no")])
def test_an_lrs_that_is_away_keeps_no_other_from_being_compared(
    bridge: Runtime, run: Run, script: scripted.Script, error: Exception
) -> None:
    del bridge
    script.shelf.answers = [error]
    ran = run("reconcile")
    assert ran.code == 1
    assert f"archive: not compared: {error}. `flowbridge doctor archive` looks for the cause." in ran.err
    assert ran.out.startswith("records: compared from the beginning\n  matched   1\n")
    assert "Traceback" not in ran.err
    assert run("reconcile").code == 0


def test_on_a_terminal_the_progress_ends_before_the_result_begins(
    bridge: Runtime, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    del bridge
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    ran = run("reconcile", "records")
    assert ran.err.startswith("\r1 statements seen")
    assert ran.err.endswith("asked for one by one\n")
    assert "there is no connection 'nobody'" in run("reconcile", "nobody").err


@pytest.mark.parametrize(
    "command",
    [
        ("report", "completions"),
        ("reconcile",),
        ("dead-letters",),
        ("statements", "void", "6690e6c9-3ef0-4ed3-8b37-7f3964730bee", "--reason", "wrong"),
    ],
)
def test_in_the_wrong_folder_nothing_is_told(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("FLOWBRIDGE_HOME", str(tmp_path / "elsewhere"))
    for _ in range(2):
        words = told(run(*command))
        assert "There is no bridge in the database sqlite:///" in words
        assert "FLOWBRIDGE_HOME" in words


def test_no_dead_letters_are_told_beside_the_output(
    bridge: Runtime, run: Run, script: scripted.Script, file: Path
) -> None:
    ran = run("dead-letters")
    assert (ran.code, ran.out, ran.err) == (0, "", "No LRS has refused a statement.\n")
    assert run("dead-letters", "records", "--format", "ndjson").err == "records has refused nothing.\n"
    run("apply", file)
    assert told(run("dead-letters", "desk")) == "'desk' is no LRS but Webhook; the LRSs are: archive, records\n"
    assert "'desk' is no LRS" in told(run("dead-letters", "desk", "--replay"))
    script.shelf.answers = [Rejected("the verb is too loud"), Rejected("the verb is too loud")]
    state(bridge, statement(1))
    deliver(bridge)
    assert " UTC  " in run("dead-letters", "archive").out


def test_a_report_that_can_only_be_empty_is_refused(run: Run, home: Path) -> None:
    del home
    backwards = told(run("report", "completions", "--since", "2026-12-31", "--until", "2026-01-01"))
    assert backwards.startswith("until: 2026-01-01T00:00:00+00:00 lies before 2026-12-31T00:00:00+00:00")
    one_day = told(run("report", "completions", "--since", "2026-01-31", "--until", "2026-01-31"))
    assert "name the day after the last one" in one_day
