"""Ralph's file system backend, but each write appends: as released it only creates the file, once."""

from typing import Any

from ralph.backends.data.base import BaseOperationType
from ralph.backends.lrs.fs import FSLRSBackend


class AppendingLRSBackend(FSLRSBackend):
    def write(self, data: Any, target: str | None = None, *rest: Any, **options: Any) -> int:
        return super().write(data, target, *rest, **{**options, "operation_type": BaseOperationType.APPEND})
