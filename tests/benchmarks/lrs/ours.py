"""A bridge on PostgreSQL with many statements: rows of the product's own making, brought in by COPY."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime as dt
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import psycopg
from psycopg import sql

from bridge.flows import identity, setup
from bridge.flows.runtime import Runtime
from bridge.settings import Settings
from bridge.xapi import index, ledger
from tests.benchmarks.lrs import company
from tests.benchmarks.machine import server
from tests.conftest import POSTGRES, database, url_of
from tests.ports import free_port

CHUNK = 10_000
_STATEMENT = (
    *("seq", "id", "payload", "stored", "timestamp", "version", "actor", "verb", "object_id", "registration"),
    "authority",
)
_MENTION = ("mention", "stored", "statement_seq")
Row = tuple[Any, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Lrs:
    """An LRS that runs on the measured core: where it is, what to say to it, and how many statements it holds."""

    host: str
    path: str
    authorization: str
    statements: int
    process: int
    #: The name of its database, if it has one.
    database: str = ""


@contextlib.contextmanager
def bridge_with(statements: int, folder: Path) -> Iterator[Lrs]:
    """A running bridge that holds so many statements of the company."""
    with database() as name:
        port = free_port()
        env = {
            "FLOWBRIDGE_HOME": str(folder / "home"),
            "FLOWBRIDGE_DATABASE_URL": url_of(name),
            "FLOWBRIDGE_PORT": str(port),
        }
        authorization = _furnish(env, name, statements)
        ready = f"http://127.0.0.1:{port}/readyz"
        with server("bridge.cli_serve", "web", ready=ready, env=env, folder=folder) as process:
            yield Lrs(f"127.0.0.1:{port}", "/xapi", authorization, statements, process, name)


def _furnish(env: dict[str, str], name: str, statements: int) -> str:
    settings = {key.removeprefix("FLOWBRIDGE_").lower(): value for key, value in env.items()}
    runtime = Runtime.start(Settings.load(**settings))
    try:
        setup.prepare(runtime)
        key, secret = identity.create_credential(runtime, "benchmark", ["all"])
    finally:
        runtime.db.close()
    _load(name, statements)
    return "Basic " + base64.b64encode(f"{key}:{secret}".encode()).decode()


def _load(name: str, statements: int) -> None:
    with psycopg.connect(f"{POSTGRES}/{name}", autocommit=True) as connection:
        for first in range(0, statements, CHUNK):
            rows, mentions = _rows(range(first, min(first + CHUNK, statements)))
            _copy(connection, "statement", _STATEMENT, rows)
            _copy(connection, "statement_mention", _MENTION, mentions)
        connection.execute("SELECT setval(pg_get_serial_sequence('statement', 'seq'), %s)", (max(statements, 1),))
        connection.execute("VACUUM ANALYZE")


def _rows(numbers: Sequence[int]) -> tuple[list[Row], list[Row]]:
    authority = ledger.own_authority(company.ISSUER)
    rows: list[Row] = []
    mentions: list[Row] = []
    for number in numbers:
        stated, at = company.statement(number), stored(number)
        found = {"seq": number + 1, "payload": orjson.dumps(stated), "stored": at, "authority": authority}
        found |= {"version": "1.0.0", **index.columns(stated, at)}
        rows.append(tuple(found[column] for column in _STATEMENT))
        mentions += zip(index.mentions(stated), itertools.repeat(at), itertools.repeat(number + 1), strict=False)
    return rows, mentions


def stored(number: int) -> dt.datetime:
    return company.BEGIN + company.STEP * number


def _copy(connection: psycopg.Connection[Row], table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    command = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)
    with connection.cursor() as cursor, cursor.copy(command) as copy:
        for row in rows:
            copy.write_row(row)
