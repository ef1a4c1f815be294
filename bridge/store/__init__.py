"""Storage: typed tables, sessions, queues, migrations."""

from bridge.store.database import Database
from bridge.store.types import now

__all__ = ["Database", "now"]
