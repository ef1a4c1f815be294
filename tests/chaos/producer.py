"""Who states things, and may be killed at any time.

``python -m tests.chaos.producer WAY FOLDER COUNT POISONED SECONDS``, a process of its own for each of the two ways.
The next step to do is in ``FOLDER/WAY.next``, written after each one; a step during which it was killed is done again
as a whole, under the same ids. It ends well when every statement was taken, however often it had to ask.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import requests
from sqlalchemy.exc import DBAPIError

from bridge.flows.runtime import Runtime
from bridge.settings import Settings
from bridge.store.tables import Audit
from bridge.xapi import ledger
from tests.chaos.plan import Statements

AGAIN_SECONDS = 0.1
ACTOR = "chaos"


class Ledger:
    """States in transactions of the bridge's own: a fact, here a line of the audit, and the statement about it."""

    def __init__(self) -> None:
        self._runtime = Runtime.start(Settings.load())
        self._issuer = self._runtime.settings.issuer

    def take(self, payloads: list[bytes]) -> bool:
        """Whether all of them are in the database now."""
        try:
            for payload in payloads:
                self._state(payload)
        except DBAPIError:
            return False
        return True

    def _state(self, payload: bytes) -> None:
        with self._runtime.db.write() as session:
            if ledger.add(session, payload, issuer=self._issuer):
                session.add(Audit(actor=ACTOR, action="learner.answer", subject=json.loads(payload)["id"]))


class Wire:
    """States by POST to the built-in LRS, as other programs do."""

    def __init__(self) -> None:
        settings = Settings.load()
        self._url = f"http://{settings.host}:{settings.port}/xapi/statements"
        self._session = requests.Session()
        self._session.auth = (os.environ["CHAOS_KEY"], os.environ["CHAOS_SECRET"])
        self._session.headers.update({"X-Experience-API-Version": "1.0.3", "Content-Type": "application/json"})

    def take(self, payloads: list[bytes]) -> bool:
        """Whether it said that it has all of them."""
        try:
            answer = self._session.post(self._url, data=b"[" + b",".join(payloads) + b"]", timeout=(2, 10))
        except requests.RequestException:
            return False
        if 400 <= answer.status_code < 500:
            raise SystemExit(f"the bridge refuses what it must take: {answer.status_code} {answer.text[:500]}")
        return answer.ok


def main(arguments: list[str]) -> None:
    way, folder, count, poisoned, seconds = arguments
    statements = Statements(int(count), int(poisoned), float(seconds))
    steps = statements.steps("http" if way == "http" else "ledger")
    progress = Path(folder) / f"{way}.next"
    first = int(progress.read_text()) if progress.exists() else 0
    target = Wire() if way == "http" else Ledger()
    began, pause = time.monotonic(), statements.seconds / len(steps)
    for place, step in enumerate(steps[first:], 1):
        payloads = [statements.payload(number) for number in step]
        while not target.take(payloads):
            time.sleep(AGAIN_SECONDS)
        _write(progress, str(first + place))
        time.sleep(max(0.0, began + place * pause - time.monotonic()))


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    made = path.with_suffix(".new")
    made.write_text(text)
    made.replace(path)


if __name__ == "__main__":
    main(sys.argv[1:])
