"""Connections to PostgreSQL that lead nowhere any more are replaced before anybody uses them."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select, text

from bridge.flows.runtime import Runtime
from bridge.store import database

pytestmark = pytest.mark.postgres

_BACKEND = select(func.pg_backend_pid())


def test_a_connection_that_the_server_closed_is_replaced(pg_runtime: Runtime) -> None:
    with pg_runtime.db.read() as idle, pg_runtime.db.read() as other:
        closed = idle.scalar(_BACKEND)
        assert other.scalar(_BACKEND) != closed
        idle.close()
        other.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": closed})
        with pg_runtime.db.read() as session:
            assert session.scalar(_BACKEND) != closed


def test_a_connection_that_rested_is_asked_first(pg_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    dialect = pg_runtime.db.engine.dialect
    ping = dialect.do_ping

    def counted(raw: Any) -> bool:
        asked.append(ping(raw))
        return asked[-1]

    monkeypatch.setattr(dialect, "do_ping", counted)
    for rest, times in ((60.0, 0), (-1.0, 1)):
        monkeypatch.setattr(database, "PING_AFTER", rest)
        with pg_runtime.db.read() as session:
            session.scalar(_BACKEND)
        assert len(asked) == times


def test_a_glance_has_no_transaction_and_leaves_none_behind(pg_runtime: Runtime) -> None:
    in_transaction = text("SELECT statement_timestamp() <> transaction_timestamp()")
    with pg_runtime.db.glance() as session:
        session.execute(text("SELECT pg_sleep(0.001)"))
        assert session.scalar(in_transaction) is False
    with pg_runtime.db.read() as session:
        session.execute(text("SELECT pg_sleep(0.001)"))
        assert session.scalar(in_transaction) is True
