"""A prompt through a channel: one receipt however often it is tried, and a verdict for everything that goes wrong."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from bridge.connect import ConfigError, Receipt, Rejected, Retryable
from bridge.domain.events import BusinessEvent
from bridge.flows import accept_event, configure, decide_prompts, deliver_prompt, open_launch, show_prompts
from bridge.flows.runtime import Runtime
from bridge.store import now, queue, tables
from tests.flows.conftest import organise
from tests.flows.scripted import Script

CHANNELS = """
connections:
  - {name: crm, connector: scripted_crm}
  - {name: chat, connector: scripted_crm}
people:
  - {key: E001, name: Sam Seller, email: sam@example.com, accounts: {desk: sam, crm: sam}}
rules:
  - name: enterprise-pricing
    on: deal
    for: owner
    offer: {asset: guides/pricing.md}
    say: "%s"
    through: [%s]
"""


def prompted(
    runtime: Runtime, tmp_path: Path, event: BusinessEvent, *, through: str = "crm", say: str = "Read this."
) -> tables.Prompt:
    """The one prompt of an event."""
    file = tmp_path / "channels.yaml"
    file.write_text(CHANNELS % (say, through))
    configure.apply(runtime, file)
    accept_event.accept(runtime, "crm", [event])
    decide_prompts.decide(runtime)
    with runtime.db.read() as session:
        prompt = session.scalars(select(tables.Prompt).where(tables.Prompt.event.has(external_id=event.id))).one()
    assert prompt.offered, prompt.detail
    return prompt


@pytest.fixture
def prompt(organised: Runtime, script: Script, tmp_path: Path, event: Callable[..., BusinessEvent]) -> tables.Prompt:
    del script  # its connectors must be there
    return prompted(organised, tmp_path, event(type="deal"))


def delivery(runtime: Runtime, channel: str = "crm") -> tables.Delivery:
    with runtime.db.read() as session:
        return session.scalars(select(tables.Delivery).where(tables.Delivery.channel == channel)).one()


def problem(runtime: Runtime, name: str = "crm") -> str | None:
    with runtime.db.read() as session:
        return session.scalars(select(tables.Connection.problem).where(tables.Connection.name == name)).one()


def make_due(runtime: Runtime) -> None:
    """Time passes until everything that waits is due."""
    with runtime.db.write() as session:
        for row in session.scalars(select(tables.Delivery).where(tables.Delivery.due_at.is_not(None))):
            row.due_at = now()


def test_a_prompt_arrives_with_its_link_and_leaves_a_receipt(
    organised: Runtime, script: Script, prompt: tables.Prompt
) -> None:
    script.turns = [Receipt("note-17", url="http://crm.test/notes/17")]
    assert deliver_prompt.deliver(organised) == 1
    ((key, shown, to),) = script.delivered
    row = delivery(organised)
    assert (row.state, row.receipt) == ("delivered", {"external_id": "note-17", "url": "http://crm.test/notes/17"})
    assert (row.due_at, row.error, key) == (None, None, str(row.id))
    assert (shown.title, shown.say, shown.duration_seconds) == ("Pricing for enterprises", "Read this.", 90)
    assert (to.subject, to.account_id, to.email) == ("opportunity/42", "sam", "sam@example.com")
    ticket = shown.launch_url.removeprefix("http://bridge.test/go/")
    assert open_launch.look(organised, ticket).prompt_id == prompt.id
    assert deliver_prompt.deliver(organised) == 0


def test_another_systems_record_is_not_named(
    organised: Runtime, script: Script, tmp_path: Path, event: Callable[..., BusinessEvent]
) -> None:
    prompted(organised, tmp_path, event(type="deal"), through="chat")
    deliver_prompt.deliver(organised)
    assert [(to.subject, to.account_id) for _, _, to in script.delivered] == [("", "")]


@pytest.mark.usefixtures("prompt")
def test_what_could_not_be_delivered_keeps_its_place_and_waits_as_asked(organised: Runtime, script: Script) -> None:
    script.turns = [Retryable("the CRM is down", retry_after=90)]
    deliver_prompt.deliver(organised)
    row = delivery(organised)
    assert (row.state, row.error, row.lease, row.attempts) == ("waiting", "the CRM is down", None, 1)
    assert row.due_at is not None
    assert dt.timedelta(seconds=80) < row.due_at - now() <= dt.timedelta(seconds=90)
    assert deliver_prompt.deliver(organised) == 0
    make_due(organised)
    deliver_prompt.deliver(organised)
    row = delivery(organised)
    assert (row.state, row.error) == ("delivered", None)
    assert len({key for key, _, _ in script.delivered}) == 1, "the second try has the key of the first"


@pytest.mark.usefixtures("prompt")
def test_what_is_refused_fails_for_good_with_the_systems_words(organised: Runtime, script: Script) -> None:
    script.turns = [Rejected("the CRM has no record 'opportunity/42'")]
    deliver_prompt.deliver(organised)
    row = delivery(organised)
    assert (row.state, row.due_at, row.error) == ("failed", None, "the CRM has no record 'opportunity/42'")
    assert problem(organised) is None


@pytest.mark.usefixtures("prompt")
def test_a_wrong_connection_is_told_to_the_admin_and_keeps_its_prompts(organised: Runtime, script: Script) -> None:
    script.turns = [ConfigError("the CRM refuses the token")]
    deliver_prompt.deliver(organised)
    assert (delivery(organised).state, problem(organised)) == ("waiting", "the CRM refuses the token")
    make_due(organised)
    deliver_prompt.deliver(organised)
    assert (delivery(organised).state, problem(organised)) == ("delivered", None)


@pytest.mark.usefixtures("prompt")
@pytest.mark.parametrize("failure", [Retryable("down"), ConfigError("no token"), KeyError("a fault")])
def test_a_prompt_that_is_of_no_use_any_more_is_given_up(
    organised: Runtime, script: Script, failure: Exception
) -> None:
    script.turns = [failure]
    with organised.db.write() as session:
        session.scalars(select(tables.Prompt)).one().created_at -= dt.timedelta(days=3)
    deliver_prompt.deliver(organised)
    assert (delivery(organised).state, delivery(organised).due_at) == ("failed", None)


def test_a_connector_that_breaks_keeps_nobody_else_waiting(
    organised: Runtime, script: Script, tmp_path: Path, event: Callable[..., BusinessEvent]
) -> None:
    prompted(organised, tmp_path, event(type="deal"), through="crm, chat")
    script.turns = [ZeroDivisionError("a fault of the connector")]
    assert deliver_prompt.deliver(organised) == 2
    with organised.db.read() as session:
        rows = session.scalars(select(tables.Delivery).order_by(tables.Delivery.state)).all()
    assert [row.state for row in rows] == ["delivered", "waiting"]
    assert rows[1].error == "the connector failed (ZeroDivisionError); see the log"


@pytest.mark.usefixtures("prompt")
def test_a_worker_that_dies_leaves_its_work_to_the_next_with_the_same_key(organised: Runtime, script: Script) -> None:
    class Killed(BaseException):
        """The process is gone."""

    script.turns = [Killed()]
    with pytest.raises(Killed):
        deliver_prompt.deliver(organised)
    assert deliver_prompt.deliver(organised) == 0, "its lease holds"
    make_due(organised)
    assert deliver_prompt.deliver(organised) == 1
    assert delivery(organised).state == "delivered"
    first, second = (key for key, _, _ in script.delivered)
    assert first == second


@pytest.mark.usefixtures("prompt")
def test_a_worker_whose_lease_ran_out_does_not_begin(organised: Runtime, script: Script) -> None:
    with organised.db.write() as session:
        token, (row,) = queue.claim(session, tables.Delivery, limit=1, lease_seconds=0)
    assert deliver_prompt.deliver(organised) == 1
    deliver_prompt._deliver(organised, row.id, token)
    assert len(script.delivered) == 1


@pytest.mark.usefixtures("prompt")
def test_a_verdict_of_a_worker_whose_lease_ran_out_does_not_count(organised: Runtime, script: Script) -> None:
    def too_late() -> Receipt:
        make_due(organised)
        deliver_prompt.deliver(organised)
        raise Rejected("it is there already")

    script.turns = [too_late]
    deliver_prompt.deliver(organised)
    assert delivery(organised).state == "delivered"


@pytest.mark.parametrize("length", [40, 41])
def test_a_text_is_cut_to_what_the_channel_can_carry(
    organised: Runtime, script: Script, tmp_path: Path, event: Callable[..., BusinessEvent], length: int
) -> None:
    prompted(organised, tmp_path, event(type="deal"), say="x" * length)
    deliver_prompt.deliver(organised)
    assert script.delivered[0][1].say == ("x" * 40 if length == 40 else "x" * 39 + "…")


@pytest.mark.usefixtures("prompt")
def test_a_connection_that_is_off_gets_its_prompts_when_it_is_on_again(organised: Runtime, script: Script) -> None:
    def switch(on: bool) -> None:
        with organised.db.write() as session:
            session.scalars(select(tables.Connection).where(tables.Connection.name == "crm")).one().enabled = on

    switch(False)
    deliver_prompt.deliver(organised)
    row = delivery(organised)
    assert (row.state, row.error, script.delivered) == ("waiting", "the connection 'crm' is switched off", [])
    switch(True)
    make_due(organised)
    deliver_prompt.deliver(organised)
    assert delivery(organised).state == "delivered"


def test_a_channel_that_is_none_any_more_fails_with_words(organised: Runtime, prompt: tables.Prompt) -> None:
    with organised.db.write() as session:
        session.scalars(select(tables.Connection).where(tables.Connection.name == "crm")).one().name = "gone"
    deliver_prompt.deliver(organised)
    assert (delivery(organised).state, prompt.offered) == ("failed", True)
    assert delivery(organised).error == "there is no connection 'crm' to deliver through"


def test_the_widget_says_itself_what_it_has_shown(
    organised: Runtime, script: Script, tmp_path: Path, event: Callable[..., BusinessEvent]
) -> None:
    """Also when it is quicker than the worker, which has a slow channel to serve first."""
    prompt = prompted(organised, tmp_path, event(type="deal"), through="crm, widget")
    assert [shown.id for shown in show_prompts.open_prompts(organised, prompt.person_id or 0)] == [prompt.id]

    seen: list[bool] = []

    def slow() -> Receipt:
        seen.append(delivery(organised, "widget").lease is not None)
        show_prompts.mark_shown(organised, prompt.id, prompt.person_id or 0)
        return Receipt("note-17")

    with organised.db.write() as session:  # the widget's is claimed with the other, and comes after it
        for row in session.scalars(select(tables.Delivery).where(tables.Delivery.channel == "widget")):
            row.due_at = now()
    script.turns = [slow]
    assert deliver_prompt.deliver(organised) == 2
    assert seen == [True], "the widget's delivery was in the worker's hands at that time"
    row = delivery(organised, "widget")
    assert (row.state, row.due_at) == ("shown", None)
    assert row.receipt is not None


@pytest.mark.postgres
def test_the_same_on_postgresql(
    pg_runtime: Runtime, script: Script, guides: Path, tmp_path: Path, event: Callable[..., BusinessEvent]
) -> None:
    organise(pg_runtime, guides, tmp_path)
    prompted(pg_runtime, tmp_path, event(type="deal"), through="crm, widget")
    script.turns = [Retryable("down", retry_after=1)]
    assert deliver_prompt.deliver(pg_runtime) == 2
    make_due(pg_runtime)
    assert deliver_prompt.deliver(pg_runtime) == 1
    assert delivery(pg_runtime).state == "delivered"
