"""The plot of the overview: three bars a day, as numbers that a template draws."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bridge.flows.overview import Day

#: What is drawn, in this order: attribute of a day, and its word.
SERIES = (("offered", "Offered"), ("opened", "Opened"), ("completed", "Completed"))
WIDTH, HEIGHT = 1040, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 2, 44, 14, 30
_GAP, _BETWEEN = 0.28, 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class Bar:
    """One bar; ``label`` says in words what it shows."""

    series: str
    x: float
    y: float
    width: float
    height: float
    label: str


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """A line or word of an axis, at a place on it."""

    at: float
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Plot:
    """Everything that is drawn, in the units of the drawing."""

    bars: tuple[Bar, ...]
    lines: tuple[Mark, ...]
    days: tuple[Mark, ...]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    bottom: float = HEIGHT - _BOTTOM


def plot(days: Sequence[Day]) -> Plot:
    """Lay out the bars of some days on one scale."""
    top = _round_up(max((getattr(day, name) for day in days for name, _ in SERIES), default=0))
    floor, room = HEIGHT - _BOTTOM, HEIGHT - _BOTTOM - _TOP
    slot = (WIDTH - _LEFT - _RIGHT) / max(len(days), 1)
    bar = (slot * (1 - _GAP) - _BETWEEN * (len(SERIES) - 1)) / len(SERIES)
    bars, labels = [], []
    for number, day in enumerate(days):
        start = _LEFT + slot * number + slot * _GAP / 2
        for place, (name, word) in enumerate(SERIES):
            value = getattr(day, name)
            height = room * value / top
            label = f"{day.day:%d %B}: {value} {word.lower()}"
            x = start + place * (bar + _BETWEEN)
            bars.append(Bar(name, round(x, 1), round(floor - height, 1), round(bar, 1), round(height, 1), label))
        labels.append(Mark(round(_LEFT + slot * (number + 0.5), 1), f"{day.day.day} {day.day:%b}"))
    lines = [Mark(round(floor - room * share, 1), f"{top * share:,.0f}") for share in (0, 0.5, 1)]
    return Plot(tuple(bars), tuple(lines), tuple(labels))


def _round_up(value: int) -> int:
    """The next even number that begins with 1, 2, 4, 6 or 8 and ends in noughts: its half is whole as well."""
    size = 1
    while True:
        for step in (2, 4, 6, 8, 10):
            if step * size >= value:
                return step * size
        size *= 10
