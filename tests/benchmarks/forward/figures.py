"""The figures: each database with one worker process and two, and what they are beside in the same run."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.benchmarks import Figure, Size
from tests.benchmarks.forward.peers import Rate, Sink, bare, one_by_one
from tests.benchmarks.forward.pipeline import Drained, Installation
from tests.benchmarks.machine import median
from tests.conftest import database, url_of
from tests.live.systems import LearningLocker

BROKER = "amqp://guest:guest@127.0.0.1:5672//"
BATCHES, PROCESSES = (1, 100, 500), (1, 2)
#: Times as many as the relative, and the share of the sink's own limit.
TIMES_RELATIVE = {"postgresql": 40.0, "sqlite": 60.0}
SHARE_OF_LIMIT = 0.20
FLAT = 0.8
#: What is committed for a second of measurement, by batch, and to the relative.
_PER_SECOND = {1: 700, 100: 20_000, 500: 25_000}
_RELATIVE_PER_SECOND, _LOCKER_PER_SECOND = 200, 1_000


@dataclasses.dataclass(frozen=True, slots=True)
class _Peers:
    """What was measured beside the pipeline in one run."""

    limits: Mapping[tuple[int, int], Rate]
    relative: Mapping[int, Rate]


def run(size: Size) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        sink = Sink(stack, Path(folder))
        peers = _peers(sink, Path(folder), size)
        for kind in ("postgresql", "sqlite"):
            yield from _figures(kind, Path(folder), sink, peers, size)


def _peers(sink: Sink, folder: Path, size: Size) -> _Peers:
    limits = {
        (batch, processes): bare(sink, folder, batch=batch, processes=processes, seconds=size.seconds)
        for batch in BATCHES
        for processes in PROCESSES
    }
    count = max(20, round(_RELATIVE_PER_SECOND * size.seconds))
    relative = {
        processes: one_by_one(sink, folder, broker=BROKER, processes=processes, count=count) for processes in PROCESSES
    }
    return _Peers(limits, relative)


def _figures(kind: str, folder: Path, sink: Sink, peers: _Peers, size: Size) -> Iterator[Figure]:
    with _installation(kind, folder, sink) as bridge:
        for processes in PROCESSES:
            with bridge.workers(processes) as pids:
                bridge.connect(sink.endpoint)
                _drained(bridge, sink, 200, pids)  # what is first does not count
                for batch in BATCHES:
                    bridge.connect(sink.endpoint, batch)
                    count = max(20, round(_PER_SECOND[batch] * size.seconds))
                    rounds = [_drained(bridge, sink, count, pids) for _ in range(size.rounds)]
                    yield from _beside(kind, batch, processes, rounds, peers)
                if processes == 1:
                    yield from _growth(kind, bridge, sink, pids, size)
                    yield from _into_learning_locker(kind, bridge, pids, size)


@contextlib.contextmanager
def _installation(kind: str, folder: Path, sink: Sink) -> Iterator[Installation]:
    (home := folder / kind).mkdir()
    if kind == "sqlite":
        yield Installation(home, sink=sink.pid)
        return
    with database() as name:
        bridge = Installation(home, database_url=url_of(name), broker=BROKER, sink=sink.pid)
        yield bridge
        bridge.runtime.db.close()


def _drained(bridge: Installation, sink: Sink, count: int, pids: list[int]) -> Drained:
    sink.forget()
    drained = bridge.drained(count, pids)
    if (there := sink.count()) != count:
        raise RuntimeError(f"{there} of {count} statements are there")
    return drained


def _beside(kind: str, batch: int, processes: int, rounds: list[Drained], peers: _Peers) -> Iterator[Figure]:
    """The figure beside its two bounds; the targets are about batches, and about as many processes on each side."""
    rate = median([drained.per_second for drained in rounds])
    limit, relative = peers.limits[batch, processes], peers.relative[processes]
    cpu = {name: median([drained.cpu[name] for drained in rounds]) for name in rounds[0].cpu}
    ours = sum(value for name, value in cpu.items() if name != "sink")
    beside = {
        "sink_limit": round(limit.per_second, 1),
        "one_by_one": round(relative.per_second, 1),
        **{f"{name}_cpu_us": round(value, 1) for name, value in cpu.items()},
        "sink_limit_cpu_us": round(limit.cpu, 1),
        "one_by_one_cpu_us": round(relative.cpu, 1),
        "one_by_one_ratio_by_cpu": round(relative.cpu / ours, 1),
    }
    name = f"forward.{kind}.batch_{batch}.workers_{processes}"
    aimed = batch > 1
    unit = "statements/s"
    yield Figure(
        f"{name}.beside_one_by_one",
        round(rate, 1),
        unit,
        beside,
        round(rate / relative.per_second, 1),
        TIMES_RELATIVE[kind] if aimed else None,
    )
    if kind == "postgresql":
        share = round(rate / limit.per_second, 3)
        yield Figure(f"{name}.beside_limit", round(rate, 1), unit, beside, share, SHARE_OF_LIMIT if aimed else None)


def _growth(kind: str, bridge: Installation, sink: Sink, pids: list[int], size: Size) -> Iterator[Figure]:
    """Does it get slower, the more are waiting?"""
    bridge.connect(sink.endpoint)
    few, *more = size.backlogs
    base = median([_drained(bridge, sink, few, pids).per_second for _ in range(size.rounds)])
    for waiting in more:
        drained = _drained(bridge, sink, waiting, pids)
        yield Figure(
            f"forward.{kind}.growth",
            round(drained.per_second, 1),
            "statements/s",
            {"waiting": waiting, f"with_{few}_waiting": round(base, 1)},
            round(drained.per_second / base, 3),
            FLAT,
        )


def _into_learning_locker(kind: str, bridge: Installation, pids: list[int], size: Size) -> Iterator[Figure]:
    """A real LRS: it, and not the bridge, says how fast it goes."""
    count = max(20, round(_LOCKER_PER_SECOND * size.seconds))
    with LearningLocker() as lrs:
        bridge.connect(lrs.endpoint)
        drained = bridge.drained(count, pids)
        taken = {f"{name}_cpu_us": round(value, 1) for name, value in drained.cpu.items() if name != "sink"}
    yield Figure(f"forward.{kind}.into_learning_locker", round(drained.per_second, 1), "statements/s", taken)
