"""Real processes of the real commands, with stand-ins for the flows and the web application (``standins/``)."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from bridge.settings import Settings
from bridge.store import Database, now, tables
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
STAND_INS = Path(__file__).parent / "standins"


def until(condition: Callable[[], Any], *, seconds: float, what: str) -> Any:
    """The first true answer of ``condition``; fails the test when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.005)
    return answer


class Process:
    """A command of flowbridge, its output, and its children."""

    def __init__(self, env: dict[str, str], argv: list[str]) -> None:
        self.began = time.monotonic()
        self.popen = subprocess.Popen(
            [sys.executable, *argv],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers = [
            threading.Thread(target=lines.extend, args=(pipe,))
            for lines, pipe in ((self.out, self.popen.stdout), (self.err, self.popen.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def children(self) -> dict[str, int]:
        """Process ids by the last word of the command line, which is the child's name."""
        found = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError, IndexError):
                if int(stat.read_text().rpartition(")")[2].split()[1]) == self.popen.pid:
                    words = (stat.parent / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
                    if b"-I" not in words:  # not yet what it will become
                        found[words[-1].decode()] = int(stat.parent.name)
        return found

    def says(self, text: str, *, seconds: float = 60) -> str:
        """Wait for a line with ``text`` in either stream; returns the line."""

        def look() -> str:
            if self.popen.poll() is not None:
                for reader in self._readers:
                    reader.join(10)
                assert text in "".join(self.out + self.err), "".join(self.out + self.err)
            return next((line for line in (*self.out, *self.err) if text in line), "")

        return str(until(look, seconds=seconds, what=f"'{text}' in the output"))

    def end(self, number: int = signal.SIGTERM, *, seconds: float = 20) -> int:
        """Send a signal and wait; returns the exit code."""
        self.popen.send_signal(number)
        code = self.popen.wait(seconds)
        for reader in self._readers:
            reader.join(seconds)
        return code

    def close(self) -> None:
        children = self.children().values()
        for pid in (*children, self.popen.pid):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        self.popen.wait(10)
        for reader in self._readers:
            reader.join(10)
        for pipe in (self.popen.stdout, self.popen.stderr):
            assert pipe is not None
            pipe.close()


class Bridge:
    """One installation: a home, a database, a port; starts commands and looks into the database."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.port = free_port()
        values = {"HOME": str(home), "PORT": str(self.port), "CONFIG": str(home / "none.toml"), **settings}
        ours = {f"FLOWBRIDGE_{name}": value for name, value in values.items()}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLOWBRIDGE_")}
        self.env = {**inherited, **ours, "PYTHONPATH": f"{STAND_INS}{os.pathsep}{ROOT}"}
        self.home = home
        self.db = Database(settings.get("DATABASE_URL") or f"sqlite:///{home / 'flowbridge.db'}")
        self.processes: list[Process] = []

    def settings(self) -> Settings:
        names = {name.removeprefix("FLOWBRIDGE_").lower(): value for name, value in self.env.items()}
        return Settings.load(
            **{name: names[name] for name in Settings.model_fields if f"FLOWBRIDGE_{name.upper()}" in self.env}
        )

    def prepare(self) -> None:
        """What ``serve`` does first, for tests that start ``web`` or ``worker`` alone."""
        self.home.mkdir(exist_ok=True)
        tables.Base.metadata.create_all(self.db.engine)
        with self.db.write() as session:
            session.add(tables.Connection(name="shop", connector="webhook", config={}))

    def run(self, *command: str, **env: str) -> Process:
        argv = list(command) if command[0].endswith(".py") else ["-P", "-m", "bridge.cli_serve", *command]
        self.processes.append(Process({**self.env, **env}, argv))
        return self.processes[-1]

    def get(self, path: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer
        finally:
            connection.close()

    def ready(self) -> bool:
        try:
            return bool(self.get("/readyz"))
        except OSError:
            return False

    def add_event(self, **values: Any) -> uuid.UUID:
        row = tables.Event(
            id=uuid.uuid4(), connection_id=1, external_id=uuid.uuid4().hex, type="t", source="s", subject="",
            time=now(), people={}, **{"data": {}, **values},
        )  # fmt: skip
        with self.db.write() as session:
            session.add(row)
        return row.id

    def decided(self, event_id: uuid.UUID, *, seconds: float = 10) -> float:
        """Wait until the event is decided; returns the seconds that it took since it was received."""

        def look() -> tables.Event | None:
            with self.db.read() as session:
                row = session.get_one(tables.Event, event_id)
                return row if row.decided_at else None

        row = until(look, seconds=seconds, what=f"event {event_id} decided")
        return float((row.decided_at - row.received_at).total_seconds())

    def calls(self, name: str) -> int:
        """How often a flow was called."""
        path = self.home / "calls"
        return path.read_text().splitlines().count(name) if path.exists() else 0

    def undecided(self) -> int:
        with self.db.read() as session:
            return len(session.scalars(select(tables.Event.id).where(tables.Event.decided_at.is_(None))).all())

    def close(self) -> None:
        for process in self.processes:
            process.close()
        self.db.close()


@pytest.fixture
def make_bridge(tmp_path: Path) -> Iterator[Callable[..., Bridge]]:
    made: list[Bridge] = []

    def make(**settings: str) -> Bridge:
        made.append(Bridge(tmp_path / f"home{len(made)}", **settings))
        return made[-1]

    yield make
    for bridge in made:
        bridge.close()


@pytest.fixture
def bridge(make_bridge: Callable[..., Bridge]) -> Bridge:
    """An installation with the defaults: SQLite and the embedded broker."""
    return make_bridge()
