"""Ralph (PyPI `ralph-malph`), an LRS that takes what others refuse and asks for no version header."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.live.systems.install import LIVE_TESTS, python_part
from tests.live.systems.lrs import Lrs

VENV = python_part("ralph")
BACKEND = LIVE_TESTS / "inside" / "ralph"
#: bcrypt, four rounds, of the secret of every LRS here.
HASH = "$2b$04$4eZruKGTfalrSumnoIp8eus9MBcnpdZj1SFK/Kb0JhEMjKwNo/K8u"


class Ralph(Lrs):
    """An empty LRS that keeps its statements in a file, by a backend of the tests' own: `inside/ralph`.

    It has no `/about`, no attachments and no voiding; `since` looks at a statement's timestamp.
    """

    name = "ralph"
    parts = (VENV,)
    ready_path = "/__lbheartbeat__"

    @property
    def endpoint(self) -> str:
        return f"{self.base_url}/xAPI"

    def prepare(self) -> None:
        user = {
            "agent": {"mbox": "mailto:ralph@example.com"},
            "scopes": ["all"],
            "hash": HASH,
            "username": self.key,
            "target": None,
        }
        (self.folder / "auth.json").write_text(json.dumps([user]))
        (self.folder / "fs_lrs.jsonl").touch()

    def command(self) -> Sequence[str | Path]:
        """Its server as in production: `ralph runserver` restarts itself whenever a file changes."""
        server = [VENV.path / "bin" / "python", "-m", "uvicorn", "ralph.api:app"]
        return [*server, "--host", "127.0.0.1", "--port", str(self.port), "--log-level", "warning"]

    def environment(self) -> Mapping[str, str]:
        return {
            "PYTHONPATH": str(BACKEND),
            "PYTHONDONTWRITEBYTECODE": "1",
            "RALPH_APP_DIR": str(self.folder),
            "RALPH_AUTH_FILE": str(self.folder / "auth.json"),
            "RALPH_RUNSERVER_BACKEND": "appending",
            "RALPH_BACKENDS__LRS__FS__DEFAULT_DIRECTORY_PATH": str(self.folder),
        }
