"""Migrations: Alembic, run by the program itself."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from bridge.store.database import Database
from bridge.store.tables import Base

#: PostgreSQL's advisory lock that lets one process migrate at a time ("migr"); another one than that of `serve`.
_LOCK = 0x6D696772


def _config(db: Database) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["database"] = db
    return config


def upgrade(db: Database) -> None:
    """Bring the database to this version's schema; does nothing when it is there already."""
    with db.engine.execution_options(flowbridge_write=True).begin() as connection:
        if not db.is_sqlite:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        config = _config(db)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def current(db: Database) -> str | None:
    """The revision that the database has, or None when it is empty."""
    with db.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head(db: Database) -> str | None:
    """The revision that this version of the program wants."""
    return ScriptDirectory.from_config(_config(db)).get_current_head()


def differences(db: Database) -> list[object]:
    """What the models have and the migrated database has not, or the other way round."""
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Base.metadata))
