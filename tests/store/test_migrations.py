"""Models and migrations say the same, on both databases."""

from pathlib import Path

import pytest

from bridge.flows.runtime import Runtime
from bridge.store import Database, migrate


def test_models_and_migrations_agree_on_sqlite(runtime: Runtime) -> None:
    assert migrate.differences(runtime.db) == []


@pytest.mark.postgres
def test_models_and_migrations_agree_on_postgresql(pg_runtime: Runtime) -> None:
    assert migrate.differences(pg_runtime.db) == []


def test_upgrading_twice_changes_nothing(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/twice.db")
    migrate.upgrade(db)
    before = migrate.current(db)
    migrate.upgrade(db)
    assert migrate.current(db) == before == migrate.head(db)
    db.close()
