"""``flowbridge serve``: web, worker and beat as children of one supervisor.

A child that dies is started again, later each time. All of them end with the supervisor, however it ends: on Linux the
kernel tells them (PR_SET_PDEATHSIG). One supervisor serves a database at a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import http.client
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

import typer
from pydantic import SecretStr
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from bridge.flows import setup
from bridge.flows.runtime import Runtime
from bridge.settings import Settings

#: A child that lived so long is healthy: its next death is its first again.
HEALTHY_SECONDS = 30.0
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 15.0
#: A child that dies so often before anything was ever ready will not do better: say so and end.
HOPELESS = 3
#: How long web, then worker, then all others may take to end before they are killed: together under 10 s.
GRACE_SECONDS = (3.0, 5.0, 1.5)

_ADVISORY_LOCK = 0x666C6F77  # "flow"

# Between fork and exec nothing may run Python in a process with threads, so that the child asks for its own death by
# itself: it begins as this, in about 20 ms, and becomes the program.
_BECOME = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 15, 0, 0, 0)  # PR_SET_PDEATHSIG, SIGTERM
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)  # the supervisor was quicker to die
os.execvp(sys.argv[2], sys.argv[2:])
"""


class CannotServe(Exception):
    """Serving can't begin; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Child:
    """A program to keep running: its name in the logs, its command line, and what it has in its environment besides."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)


