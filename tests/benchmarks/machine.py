"""The machine under the benchmarks: which core works and which one measures, and servers that run on one of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import psycopg

from tests.conftest import POSTGRES

START_SECONDS = 60.0
_TICK = os.sysconf("SC_CLK_TCK")


def cores() -> tuple[set[int], set[int]]:
    """The core of what is measured, and those of everything around it; the same one where there is only one."""
    *others, measured = sorted(os.sched_getaffinity(0))
    return {measured}, set(others) or {measured}


@contextlib.contextmanager
def on(chosen: set[int]) -> Iterator[None]:
    """Run this thread, and what it starts, on these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, chosen)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def move(processes: Iterable[int], chosen: set[int]) -> None:
    """Keep processes on these cores, as far as this user may say so."""
    for process in processes:
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.sched_setaffinity(process, chosen)


def backends(database: str) -> list[int]:
    """PostgreSQL's own processes for a database, if they are on this machine."""
    with psycopg.connect(f"{POSTGRES}/postgres", autocommit=True) as connection:
        rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s", (database,)).fetchall()
    return [row[0] for row in rows]


def cpu_seconds(process: int) -> float:
    """The processor time that a process has used, all its threads together."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


@contextlib.contextmanager
def server(module: str, *arguments: str, ready: str, env: Mapping[str, str], folder: Path) -> Iterator[int]:
    """A server of ours on the measured core: ``python -m module``; yields its process id once ``ready`` answers."""
    log = folder / f"{module}.log"
    root = str(Path(__file__).parents[2])
    with on(cores()[0]), log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": root, **env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(process, ready, log)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{url} does not answer:\n{log.read_text()[-4000:]}")
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def median(values: Sequence[float]) -> float:
    """The middle one: a moment in which somebody else used the machine does not count."""
    return sorted(values)[len(values) // 2]
