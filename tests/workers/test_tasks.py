"""What a task does with its flow, and how kinds of work share the threads."""

from __future__ import annotations

import logging
import sys
import threading
import types
from collections.abc import Callable

import pytest

from bridge.flows.runtime import Runtime
from tests.workers.conftest import until
from workers import tasks
from workers.quiet import OncePerMinute
from workers.tasks import Work

Flow = Callable[[object], int]


@pytest.fixture
def flow_is(monkeypatch: pytest.MonkeyPatch) -> Callable[[Flow], None]:
    """Puts a function in the place of the flow of ``drain`` and of ``poll``."""

    def put(flow: Flow) -> None:
        module = types.ModuleType("stand_in_flow")
        module.flow = flow  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "stand_in_flow", module)
        monkeypatch.setattr(tasks, "FLOWS", dict.fromkeys(("drain", "poll"), "stand_in_flow:flow"))

    return put


def work(runtime: Runtime, nudged: list[str], *, width: int = 1) -> Work:
    return Work(lambda: runtime, width=width, nudge=nudged.append)


def test_it_goes_on_while_there_is_more(runtime: Runtime, flow_is: Callable[[Flow], None]) -> None:
    answers = [20, 20, 3, 0, 99]
    flow_is(lambda _runtime: answers.pop(0))
    work(runtime, []).run("drain")
    assert answers == [99]


def test_periodic_work_is_done_once(runtime: Runtime, flow_is: Callable[[Flow], None]) -> None:
    answers = [7, 99]
    flow_is(lambda _runtime: answers.pop(0))
    work(runtime, []).run("poll")
    assert answers == [99]


def test_flows_nudge_through_the_worker(runtime: Runtime, flow_is: Callable[[Flow], None]) -> None:
    nudged: list[str] = []
    flow_is(lambda given: given.nudge("deliver") or 0)  # type: ignore[attr-defined]
    work(runtime, nudged).run("drain")
    assert nudged == ["deliver"]


def test_a_long_backlog_is_handed_on_to_the_next_message(
    runtime: Runtime, flow_is: Callable[[Flow], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "TURN_SECONDS", 0.0)
    nudged: list[str] = []
    calls: list[int] = []
    flow_is(lambda _runtime: calls.append(1) or 20)  # type: ignore[func-returns-value]
    work(runtime, nudged).run("drain")
    assert nudged == ["drain"]
    assert len(calls) == 1


def test_a_worker_that_ends_takes_nothing_more(runtime: Runtime, flow_is: Callable[[Flow], None]) -> None:
    calls: list[int] = []
    ending = work(runtime, [])

    def flow(_runtime: object) -> int:
        calls.append(1)
        ending.stopping.set()
        return 20

    flow_is(flow)
    ending.run("drain")
    assert len(calls) == 1


def test_a_message_that_finds_its_lane_full_is_not_forgotten(runtime: Runtime, flow_is: Callable[[Flow], None]) -> None:
    inside, go_on, calls = threading.Event(), threading.Event(), []

    def flow(_runtime: object) -> int:
        calls.append(threading.current_thread().name)
        inside.set()
        assert go_on.wait(10)
        return 0

    flow_is(flow)
    shared = work(runtime, [])
    first = threading.Thread(target=shared.run, args=("drain",), name="first")
    first.start()
    assert inside.wait(10)
    shared.run("drain")  # returns although the first one is still inside
    assert calls == ["first"]
    go_on.set()
    first.join(10)
    assert calls == ["first", "first"]
    shared.run("drain")
    assert len(calls) == 3


def test_only_so_many_of_a_kind_run_at_once(runtime: Runtime, flow_is: Callable[[Flow], None]) -> None:
    go_on, running = threading.Event(), []

    def flow(_runtime: object) -> int:
        running.append(1)
        assert go_on.wait(10)
        return 0

    flow_is(flow)
    shared = work(runtime, [], width=2)
    threads = [threading.Thread(target=shared.run, args=("drain",)) for _ in range(6)]
    for thread in threads:
        thread.start()
    until(lambda: sum(thread.is_alive() for thread in threads) == 2, seconds=10, what="four have turned back")
    assert len(running) == 2
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert len(running) == 3, "one goes round again, for the four that turned back"


def test_a_failure_keeps_no_lane_closed(
    runtime: Runtime, flow_is: Callable[[Flow], None], caplog: pytest.LogCaptureFixture
) -> None:
    answers = [1 / 3, 0]

    def flow(_runtime: object) -> int:
        if answers.pop(0):
            raise RuntimeError("no luck")
        return 0

    flow_is(flow)
    shared = work(runtime, [])
    shared.run("drain")
    shared.run("drain")
    assert answers == []


def test_a_log_says_a_thing_once_a_minute() -> None:
    at = [0.0]
    quiet = OncePerMinute(lambda: at[0])

    def passes(text: str, *args: object) -> bool:
        return quiet.filter(logging.LogRecord("n", logging.WARNING, "f", 1, text, args, None))

    assert passes("%s is down", "redis")
    assert passes("%s is down", "rabbitmq")
    assert not passes("%s is down", "redis")
    at[0] = 59.0
    assert not passes("%s is down", "redis")
    at[0] = 60.0
    assert passes("%s is down", "redis")
    assert passes("plain")
