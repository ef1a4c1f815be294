"""Python imports this by itself at its start: it puts stand-ins in the place of the flows and the web application."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
FLOWS = (
    "decide_prompts",
    "deliver_prompt",
    "drain_outbox",
    "write_back",
    "push_grades",
    "poll_events",
    "sync_catalogue",
    "pull_members",
    "housekeeping",
    "setup",
)
STAND_INS = {"bridge.web.app": HERE / "web_app.py"} | {f"bridge.flows.{name}": HERE / "flows.py" for name in FLOWS}


class StandIns(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = STAND_INS.get(fullname)
        return importlib.util.spec_from_file_location(fullname, file) if file else None


sys.meta_path.insert(0, StandIns())

if prefix := os.environ.get("STAND_IN_QUEUES"):
    import workers.app

    workers.app.PREFIX = prefix
