"""The built-in LRS on PostgreSQL, with many statements in it: storing in batches, and the usual queries.

The server is ``flowbridge web``, one process on one core. Beside it in the same run: Learning Locker's statements
service, and Ralph.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks import Figure, Size
from tests.benchmarks.lrs import finding, storing
from tests.benchmarks.lrs.ours import bridge_with
from tests.benchmarks.machine import cores, on


def run(size: Size) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder, on(cores()[1]), bridge_with(size.statements, Path(folder)) as ours:
        yield from finding.run(ours, size)
        yield from storing.run(ours, size)
