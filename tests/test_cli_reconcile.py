"""``flowbridge reconcile`` and ``flowbridge dead-letters``: what they print, and what they end with."""

from __future__ import annotations

import csv
import io
import json

import pytest

from bridge.connect import Rejected
from bridge.flows.runtime import Runtime
from bridge.settings import Settings
from tests.flows import scripted
from tests.flows.conftest import script
from tests.flows.evidence import audited, connect, deliver, receipts, state, statement, waiting
from tests.test_cli import Run, home, run

__all__ = ["home", "run", "script"]

BAD, GOOD, LOST = (statement(number) for number in range(3))


@pytest.fixture
def bridge(home: object, script: scripted.Script) -> Runtime:
    """The installation of the command, whose LRS has refused one statement and keeps another."""
    made = Runtime.start(Settings.load())
    connect(made)
    state(made, BAD)
    script.shelf.answers = [Rejected("the verb is too loud")]
    deliver(made)
    state(made, GOOD)
    deliver(made)
    return made


def lose(bridge: Runtime, script: scripted.Script) -> None:
    state(bridge, LOST)
    deliver(bridge)
    del script.shelf.stored[LOST["id"]]


def test_nothing_is_missing(bridge: Runtime, run: Run) -> None:
    ran = run("reconcile", "records")
    assert ran.code == 0
    assert ran.out.startswith("records: compared from the beginning\n  matched   1\n  missing   0\n")
    assert "1 statements seen, 0 asked for one by one" in ran.err


def test_what_is_missing_is_listed_and_sent_again(bridge: Runtime, run: Run, script: scripted.Script) -> None:
    lose(bridge, script)
    ran = run("reconcile")
    assert ran.code == 1
    assert f"missing   {LOST['id']}  it was delivered, and is not there any more" in ran.out
    assert waiting(bridge) == []
    ran = run("reconcile", "records", "--repair")
    assert (ran.code, "1 queued again" in ran.out) == (1, True)
    assert waiting(bridge) == [LOST["id"]]
    deliver(bridge)
    assert run("reconcile", "records", "--full").code == 0


def test_programs_read_it(bridge: Runtime, run: Run, script: scripted.Script) -> None:
    lose(bridge, script)
    told = json.loads(run("reconcile", "records", "--format", "json").out)
    assert (told["connection"], told["state"], told["matched"], told["missing"]) == ("records", "different", 1, 1)
    assert [gap["statement_id"] for gap in told["differences"]] == [LOST["id"]]
    ran = run("reconcile", "records", "--full", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(ran.out))
    assert (row["kind"], row["statement"], row["queued_again"]) == ("missing", LOST["id"], "")
    assert "matched   1" in ran.err


def test_a_connection_that_is_not_there(bridge: Runtime, run: Run) -> None:
    ran = run("reconcile", "nobody")
    assert (ran.code, "there is no connection 'nobody'" in ran.err) == (1, True)
    assert "Traceback" not in ran.err


def test_dead_letters_are_listed_exported_and_sent_again(bridge: Runtime, run: Run) -> None:
    ran = run("dead-letters")
    assert (ran.code, BAD["id"] in ran.out, "the verb is too loud" in ran.out) == (0, True, True)
    (line,) = map(json.loads, run("dead-letters", "records", "--format", "ndjson").out.splitlines())
    assert line["statement"] == BAD
    assert run("dead-letters", "--replay").out == "records: 1 queued again.\n"
    assert waiting(bridge) == [BAD["id"]]
    assert BAD["id"] not in receipts(bridge)
    assert ("statement.replay", "records: all", {"count": 1}) in audited(bridge, "cli")
    assert run("dead-letters").out == ""
