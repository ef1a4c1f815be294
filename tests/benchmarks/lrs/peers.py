"""Two LRSs that others made, each empty and on the measured core."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from tests.benchmarks.lrs.ours import Lrs
from tests.benchmarks.machine import cores, on
from tests.live.systems import LearningLocker, Ralph


@contextlib.contextmanager
def peers() -> Iterator[Mapping[str, Lrs]]:
    """Learning Locker, which keeps its statements in memory, and Ralph, which keeps them in a file."""
    with contextlib.ExitStack() as stack:
        with on(cores()[0]):
            systems = [stack.enter_context(LearningLocker()), stack.enter_context(Ralph())]
        yield {name: _of(system) for name, system in zip(("learning_locker", "ralph"), systems, strict=True)}


def _of(system: LearningLocker | Ralph) -> Lrs:
    at = urlsplit(system.endpoint)
    credential = base64.b64encode(f"{system.key}:{system.secret}".encode()).decode()
    return Lrs(at.netloc, at.path, f"Basic {credential}", 0, system.process_id)
