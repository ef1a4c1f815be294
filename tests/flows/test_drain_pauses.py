"""What the answers of a destination make of it: paused, stopped, or asked for less."""

from __future__ import annotations

import datetime as dt
import email.utils
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from bridge.connect import Http
from bridge.flows import drain_outbox
from bridge.flows.drain_outbox import lease
from bridge.flows.drain_outbox.limits import PROBE
from bridge.flows.runtime import Runtime
from bridge.store import now
from bridge.store.tables import Connection
from bridge.xapi import ledger
from tests.flows.forwarding import (
    BEHAVES,
    ISSUER,
    Answer,
    Lrs,
    connect,
    connection,
    cut_after_storing,
    fill,
    ids_of,
    let_time_pass,
    says,
    statement,
    waiting,
)


@pytest.fixture
def bridge(each_runtime: Runtime) -> Runtime:
    return each_runtime


def test_unavailable_pauses_the_destination_and_keeps_everything_in_order(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    sent = fill(bridge, 150)
    lrs.script.append(says(503))
    assert drain_outbox.drain(bridge) == 0
    paused = connection(bridge)
    assert paused.paused_until is not None
    assert dt.timedelta(0) < paused.paused_until - now() <= dt.timedelta(seconds=2)
    assert (paused.failures, paused.problem, waiting(bridge)) == (1, None, 150)
    assert drain_outbox.drain(bridge) == 0
    assert len(lrs.posts) == 1  # nothing is sent while it is paused

    with bridge.db.write() as session:
        session.execute(update(Connection).values(paused_until=now() - dt.timedelta(seconds=1)))
    assert drain_outbox.drain(bridge) == 150
    assert [of for post in lrs.posts[1:] for of in post] == sent  # each row had kept its place
    assert connection(bridge).failures == 0


def test_each_failure_in_a_row_makes_the_pause_longer_up_to_a_cap(runtime: Runtime, lrs: Lrs) -> None:
    connect(runtime, lrs)
    fill(runtime, 1)
    for failures in range(1, 13):
        lrs.script.append(says(503))
        drain_outbox.drain(runtime)
        paused = connection(runtime)
        assert paused.paused_until is not None
        assert paused.failures == failures
        assert paused.paused_until - now() <= dt.timedelta(seconds=min(2**failures, 900))
        let_time_pass(runtime)
    assert drain_outbox.drain(runtime) == 1  # no number of failures makes a statement go away


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_too_many_requests_waits_as_long_as_it_is_told(form: str, runtime: Runtime, lrs: Lrs) -> None:
    connect(runtime, lrs)
    fill(runtime, 3)
    at = email.utils.format_datetime(now() + dt.timedelta(seconds=240), usegmt=True)
    lrs.script.append(says(429, Retry_After="240" if form == "seconds" else at))
    assert drain_outbox.drain(runtime) == 0
    until = connection(runtime).paused_until
    assert until is not None
    assert dt.timedelta(seconds=230) < until - now() <= dt.timedelta(seconds=240)


def test_who_asks_for_a_year_is_asked_again_after_a_day(runtime: Runtime, lrs: Lrs) -> None:
    connect(runtime, lrs)
    fill(runtime, 1)
    lrs.script.append(says(429, Retry_After="31536000"))
    assert drain_outbox.drain(runtime) == 0
    until = connection(runtime).paused_until
    assert until is not None
    assert dt.timedelta(hours=23) < until - now() <= dt.timedelta(days=1)


@pytest.mark.parametrize("asked", ["0", "Tue, 03 Mar 2026 05:06:07 GMT"])
def test_who_asks_for_no_pause_is_not_asked_again_at_once(asked: str, runtime: Runtime, lrs: Lrs) -> None:
    """A date in the past is that of an LRS whose clock is behind."""
    connect(runtime, lrs)
    fill(runtime, 3)
    lrs.script.append(says(503, Retry_After=asked))
    before = now()
    assert drain_outbox.drain(runtime) == 0
    until = connection(runtime).paused_until
    assert until is not None
    assert until - before >= dt.timedelta(seconds=0.5)


def test_a_short_pause_never_cuts_a_long_one(runtime: Runtime, lrs: Lrs) -> None:
    connect(runtime, lrs)
    fill(runtime, 1)
    later = now() + dt.timedelta(hours=1)

    def told_another_worker_to_wait(lrs: Lrs, ids: list[str]) -> Answer:
        with runtime.db.write() as session:
            session.execute(update(Connection).values(paused_until=later))
        return 503, {}, ""

    lrs.script.append(told_another_worker_to_wait)
    drain_outbox.drain(runtime)
    assert connection(runtime).paused_until == later


def test_an_answer_that_never_comes_is_sent_again_and_doubles_nothing(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    sent = fill(bridge, 20)
    lrs.script.append(cut_after_storing)
    assert drain_outbox.drain(bridge) == 0
    assert (len(lrs.stored), waiting(bridge)) == (20, 20)
    let_time_pass(bridge)
    assert drain_outbox.drain(bridge) == 20
    assert lrs.posts == [sent, sent[:PROBE], sent[PROBE:]]
    assert (len(lrs.stored), lrs.changed) == (20, [])


def test_a_timeout_after_accepting_is_an_unknown_outcome(
    runtime: Runtime, lrs: Lrs, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient, over = Http.__init__, threading.Event()
    monkeypatch.setattr(Http, "__init__", lambda *a, **k: patient(*a, **{**k, "timeout": (1.0, 0.2)}))
    connect(runtime, lrs)
    fill(runtime, 5)

    def dawdle(lrs: Lrs, ids: list[str]) -> None:
        over.wait(30)

    lrs.script.append(dawdle)
    assert drain_outbox.drain(runtime) == 0
    assert (connection(runtime).failures, waiting(runtime)) == (1, 5)
    over.set()
    let_time_pass(runtime)
    assert drain_outbox.drain(runtime) == 5
    assert (len(lrs.stored), lrs.changed) == (5, [])


@pytest.mark.parametrize(("status", "words"), [(401, "credentials"), (404, "endpoint"), (302, "moved")])
def test_what_only_an_admin_can_mend_stops_the_destination_and_loses_nothing(
    status: int, words: str, runtime: Runtime, lrs: Lrs
) -> None:
    connect(runtime, lrs)
    fill(runtime, 5)
    lrs.script.append(says(status, Location="/login"))
    assert drain_outbox.drain(runtime) == 0
    problem = connection(runtime).problem
    assert problem is not None
    assert (words in problem, waiting(runtime)) == (True, 5)
    assert drain_outbox.drain(runtime) == 0
    assert len(lrs.posts) == 1
    with runtime.db.write() as session:
        session.execute(update(Connection).values(problem=None))
    assert drain_outbox.drain(runtime) == 5


def test_a_secret_that_is_missing_is_a_problem_and_is_read_again(
    runtime: Runtime, lrs: Lrs, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(runtime, lrs)
    with runtime.db.write() as session:
        config = {"endpoint": lrs.endpoint, "key": "k", "secret": "env:LRS_SECRET_OF_THE_TEST"}
        session.execute(update(Connection).values(config=config))
    fill(runtime, 5)
    assert drain_outbox.drain(runtime) == 0
    assert "LRS_SECRET_OF_THE_TEST" in str(connection(runtime).problem)
    monkeypatch.setenv("LRS_SECRET_OF_THE_TEST", "opensesame")
    with runtime.db.write() as session:
        session.execute(update(Connection).values(problem=None))
    assert drain_outbox.drain(runtime) == 5


def test_a_secret_that_was_changed_in_its_file_is_read_again_before_anything_stops(
    bridge: Runtime, lrs: Lrs, tmp_path: Path
) -> None:
    """By each thread for itself: each keeps a connector of its own."""
    secret = tmp_path / "lrs.secret"
    secret.write_text("old")
    connect(bridge, lrs)
    with bridge.db.write() as session:
        config = {**connection(bridge).config, "secret": f"file:{secret}"}
        session.execute(update(Connection).values(config=config))
    sent = fill(bridge, 1)
    assert drain_outbox.drain(bridge) == 1
    secret.write_text("new")
    lrs.secret = "new"
    with bridge.db.write() as session:
        ledger.add(session, statement(1), issuer=ISSUER)
    assert drain_outbox.drain(bridge) == 1
    assert (connection(bridge).problem, lrs.stored.keys()) == (None, {*sent, *ids_of(range(1, 2))})
    lrs.secret = "newer"
    with bridge.db.write() as session:
        ledger.add(session, statement(2), issuer=ISSUER)
    assert drain_outbox.drain(bridge) == 0
    assert "credentials" in str(connection(bridge).problem)


def test_options_that_can_not_be_are_a_problem_and_lose_nothing(runtime: Runtime, lrs: Lrs) -> None:
    connect(runtime, lrs)
    fill(runtime, 2)
    with runtime.db.write() as session:
        session.execute(update(Connection).values(options={"statements": {"batch": 0}}))
    assert drain_outbox.drain(runtime) == 0
    assert "options.statements.batch" in str(connection(runtime).problem)
    assert (lrs.posts, waiting(runtime)) == ([], 2)


def test_a_new_configuration_is_used_at_once(runtime: Runtime, lrs: Lrs) -> None:
    connect(runtime, lrs)
    fill(runtime, 1)
    drain_outbox.drain(runtime)
    elsewhere = Lrs()
    with runtime.db.write() as session:
        config = {**connection(runtime).config, "endpoint": elsewhere.endpoint}
        session.execute(update(Connection).values(config=config))
    fill(runtime, 2)
    assert drain_outbox.drain(runtime) == 1
    elsewhere.close()
    assert list(elsewhere.stored) == ids_of(range(1, 2))


@pytest.mark.parametrize("change", ["options", "address"])
def test_a_change_while_a_worker_sends_counts_from_its_next_claim(change: str, bridge: Runtime, lrs: Lrs) -> None:
    elsewhere = Lrs()
    connect(bridge, lrs, batch=5)
    sent = fill(bridge, 20)

    def changed(lrs: Lrs, ids: list[str]) -> Answer:
        with bridge.db.write() as session:
            row = session.scalars(select(Connection)).one()
            row.options = {"statements": {"batch": 5, "identity": "pseudonym"}}
            row.config = {**row.config, "endpoint": elsewhere.endpoint} if change == "address" else row.config
        return BEHAVES(lrs, ids) or (500, {}, "")

    lrs.script.append(changed)
    assert drain_outbox.drain(bridge) == 5
    assert drain_outbox.drain(bridge) == 15
    elsewhere.close()
    named = [of for of, raw in {**lrs.stored, **elsewhere.stored}.items() if '"E' in raw]
    assert named == sent[:5]
    assert list(elsewhere.stored) == (sent[5:] if change == "address" else [])


def test_one_destination_that_is_down_does_not_hold_up_another(bridge: Runtime, lrs: Lrs) -> None:
    up = Lrs()
    connect(bridge, lrs, "down")
    connect(bridge, up, "up")
    sent = fill(bridge, 120)
    lrs.script.append(says(503))
    assert drain_outbox.drain(bridge) == 120
    up.close()
    assert sorted(up.stored) == sorted(sent)
    assert (connection(bridge, "down").failures, connection(bridge, "up").failures, waiting(bridge)) == (1, 0, 120)


@pytest.mark.parametrize(
    "off", [{"enabled": False}, {"problem": "no"}, {"paused_until": dt.datetime(2999, 1, 1, tzinfo=dt.UTC)}]
)
def test_a_closed_destination_is_not_called(off: dict[str, Any], runtime: Runtime, lrs: Lrs) -> None:
    connect(runtime, lrs)
    fill(runtime, 1)
    with runtime.db.write() as session:
        session.execute(update(Connection).values(off))
    assert drain_outbox.drain(runtime) == 0
    assert (lrs.posts, waiting(runtime)) == ([], 1)


@pytest.mark.parametrize("at", ["send", "client"])
def test_a_defect_of_a_connector_pauses_it_and_the_others_go_on(
    at: str, runtime: Runtime, lrs: Lrs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it sends, or where it is made."""
    from connectors.lrs import Lrs as Connector
    from connectors.lrs import LrsConfig

    owner: type[Any] = Connector if at == "send" else LrsConfig
    works = getattr(owner, at)

    def broken(self: Any, *given: Any) -> Any:
        if getattr(self, "config", self).key == "broken":
            raise KeyError("a defect")
        return works(self, *given)

    monkeypatch.setattr(owner, at, broken)
    connect(runtime, lrs, "a")
    connect(runtime, lrs, "b")
    with runtime.db.write() as session:
        config = {**connection(runtime, "a").config, "key": "broken"}
        session.execute(update(Connection).where(Connection.name == "a").values(config=config))
    fill(runtime, 3)
    assert drain_outbox.drain(runtime) == 3
    assert (connection(runtime, "a").failures, connection(runtime, "b").failures, waiting(runtime)) == (1, 0, 3)


def test_after_a_pause_one_worker_tries_with_a_few_and_the_others_wait_for_it(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    fill(bridge, 150)
    lrs.script.append(says(503))
    assert drain_outbox.drain(bridge) == 0
    let_time_pass(bridge)
    others: list[int] = []

    def meanwhile(lrs: Lrs, ids: list[str]) -> Answer:
        others.append(drain_outbox.drain(bridge))
        return BEHAVES(lrs, ids) or (500, {}, "")

    lrs.script.append(meanwhile)
    assert drain_outbox.drain(bridge) == 150
    assert others == [0]
    assert [len(post) for post in lrs.posts] == [100, PROBE, 100, 150 - 100 - PROBE]
    assert (connection(bridge).failures, connection(bridge).paused_until) == (0, None)


def test_a_probe_that_fails_makes_the_pause_longer(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    fill(bridge, 150)
    lrs.script.extend([says(503), says(429, Retry_After="77")])
    drain_outbox.drain(bridge)
    let_time_pass(bridge)
    assert drain_outbox.drain(bridge) == 0
    paused = connection(bridge)
    assert paused.paused_until is not None
    assert paused.failures == 2
    assert dt.timedelta(seconds=70) < paused.paused_until - now() <= dt.timedelta(seconds=77)


def test_a_refusal_shows_that_a_destination_answers_again(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    lrs.poison = set(fill(bridge, 10)[:1])
    lrs.script.extend([says(503), BEHAVES, says(503)])  # the second 503 comes while the poisoned one is looked for
    drain_outbox.drain(bridge)
    let_time_pass(bridge)
    drain_outbox.drain(bridge)
    assert (len(lrs.posts), connection(bridge).failures) == (3, 1)


def test_workers_who_fail_side_by_side_count_as_one_failure(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    fill(bridge, 300)
    both = threading.Barrier(2)

    def together(lrs: Lrs, ids: list[str]) -> Answer:
        both.wait(20)
        return 503, {"Retry-After": "60"}, ""

    lrs.script.extend([together, together])
    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(lambda _: drain_outbox.drain(bridge), range(2))) == 0
    assert (connection(bridge).failures, waiting(bridge)) == (1, 300)


def test_two_workers_share_the_budget_of_a_destination(
    bridge: Runtime, lrs: Lrs, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [now()]
    monkeypatch.setattr(lease, "now", lambda: clock[0])
    connect(bridge, lrs, rate=5)
    fill(bridge, 40)
    other = Runtime.start(bridge.settings)

    def both() -> tuple[int, int]:
        return drain_outbox.drain(bridge), drain_outbox.drain(other)

    assert both() == (10, 0)  # two seconds' worth at once, and not a statement more
    clock[0] += dt.timedelta(seconds=0.5)
    assert both() == (2, 0)
    clock[0] += dt.timedelta(seconds=0.5)
    assert (drain_outbox.drain(other), drain_outbox.drain(bridge)) == (3, 0)
    clock[0] += dt.timedelta(hours=1)  # what was not used is not kept
    assert both() == (10, 0)
    assert waiting(bridge) == 15
    other.db.close()


def test_what_was_wrong_before_an_admin_mended_it_stops_nothing(bridge: Runtime, lrs: Lrs) -> None:
    connect(bridge, lrs)
    fill(bridge, 3)

    def mended_meanwhile(lrs: Lrs, ids: list[str]) -> Answer:
        with bridge.db.write() as session:
            row = session.scalars(select(Connection)).one()
            row.config = {**row.config, "secret": bridge.vault.seal("the right one")}
        return 401, {}, ""

    lrs.script.append(mended_meanwhile)
    assert drain_outbox.drain(bridge) == 0
    assert connection(bridge).problem is None
    assert drain_outbox.drain(bridge) == 3
