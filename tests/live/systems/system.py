"""What all real systems of the live tests have in common: one server process, started clean and ended for certain."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import requests

from tests.live.systems.install import NotInstalled, Part, bare_environment, live_directory
from tests.ports import free_port

REQUEST_SECONDS = 30.0


class StartFailed(Exception):
    """A system did not answer in time, or ended before it did. The message carries the tail of its log."""


class System(ABC):
    """One real system on a port of 127.0.0.1, used as a context manager: it runs from enter to exit.

    Every start works on a fresh copy of what the installation prepared, in a folder of its own that is gone after exit.
    The process leads a session of its own, which is killed as a whole. Raises NotInstalled and StartFailed.
    """

    name: ClassVar[str]
    needs_node: ClassVar[bool] = False
    parts: ClassVar[tuple[Part, ...]]
    ready_path: ClassVar[str]
    start_seconds: ClassVar[float] = 90.0

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.headers["Connection"] = "close"
        self.folder = live_directory() / "run" / f"{self.name}-not-started"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        """Scheme, host and port, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def process_id(self) -> int:
        """Of the running server."""
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    @property
    def log_path(self) -> Path:
        return self.folder / "server.log"

    def log_tail(self, characters: int = 4000) -> str:
        """The end of what the server has printed so far."""
        return self.log_path.read_text(errors="replace")[-characters:] if self.log_path.is_file() else ""

    def __enter__(self) -> Self:
        if not all(part.is_current for part in self.parts):
            raise NotInstalled(self.name)
        runs = live_directory() / "run"
        runs.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=runs))
        try:
            self.prepare()
            self._start()
            self._wait_until_ready()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @abstractmethod
    def prepare(self) -> None:
        """Put the data of this run into `self.folder`, before the start."""

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """The program and its arguments; it stays in the foreground."""

    def environment(self) -> Mapping[str, str]:
        """Variables on top of PATH and HOME, which is all that is handed on."""
        return {}

    def ready_headers(self) -> Mapping[str, str]:
        """Headers that make `ready_path` answer with success."""
        return {}

    def release(self) -> None:  # noqa: B027  (most systems keep nothing outside of their folder)
        """Give back what `prepare` took outside of `self.folder`, after the process has ended."""

    def _start(self) -> None:
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [str(word) for word in self.command()],
                cwd=self.folder,
                env=bare_environment(self.folder, self.environment()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + self.start_seconds
        while not self._is_ready():
            if (code := self._process.poll()) is not None:
                raise StartFailed(f"{self.name} ended with {code} while it started:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise StartFailed(f"{self.name} did not answer in {self.start_seconds:.0f} s:\n{self.log_tail()}")
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            return self.http.get(self.base_url + self.ready_path, headers=self.ready_headers(), timeout=5).ok
        except requests.RequestException:
            return False

    def _end(self) -> None:
        self.http.close()
        if self._process is not None:
            end_session(self._process)
            self._process = None
        try:
            self.release()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


def end_session(process: subprocess.Popen[bytes], grace_seconds: float = 3.0) -> None:
    """End a process that leads a session, and all that it started: ask first, then kill what is left."""
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(grace_seconds)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
