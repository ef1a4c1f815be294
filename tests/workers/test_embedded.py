"""The embedded broker: how soon committed work is seen, what a tick finds, and that nothing starves."""

from __future__ import annotations

import datetime as dt
import functools
import os
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.store import now
from tests.workers.conftest import Bridge, until

SAMPLES = 60

WITHOUT_WATCH = """
import sys
from bridge.settings import Settings
from workers import embedded, run

def fail(self):
    raise RuntimeError("the watch is broken on purpose")

embedded.Watch._run = fail
sys.exit(run.run_worker(Settings.load()))
"""


def latencies(bridge: Bridge) -> tuple[float, float]:
    """p50 and p95, in milliseconds, from a commit in this process to the decision in the worker."""
    taken = sorted(1000 * bridge.decided(bridge.add_event()) for _ in range(SAMPLES))
    return statistics.median(taken), taken[int(0.95 * SAMPLES)]


def started(bridge: Bridge) -> Bridge:
    bridge.prepare()
    bridge.run("worker").says("The worker is ready")
    return bridge


def test_a_commit_of_another_process_is_seen_at_once(
    bridge: Bridge, record_property: Callable[[str, object], None]
) -> None:
    p50, p95 = latencies(started(bridge))
    record_property("sqlite commit to decision, p50/p95 ms", (p50, p95))
    print(f"sqlite p50 {p50:.0f} ms p95 {p95:.0f} ms")
    assert p50 < 400, "the commit wakes the worker: the beat alone, once a second, would take 500 ms in the middle"


@pytest.mark.postgres
def test_so_it_is_on_postgresql(
    make_bridge: Callable[..., Bridge], postgres_url: str, record_property: Callable[[str, object], None]
) -> None:
    p50, p95 = latencies(started(make_bridge(DATABASE_URL=postgres_url)))
    record_property("postgresql commit to decision, p50/p95 ms", (p50, p95))
    print(f"postgresql p50 {p50:.0f} ms p95 {p95:.0f} ms")
    assert p50 < 400, "the commit wakes the worker: the beat alone, once a second, would take 500 ms in the middle"


def test_what_was_committed_before_the_worker_began_is_done(bridge: Bridge) -> None:
    bridge.prepare()
    waiting = [bridge.add_event() for _ in range(45)]  # more than two batches of the stand-in
    bridge.run("worker")
    for event in waiting:
        bridge.decided(event)


def test_what_becomes_due_later_is_found_by_a_tick(bridge: Bridge) -> None:
    started(bridge)
    assert 1.0 <= bridge.decided(bridge.add_event(due_at=now() + dt.timedelta(seconds=1.0))) < 4.0


def test_a_flow_that_makes_work_nudges_the_next_one(bridge: Bridge) -> None:
    started(bridge)
    ticks = bridge.calls("write_back")
    before = bridge.calls("deliver")
    for _ in range(5):
        bridge.decided(bridge.add_event())
    until(lambda: bridge.calls("deliver") >= before + 5, seconds=5, what="a delivery after each decision")
    assert bridge.calls("write_back") - ticks < 5, "the deliveries must come from nudges, not from ticks"


def test_the_beat_asks_for_everything_from_the_start(bridge: Bridge) -> None:
    started(bridge)
    for kind in ("deliver", "drain", "write_back", "grades", "poll", "sync", "members", "housekeeping"):
        until(functools.partial(bridge.calls, kind), seconds=5, what=f"the first {kind}")
    until(lambda: bridge.calls("drain") > 2 and bridge.calls("poll") > 2, seconds=5, what="more ticks")
    assert bridge.calls("housekeeping") == bridge.calls("sync") == 1


def test_one_stuck_kind_of_work_holds_up_no_other(bridge: Bridge) -> None:
    started(bridge)
    (bridge.home / "block-deliver").touch()
    before = bridge.calls("deliver")
    for _ in range(10):
        bridge.decided(bridge.add_event())
    polls = bridge.calls("poll")
    until(lambda: bridge.calls("poll") >= polls + 4, seconds=10, what="polls beside stuck deliveries")
    assert bridge.calls("deliver") <= before + 4, "only two may be stuck at once"
    assert bridge.decided(bridge.add_event()) < 0.8
    (bridge.home / "block-deliver").unlink()


def test_a_flow_that_fails_is_said_once_and_tried_on(bridge: Bridge) -> None:
    bridge.prepare()
    (bridge.home / "break-drain").touch()
    worker = bridge.run("worker")
    worker.says("The work 'drain' failed")
    polls = bridge.calls("poll")
    until(lambda: bridge.calls("poll") > polls + 2, seconds=10, what="some more seconds")
    (bridge.home / "break-drain").unlink()
    until(lambda: bridge.calls("drain"), seconds=5, what="the drain after its repair")
    assert sum("The work 'drain' failed" in line for line in worker.err) == 1
    assert sum("RuntimeError: the drain is broken" in line for line in worker.err) == 1


def test_the_worker_ends_soon_and_finishes_what_it_does(bridge: Bridge) -> None:
    worker = started(bridge).run("worker")
    worker.says("The worker is ready")
    event = bridge.add_event()
    assert worker.end() == 0
    bridge.decided(event)


def test_a_worker_that_lost_a_thread_ends_so_that_another_one_is_started(bridge: Bridge, tmp_path: Path) -> None:
    bridge.prepare()
    script = tmp_path / "without_watch.py"
    script.write_text(WITHOUT_WATCH)
    worker = bridge.run(str(script))
    assert worker.popen.wait(60) == os.EX_SOFTWARE
    worker.says("A thread of the worker died")


def test_a_second_embedded_worker_does_no_harm(bridge: Bridge) -> None:
    started(bridge).run("worker").says("The worker is ready")
    for event in [bridge.add_event() for _ in range(30)]:
        bridge.decided(event)


def test_the_beat_of_its_own_says_that_it_can_do_nothing_here(bridge: Bridge) -> None:
    beat = bridge.run("beat")
    assert beat.popen.wait(60) == 2
    beat.says("FLOWBRIDGE_BROKER_URL")
