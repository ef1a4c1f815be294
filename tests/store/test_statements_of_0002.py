"""Statements that were stored before revision 0003 are complete, and found by everything, after it."""

from __future__ import annotations

import base64
import datetime as dt
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from fastapi.testclient import TestClient

from bridge.flows import identity, setup
from bridge.flows.runtime import Runtime
from bridge.settings import Settings
from bridge.store import Database, migrate, tables
from bridge.store.types import Utc
from bridge.web.app import create_app

AT = dt.datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=dt.UTC)
ANN, BOB = {"mbox": "mailto:ann@example.com"}, {"mbox": "mailto:bob@example.com"}
BARE, CLAIMED, ABOUT = (str(uuid.UUID(int=number)) for number in (1, 2, 3))
AS_IT_CAME = (
    '{"actor": {"mbox":"mailto:ann@example.com"}, "verb":{"id":"https://x.test/did"}, "object":{"id":"https://x.test/1"},'
    ' "result": {"score": {"raw": 1.50}}, "context": {"instructor": {"mbox":"mailto:bob@example.com"},'
    ' "contextActivities": {"parent": {"id": "https://x.test/course"}}}}'
)
STATEMENT = sa.table(
    "statement",
    *(sa.column(name, sa.Uuid()) for name in ("id",)),
    sa.column("payload", sa.LargeBinary()),
    *(sa.column(name, Utc()) for name in ("stored", "timestamp")),
    *(sa.column(name, sa.Text()) for name in ("actor", "verb", "object_id", "authority")),
)


def _rows() -> Iterator[dict[str, Any]]:
    shared = {"actor": json.dumps(ANN, separators=(",", ":")), "verb": "https://x.test/did", "stored": AT}
    shared |= {"timestamp": AT, "authority": '{"account":{"homePage":"http://bridge.test","name":"fb_1"}}'}
    simple = {"actor": ANN, "verb": {"id": "https://x.test/did"}}
    claimed = {**simple, "object": {"id": "https://x.test/1"}, "stored": "2020-01-01T00:00:00Z", "authority": BOB}
    about = {**simple, "object": {"objectType": "StatementRef", "id": BARE}, "actor": BOB}
    yield {**shared, "id": uuid.UUID(BARE), "payload": AS_IT_CAME.encode(), "object_id": "https://x.test/1"}
    yield {**shared, "id": uuid.UUID(CLAIMED), "payload": json.dumps(claimed).encode(), "object_id": "https://x.test/1"}
    bob = json.dumps(BOB, separators=(",", ":"))
    yield {**shared, "id": uuid.UUID(ABOUT), "payload": json.dumps(about).encode(), "object_id": BARE, "actor": bob}


def _at_0002(db: Database) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    with db.engine.execution_options(flowbridge_write=True).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        connection.execute(sa.insert(STATEMENT), list(_rows()))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def upgraded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    made = Runtime.start(Settings.load(home=tmp_path, base_url="http://bridge.test", database_url=url))
    _at_0002(made.db)
    setup.prepare(made)
    yield made
    made.db.close()


def test_statements_of_before_are_complete_and_found(upgraded: Runtime) -> None:
    with upgraded.db.read() as session:
        kept = dict(session.execute(sa.select(tables.Statement.id, tables.Statement.payload)).all())
    bare, claimed = kept[uuid.UUID(BARE)].decode(), json.loads(kept[uuid.UUID(CLAIMED)])
    assert (json.loads(bare)["id"], json.loads(bare)["timestamp"]) == (BARE, "2026-03-04T05:06:07.890123Z")
    assert '{"score": {"raw": 1.50}}' in bare
    assert claimed.keys() == {"id", "timestamp", "actor", "verb", "object"}

    key, secret = identity.create_credential(upgraded, "test", ["all/read"])
    credential = base64.b64encode(f"{key}:{secret}".encode()).decode()
    headers = {"Authorization": f"Basic {credential}", "X-Experience-API-Version": "1.0.3"}
    with TestClient(create_app(upgraded), base_url="http://bridge.test") as client:

        def found(**parameters: str) -> set[str]:
            answer = client.get("/xapi/statements", params=parameters, headers=headers)
            return {statement["id"] for statement in answer.json()["statements"]}

        assert found(agent=json.dumps(BOB), related_agents="true") == {BARE, ABOUT}
        assert found(activity="https://x.test/course", related_activities="true") == {BARE, ABOUT}
        assert found(activity="https://x.test/1") == {BARE, CLAIMED, ABOUT}
