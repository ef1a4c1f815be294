"""LTI 1.3: whole launches a second beside the bound of one core, and launch validation beside pylti1p3 and ltijs."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks import Figure, Size
from tests.benchmarks.lti import launches, validation


def run(size: Size) -> Iterator[Figure]:
    yield from launches.run(size)
    yield from validation.run(size)
