"""Commands that run with all that they start, and end all at once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

STOP_SECONDS = 30.0


class Tree:
    """A command; ``start`` it again as often as it takes, its output goes to one file."""

    def __init__(self, name: str, argv: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self.name, self.log = name, folder / f"{name.replace(' ', '-')}.log"
        self._argv, self._environment = argv, environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def code(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.poll() if self._process else None

    def below(self) -> dict[int, str]:
        """The processes that it started and those that they started, with the last word of their command lines."""
        if self._process is None or self.code is not None:
            return {}
        return {pid: _last_word(pid) for pid in _below(self._process.pid)}

    def kill(self) -> None:
        """End it and all below it, without a word."""
        if self._process is not None:
            for pid in (self._process.pid, *_below(self._process.pid)):
                kill(pid)
            self._process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """End it as who operates it does; what does not end in time is killed."""
        if self._process is None or self.code is not None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        self.kill()


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _below(root: int) -> list[int]:
    """All below a process, and what is left of its session."""
    fields: dict[int, list[str]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields[int(stat.parent.name)] = stat.read_text().rpartition(")")[2].split()
    found = {pid for pid, (_, _, _, session, *_) in fields.items() if int(session) == root} | {root}
    waiting = list(found)
    while waiting:
        parent = waiting.pop()
        children = {pid for pid, (_, of, *_) in fields.items() if int(of) == parent} - found
        found |= children
        waiting += children
    return sorted(found - {root})


def _last_word(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").rpartition(b"\0")[2].decode()
    except OSError:
        return ""
