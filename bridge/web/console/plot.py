"""Plots: some bars for each day or hour, as numbers that a template draws."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bridge.flows.overview import Day
from bridge.flows.overview.destinations import Hour

#: What is drawn for each day, in this order: attribute of a day, and its word.
SERIES = (("offered", "Offered"), ("opened", "Opened"), ("completed", "Completed"))
_DELIVERED = (("delivered", "Delivered"),)
WIDTH, HEIGHT, _LOW = 1040, 240, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 2, 44, 14, 30
_GAP, _BETWEEN = 0.28, 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class _Column:
    """What is drawn beside each other: ``name`` is said with each bar, ``tick`` stands on the axis."""

    name: str
    tick: str
    values: tuple[int, ...]


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
    ticks: tuple[Mark, ...]
    height: float
    bottom: float
    width: float = WIDTH
    left: float = _LEFT
    right: float = WIDTH - _RIGHT


def of_days(days: Sequence[Day]) -> Plot:
    """What was offered, opened and completed on each day."""
    values = [tuple(getattr(day, name) for name, _ in SERIES) for day in days]
    dates = [day.day for day in days]
    columns = [
        _Column(f"{day:%d %B}", f"{day.day} {day:%b}", numbers) for day, numbers in zip(dates, values, strict=True)
    ]
    return _plot(columns, SERIES, HEIGHT)


def of_hours(hours: Sequence[Hour]) -> Plot:
    """How many statements were delivered in each hour; every third one is named."""
    columns = [
        _Column(
            f"{hour.start:%H:%M} to {hour.start:%H}:59 UTC",
            f"{hour.start:%H:%M}" if hour.start.hour % 3 == 0 else "",
            (hour.delivered,),
        )
        for hour in hours
    ]
    return _plot(columns, _DELIVERED, _LOW)


def _plot(columns: Sequence[_Column], series: Sequence[tuple[str, str]], whole: float) -> Plot:
    """Lay out the bars on one scale."""
    top = _round_up(max((value for column in columns for value in column.values), default=0))
    floor, room = whole - _BOTTOM, whole - _BOTTOM - _TOP
    slot = (WIDTH - _LEFT - _RIGHT) / max(len(columns), 1)
    bar = (slot * (1 - _GAP) - _BETWEEN * (len(series) - 1)) / len(series)
    bars, ticks = [], []
    for number, column in enumerate(columns):
        start = _LEFT + slot * number + slot * _GAP / 2
        for place, ((name, word), value) in enumerate(zip(series, column.values, strict=True)):
            height = room * value / top
            label = f"{column.name}: {value:,} {word.lower()}"
            x = start + place * (bar + _BETWEEN)
            bars.append(Bar(name, round(x, 1), round(floor - height, 1), round(bar, 1), round(height, 1), label))
        ticks.append(Mark(round(_LEFT + slot * (number + 0.5), 1), column.tick))
    lines = [Mark(round(floor - room * share, 1), f"{top * share:,.0f}") for share in (0, 0.5, 1)]
    return Plot(tuple(bars), tuple(lines), tuple(ticks), height=whole, bottom=floor)


def _round_up(value: int) -> int:
    """The next even number that begins with 1, 2, 4, 6 or 8 and ends in noughts: its half is whole as well."""
    size = 1
    while True:
        for step in (2, 4, 6, 8, 10):
            if step * size >= value:
                return step * size
        size *= 10
