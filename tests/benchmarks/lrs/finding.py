"""How long the usual queries take, one after the other, while the LRS holds many statements."""

from __future__ import annotations

import contextlib
import functools
import http.client
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlencode

import orjson

from bridge.xapi import lrs as rules
from tests.benchmarks import Figure, Size
from tests.benchmarks.load import percentile
from tests.benchmarks.lrs import company
from tests.benchmarks.lrs.ours import Lrs, stored
from tests.benchmarks.lrs.peers import peers
from tests.benchmarks.machine import cpu_seconds, median

#: Milliseconds for the first page of statements of one agent with one verb, at most, 99 times of 100.
TARGET_MS = 50.0
#: So many statements the peers get before they are asked: they look through all of them.
PEERS = 2_000
_HEADERS = {"X-Experience-API-Version": "1.0.3"}
Query = Callable[[int], Mapping[str, str]]

#: What is asked for, by the number of a statement that is to be found.
QUERIES: Mapping[str, Query] = {
    "by_id": lambda number: {"statementId": company.statement(number)["id"]},
    "first_page": lambda _number: {},
    "agent": lambda number: {"agent": _agent(number)},
    "verb": lambda number: {"verb": company.verb_of(number)},
    "agent_verb": lambda number: {"agent": _agent(number), "verb": company.verb_of(number)},
    "activity": lambda number: {"activity": company.asset(number % company.ASSETS)},
    "registration": lambda number: {"registration": str(company.registration(number))},
    "since": lambda number: {"since": rules.instant(stored(number)), "ascending": "true"},
    "related_activities": lambda number: {
        "activity": company.record_type(number % company.SYSTEMS),
        "related_activities": "true",
    },
}

#: What a peer takes for another time than ours, or finds nothing by (Ralph 5.1 with its files).
NOT_ASKED: Mapping[str, frozenset[str]] = {
    "learning_locker": frozenset({"since"}),
    "ralph": frozenset({"since", "verb", "agent_verb", "activity", "related_activities"}),
}


def run(ours: Lrs, size: Size) -> Iterator[Figure]:
    few = min(PEERS, ours.statements)
    with peers() as others:
        for other in others.values():
            _fill(other, few)
        for name, query in QUERIES.items():
            asked = {peer: other for peer, other in others.items() if name not in NOT_ASKED[peer]}
            beside = {f"{peer}_p50_ms": _p50(_asked(other, query, size, few)) for peer, other in asked.items()}
            beside |= {"peers_stored": float(few)} if asked else {}
            yield _figure(name, functools.partial(_asked, ours, query, size, ours.statements), beside, ours, size)
    yield _figure("more", functools.partial(_followed, ours, size), {}, ours, size)


def _figure(name: str, ask: Callable[[], list[float]], peers: Mapping[str, float], ours: Lrs, size: Size) -> Figure:
    before = cpu_seconds(ours.process)
    rounds = [ask() for _ in range(size.rounds)]
    cpu_ms = (cpu_seconds(ours.process) - before) / sum(map(len, rounds)) * 1000
    p99 = median([percentile(taken, 0.99) for taken in rounds])
    has_target = name == "agent_verb"
    return Figure(
        f"lrs.find.{name}",
        median([_p50(taken) for taken in rounds]),
        "ms",
        {"p99_ms": p99, "server_cpu_ms": round(cpu_ms, 3), "stored": float(ours.statements), **peers},
        round(TARGET_MS / p99, 3) if has_target else None,
        1.0 if has_target else None,
    )


def _p50(taken: list[float]) -> float:
    return percentile(taken, 0.5)


def _asked(lrs: Lrs, query: Query, size: Size, statements: int) -> list[float]:
    """Seconds of each answer; every query is for another statement, those of somebody busy among them."""
    # Steps of a prime over all statements: no two queries in a row look at the same part of them.
    numbers = (place * 7_919 % statements for place in itertools.count(1))
    with _connected(lrs) as ask:
        return _timed(lambda: ask(f"{lrs.path}/statements?{urlencode(query(next(numbers)))}"), size)


def _followed(lrs: Lrs, size: Size) -> list[float]:
    """The same for the second page of all statements."""
    with _connected(lrs) as ask:
        more = json.loads(ask(f"{lrs.path}/statements?limit={min(100, lrs.statements // 2)}"))["more"]
        return _timed(lambda: ask(more), size)


def _timed(ask: Callable[[], bytes], size: Size) -> list[float]:
    answer = json.loads(ask())
    assert answer.get("statements", True), "the query found nothing"
    taken, until = [], time.perf_counter() + size.seconds
    while (at := time.perf_counter()) < until or not taken:
        ask()
        taken.append(time.perf_counter() - at)
    return taken


@contextlib.contextmanager
def _connected(lrs: Lrs) -> Iterator[Callable[..., bytes]]:
    """Requests over one connection that is kept."""
    connection = http.client.HTTPConnection(lrs.host, timeout=60)
    headers = {**_HEADERS, "Authorization": lrs.authorization}

    def ask(path: str, body: bytes | None = None) -> bytes:
        kind = {"Content-Type": "application/json"} if body else {}
        connection.request("POST" if body else "GET", path, body, headers | kind)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        return content

    try:
        yield ask
    finally:
        connection.close()


def _fill(lrs: Lrs, statements: int) -> None:
    with _connected(lrs) as ask:
        for first in range(0, statements, 50):
            batch = [company.statement(number) for number in range(first, min(first + 50, statements))]
            ask(f"{lrs.path}/statements", orjson.dumps(batch))


def _agent(number: int) -> str:
    return json.dumps(company.agent(company.person_of(number)))
