"""What is written into a system: prompts and outcomes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar
from unittest import mock

import pytest
import requests

from bridge.connect import Outcome, Prompt, Receipt, Recipient, Rejected, Retryable, Unsupported
from bridge.connect.testing.connector import ConnectorContract
from bridge.connect.testing.played import (
    Answers,
    everything,
    holds,
    said_on_the_wire,
    sent,
    system_played_by,
    texts,
)

PROMPT = Prompt(
    id="0b9f7f6e-3a52-5d0e-9a39-6f0f6a3c1d11",
    title="Defending price in a renewal",
    say='Ærø & Søn asked for a discount; <b>five minutes</b> on "anchoring" help now.',
    launch_url="https://bridge.example/go/q7Zk2mXvT0",
    asset_kind="video",
    duration_seconds=300,
)


def an_outcome(*, asset_external_id: str, account_id: str, **changes: Any) -> Outcome:
    """A completed, passed outcome for write-back tests; ``changes`` are other fields of Outcome."""
    fields: dict[str, Any] = {
        "launch_id": "6f0c2c0e-2f0a-4ad8-8d7b-2f6f1f1b9a10",
        "completed": True,
        "success": True,
        "score": 0.9,
        "occurred_at": dt.datetime(2026, 3, 4, 5, 6, 7, tzinfo=dt.UTC),
    }
    return Outcome(asset_external_id=asset_external_id, account_id=account_id, **{**fields, **changes})


class ChannelContract(ConnectorContract):
    """A place where a prompt is shown. Give besides:

    - ``recipient``: the record and the account that the recorded delivery went to.
    - ``refusal``: what the system answers to an item that it will never take; a 422 to everything when left out.
    - ``markup``: True where the system shows HTML: the text of a prompt must then arrive escaped.
    - ``can_withdraw``: False where a prompt can't be taken back.
    """

    capability: ClassVar[str] = "channel"
    recipient: ClassVar[Recipient]
    refusal: ClassVar[Answers] = everything(422, text="refused")
    markup: ClassVar[bool] = False
    can_withdraw: ClassVar[bool] = True

    def actions(self) -> dict[str, Callable[[Any], object]]:
        return {**super().actions(), "channel": lambda connector: self.deliver(connector, "key-1")}

    def deliver(self, connector: Any, key: str) -> Receipt:
        receipt: Receipt = connector.deliver(PROMPT, self.recipient, idempotency_key=key)
        return receipt

    def wire(self, key: str) -> tuple[Receipt, list[requests.PreparedRequest]]:
        """One delivery, with the clock standing still: a signature may hold the time."""
        with system_played_by(self.answers) as calls, mock.patch("time.time", return_value=1772600767.0):
            return self.deliver(self.connector(), key), calls

    def test_the_prompt_reaches_the_system(self) -> None:
        receipt, calls = self.wire("key-1")
        shown = "\n".join(said_on_the_wire(call) for call in calls)
        assert PROMPT.launch_url in shown and PROMPT.say in shown
        assert receipt.external_id

    def test_the_text_of_a_prompt_is_no_markup(self) -> None:
        _, calls = self.wire("key-1")
        raw = "\n".join(text for call in calls for text in texts(sent(call)))
        assert ("<b>five minutes</b>" in raw) != self.markup, "escape the text where the system shows HTML, only there"

    def test_the_idempotency_key_reaches_the_system(self) -> None:
        first, again, other = (self.wire(key) for key in ("key-1", "key-1", "key-2"))
        assert first[0] == again[0], "the same delivery again has the same receipt"
        seen = [[(call.url, dict(call.headers), call.body) for call in calls] for _, calls in (first, again, other)]
        assert seen[0] == seen[1], "the same delivery again is the same request"
        assert seen[0] != seen[2], "the system can't tell a repeated delivery from a new one: the key is not used"

    def test_a_busy_channel_says_when_to_come_back(self) -> None:
        with system_played_by(everything(429, headers={"Retry-After": "17"})):
            error = self.fails("channel", Retryable)
        assert isinstance(error, Retryable) and error.retry_after == 17

    def test_what_the_system_never_takes_is_rejected(self) -> None:
        with system_played_by(self.refusal):
            self.fails("channel", Rejected)

    def test_a_prompt_is_taken_back(self) -> None:
        receipt, _ = self.wire("key-1")
        with system_played_by(self.answers) as calls:
            if not self.can_withdraw:
                with pytest.raises(Unsupported, match=" "):
                    self.connector().withdraw(receipt)
                return
            self.connector().withdraw(receipt)
        assert any(receipt.external_id in said_on_the_wire(call) for call in calls), "nothing was taken back"


class WriteBackContract(ConnectorContract):
    """The outcome into the system of record. Give besides:

    - ``outcome``: what is written (``an_outcome`` makes one).
    - ``written``: what one of the requests must hold (as ``Answer.sends``).
    - ``refusals``: each of the ways in which the system refuses an outcome for good.
    """

    capability: ClassVar[str] = "write-back"
    outcome: ClassVar[Outcome]
    written: ClassVar[Mapping[str, Any]]
    refusals: ClassVar[Sequence[Answers]] = (everything(422, text="refused"),)

    def actions(self) -> dict[str, Callable[[Any], object]]:
        return {**super().actions(), "write-back": lambda c: c.record(self.outcome, idempotency_key="key-1")}

    def recorded_once(self) -> tuple[Receipt, list[requests.PreparedRequest]]:
        with system_played_by(self.answers) as calls:
            return self.connector().record(self.outcome, idempotency_key="key-1"), calls

    def test_the_outcome_reaches_the_system(self) -> None:
        receipt, calls = self.recorded_once()
        assert receipt.external_id
        assert any(holds(sent(call), self.written) for call in calls), [sent(call) for call in calls]

    def test_the_same_outcome_again_is_the_same_request(self) -> None:
        (first, calls), (second, again) = self.recorded_once(), self.recorded_once()
        assert first == second
        assert [(call.url, call.body) for call in calls] == [(call.url, call.body) for call in again]

    def test_an_outcome_that_is_refused_says_why(self) -> None:
        for answers in self.refusals:
            with system_played_by(answers):
                error = self.fails("write-back", Rejected)
            assert " " in str(error)
