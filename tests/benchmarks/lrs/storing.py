"""Statements stored a second, by POST in batches of 1, 50 and 500."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import orjson

from tests.benchmarks import Figure, Size
from tests.benchmarks.load import Load, Refused, Wire, drive, request
from tests.benchmarks.lrs import company
from tests.benchmarks.lrs.ours import Lrs
from tests.benchmarks.lrs.peers import peers
from tests.benchmarks.machine import backends, cores, cpu_seconds, median, move

BATCHES = (1, 50, 500)
#: Statements a second, and in which batches.
TARGET, TARGET_BATCH = 2_000, 50
#: Few enough that a batch of 500 is no queue of minutes.
CONNECTIONS = 4
#: A load, and the server's processor time for each statement, in milliseconds.
Stored = tuple[Load, float]


def run(ours: Lrs, size: Size) -> Iterator[Figure]:
    numbers = itertools.count(ours.statements)
    for batch in BATCHES:
        with peers() as others:
            measured = {"ours": ours, **others}
            for lrs in measured.values():
                _stored(lrs, numbers, batch, size)  # what is first does not count
            move(backends(ours.database), cores()[1])
            rounds = [
                {name: _stored(lrs, numbers, batch, size) for name, lrs in measured.items()} for _ in range(size.rounds)
            ]
        yield _figure(batch, rounds, ours.statements)


def _figure(batch: int, rounds: list[dict[str, Stored]], statements: int) -> Figure:
    rates = {name: median([each[name][0].per_second for each in rounds]) * batch for name in rounds[0]}
    per_second, ours = rates.pop("ours"), [each["ours"] for each in rounds]
    beside = {
        **rates,
        "p50_ms": median([load.p50_ms for load, _ in ours]),
        "p99_ms": median([load.p99_ms for load, _ in ours]),
        "server_cpu_ms_per_statement": median([cpu for _, cpu in ours]),
        "load_generator_cpu": median([load.own_cpu for load, _ in ours]),
        "stored_before": statements,
    }
    has_target = batch == TARGET_BATCH
    return Figure(
        f"lrs.store.{batch}",
        round(per_second, 1),
        "statements/s",
        {name: round(value, 3) for name, value in beside.items()},
        round(per_second / TARGET, 3) if has_target else None,
        1.0 if has_target else None,
    )


def _stored(lrs: Lrs, numbers: Iterator[int], batch: int, size: Size) -> Stored:
    """A load of new statements."""
    headers = f"Authorization: {lrs.authorization}\r\nX-Experience-API-Version: 1.0.3\r\n"
    headers += "Content-Type: application/json\r\n"

    async def post(wire: Wire, _number: int) -> None:
        body = orjson.dumps([company.statement(number) for number in itertools.islice(numbers, batch)]).decode()
        answer = await wire.ask(request("POST", f"{lrs.path}/statements", lrs.host, headers=headers, body=body))
        if not answer.startswith(b"HTTP/1.1 200"):
            raise Refused(answer.decode(errors="replace"))

    before = cpu_seconds(lrs.process)
    load = drive(lrs.host, post, connections=min(CONNECTIONS, size.connections), seconds=size.seconds)
    return load, (cpu_seconds(lrs.process) - before) / (load.units * batch) * 1000
