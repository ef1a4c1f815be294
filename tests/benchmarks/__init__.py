"""Benchmarks: each is a package here with ``run(size)``, which measures beside a peer or a physical limit.

A figure says what was measured, what it was measured beside in the same run, and whether the target is met.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: how often everything is repeated, for how long each time, and by how many at once."""

    rounds: int = 5
    seconds: float = 3.0
    connections: int = 16
    people: int = 64
    #: How many rows wait in a queue whose growth is measured.
    backlogs: tuple[int, ...] = (10_000, 100_000)
    #: That the LRS holds while it is measured.
    statements: int = 1_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """One line of a benchmark; ``ratio`` is to the bound or peer that the target is about, None where there is none."""

    benchmark: str
    figure: float
    unit: str
    beside: Mapping[str, float]
    ratio: float | None = None
    target: float | None = None

    @property
    def met(self) -> bool | None:
        return None if self.ratio is None or self.target is None else self.ratio >= self.target

    def line(self) -> str:
        """The figure as one JSON object."""
        return json.dumps({**dataclasses.asdict(self), "met": self.met})
