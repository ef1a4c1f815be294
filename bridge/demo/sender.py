"""Desk's webhooks: each event leaves by itself after it was saved, and is sent again until it was taken.

An event is a CloudEvent in structured mode, signed by Standard Webhooks; no form ever waits for the receiver.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator

import requests

from bridge.connect.cloudevents import STRUCTURED, to_structured
from bridge.connect.signing import sign_standard_webhook
from bridge.demo.records import Outgoing, Records

#: Seconds to connect, and to wait for an answer.
TIMEOUT = (2.0, 5.0)
LONGEST_PAUSE = 60.0
TRIES = 30
#: The answer of a receiver that wants no more events.
GONE = 410


class Sender:
    """Sends what waits in ``records`` to ``url``; ``nudge`` says that there is something new."""

    def __init__(self, records: Records, url: str, secret: str, source: str) -> None:
        self._records, self._url, self._secret, self._source = records, url, secret, source
        self._session = requests.Session()
        self._nudged = threading.Event()
        self._ended = False

    def nudge(self) -> None:
        """Say that there is something to send."""
        self._nudged.set()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Send in the background for as long as the block runs."""
        thread = threading.Thread(target=self._run, name="sender", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended = True
            self.nudge()
            thread.join(sum(TIMEOUT) + 1)

    def _run(self) -> None:
        while not self._ended:
            self._nudged.clear()
            self.send_due()
            due = self._records.next_due()
            self._nudged.wait(None if due is None else max(0.0, due - time.time()))

    def send_due(self) -> None:
        """Send every event whose time has come, once."""
        for event in self._records.events(due_by=time.time()):
            self._send(event)

    def _send(self, event: Outgoing) -> None:
        body = to_structured(event.id, event.type, self._source, event.data, subject=event.subject, time=event.at)
        headers = {"Content-Type": STRUCTURED, **sign_standard_webhook(self._secret, event.id, body)}
        again: float | None = time.time() + _pause(event.attempts)
        received_as = None
        try:
            answer = self._session.post(self._url, body, headers=headers, timeout=TIMEOUT, allow_redirects=False)
        except requests.RequestException as error:
            said = f"no answer ({type(error).__name__})"
        else:
            said = f"{answer.status_code} {answer.reason}"
            received_as = _received_as(answer)
            again = None if answer.ok or answer.status_code == GONE else again
        if event.attempts + 1 >= TRIES:
            again = None
        self._records.settle(event.id, said, again_at=again, received_as=received_as)


def _received_as(answer: requests.Response) -> str | None:
    """The id that the receiver gave the event, where it says one."""
    try:
        return str(answer.json()["events"][0]["id"]) if answer.ok else None
    except (requests.JSONDecodeError, LookupError, TypeError):
        return None


def _pause(attempts: int) -> float:
    return min(LONGEST_PAUSE, 0.5 * 2.0**attempts) * random.uniform(0.75, 1.25)  # noqa: S311
