"""Alembic's entry: runs on the connection that bridge.store.migrate opened."""

from typing import Any, Literal

from alembic import context

from bridge.store.tables import Base
from bridge.store.types import Utc


def _render(kind: str, item: Any, autogen: Any) -> str | Literal[False]:
    """Our own column types by their names, so that a migration reads like the models."""
    name = "Utc()" if isinstance(item, Utc) else "Json" if kind == "type" and str(item) == "JSON" else ""
    if not name:
        return False
    autogen.imports.add("from bridge.store.types import Json, Utc")
    return name


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=True,
    render_item=_render,
    compare_type=True,
)
context.run_migrations()