def serve(settings: Settings, extra: Sequence[Child] = ()) -> int:
    """Run web, worker, beat and ``extra`` until SIGINT or SIGTERM; returns the exit code.

    Raises CannotServe when the address is taken or the database is served already. The first admin's password goes to
    standard output, once; logs go to standard error.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_only_one(settings))
        _need_free(settings)
        _prepare(settings)
        return Supervisor(settings, [*_ours(settings), *extra]).run()


def _ours(settings: Settings) -> list[Child]:
    names = ["web", "worker"] if settings.embedded_broker else ["web", "worker", "beat"]
    env = _environment(settings)
    return [Child(name, [sys.executable, "-P", "-m", "bridge.cli_serve", name], env) for name in names]


def _environment(settings: Settings) -> dict[str, str]:
    """What children must be told: the settings that they would not find by themselves."""
    found = Settings.load()
    told = {}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if value != getattr(found, name):
            told[f"FLOWBRIDGE_{name.upper()}"] = (
                value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            )
    return told


def _prepare(settings: Settings) -> None:
    runtime = Runtime.start(settings)
    try:
        first = setup.prepare(runtime)
    finally:
        runtime.db.close()
    if first is not None:
        typer.echo(f"The first admin is {first.email} with the password {first.password}")
        typer.echo("It is shown this once and must be replaced at the first sign-in.")


def _need_free(settings: Settings) -> None:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            where = f"{settings.host}:{settings.port}"
            if error.errno == errno.EADDRINUSE:
                raise CannotServe(
                    f"Another program is listening on {where} already. Stop it, or choose another port:"
                    f" flowbridge serve --port {settings.port % 65535 + 1}"
                ) from None
            raise CannotServe(
                f"Can't listen on {where}: {error.strerror}. Change FLOWBRIDGE_HOST or FLOWBRIDGE_PORT."
            ) from None


@contextlib.contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    """Hold the right to serve the database, which ends with the process however it ends."""
    url = make_url(settings.database)
    if not url.drivername.startswith("sqlite"):
        with _postgres_lock(settings.database):
            yield
        return
    if url.database in (None, "", ":memory:"):
        raise CannotServe(
            "FLOWBRIDGE_DATABASE_URL: a database in memory can't be shared by web and worker; name a file"
        )
    with _lock_file(Path(f"{url.database}-serve")) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise CannotServe(
                f"The database {url.database} is being served already, by process {file.read().strip() or '?'}."
                " Stop that one first (Ctrl-C there), or serve another database: FLOWBRIDGE_HOME=..."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _lock_file(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path.open("a+")
    except OSError as error:
        raise CannotServe(
            f"Can't write to {path.parent}: {error.strerror}. Change its owner, or choose another FLOWBRIDGE_HOME."
        ) from None


@contextlib.contextmanager
def _postgres_lock(database: str) -> Iterator[None]:
    shown = make_url(database).render_as_string(hide_password=True)
    engine = create_engine(database, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        connection = engine.connect()
    except OperationalError as error:
        raise CannotServe(
            f"The database {shown} can't be reached: {error.orig}. Start it, or change FLOWBRIDGE_DATABASE_URL."
        ) from None
    with connection:
        if not connection.scalar(text("select pg_try_advisory_lock(:key)"), {"key": _ADVISORY_LOCK}):
            raise CannotServe(
                f"The database {shown} is being served already, perhaps on another machine."
                " Stop that one first, or run `flowbridge web` and `flowbridge worker` beside it."
            )
        yield


class _Running:
    """One child: its process, and when it may be started next."""

    def __init__(self, child: Child, prefix: str) -> None:
        self.child, self._prefix = child, prefix
        self.process: subprocess.Popen[str] | None = None
        self.deaths = 0
        self.not_before = 0.0
        self._since = 0.0

    def start(self) -> None:
        argv = [sys.executable, "-I", "-S", "-c", _BECOME, str(os.getpid()), *self.child.argv]
        self.process = subprocess.Popen(  # noqa: S603
            argv,
            env={**os.environ, **self.child.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._since = time.monotonic()
        threading.Thread(target=self._pump, args=(self.process,), daemon=True).start()

    def _pump(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                _say(line.rstrip("\n"), self._prefix)

    def died(self) -> str:
        """Notice the end of the process and set when to start it again; returns how it ended, empty if it lives."""
        if self.process is None or (code := self.process.poll()) is None:
            return ""
        lived = time.monotonic() - self._since
        self.deaths = 1 if lived > HEALTHY_SECONDS else self.deaths + 1
        self.not_before = time.monotonic() + min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (self.deaths - 1))
        self.signal(signal.SIGKILL)  # what it started itself must not live on beside its successor
        self.process = None
        return f"by signal {-code}" if code < 0 else f"with exit code {code}"

    def signal(self, number: int) -> None:
        """Send a signal to the child's whole session, its own children included."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Supervisor:
    """Keeps children running until it is told to stop, then ends them in their order."""

    def __init__(self, settings: Settings, children: Sequence[Child]) -> None:
        self._settings = settings
        width = max(len(child.name) for child in children)
        json = settings.log_format == "json"
        self._children = [_Running(child, "" if json else f"{child.name:<{width}} | ") for child in children]
        self._ready = False
        self._wake, wake = os.pipe()
        os.set_blocking(wake, False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def run(self) -> int:
        """Supervise; returns 0 after a signal to stop, 1 when a child can't be kept running from the beginning."""
        try:
            while not self._told_to_stop(0.1 if not self._all_well() else 1.0):
                hopeless = [running.child.name for running in self._children if running.deaths >= HOPELESS]
                if hopeless and not self._ready:
                    _say(f"{hopeless[0]} ended {HOPELESS} times before it was ready; the reason is in its lines above")
                    return 1
            return 0
        finally:
            self._stop()

    def _all_well(self) -> bool:
        """Start what is to be started, look whether the site answers; False while there is something to wait for."""
        for running in self._children:
            if how := running.died():
                pause = max(0.0, running.not_before - time.monotonic())
                _say(f"{running.child.name} ended {how}; it starts again in {pause:.1f} s")
            if running.process is None and time.monotonic() >= running.not_before:
                running.start()
        if not self._ready and self._answers():
            self._ready = True
            typer.echo(f"flowbridge is ready at {self._settings.issuer} (Ctrl-C stops it)")
        return self._ready and all(running.alive for running in self._children)

    def _answers(self) -> bool:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._settings.host, self._settings.host)  # noqa: S104
        connection = http.client.HTTPConnection(host, self._settings.port, timeout=1.0)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _told_to_stop(self, seconds: float) -> bool:
        """Wait for a signal; True if it was one to stop."""
        readable, _, _ = select.select([self._wake], [], [], max(0.0, seconds))
        return bool(readable and set(os.read(self._wake, 64)) - {signal.SIGCHLD})

    def _stop(self) -> None:
        groups = [self._children[:1], self._children[1:2], self._children[2:]]
        hurry = False
        for group, grace in zip(groups, GRACE_SECONDS, strict=True):
            until = time.monotonic() + grace
            for running in group:
                running.signal(signal.SIGTERM)
            while not hurry and any(running.alive for running in group) and time.monotonic() < until:
                hurry = self._told_to_stop(until - time.monotonic())
            for running in group:
                if running.alive:
                    _say(f"{running.child.name} did not end in time and is killed")
                running.signal(signal.SIGKILL)


def _say(line: str, prefix: str = "") -> None:
    # Where nobody reads the logs any more, the children must not wait for it.
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{prefix}{line}\n")
        sys.stderr.flush()
