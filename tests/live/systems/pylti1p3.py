"""pylti1p3 (PyPI `pylti1p3`), the Python library of LTI tools, in a plain Flask tool: `inside/pylti1p3/server.py`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.live.systems.install import LIVE_TESTS, python_part
from tests.live.systems.lti_tool import LtiTool

VENV = python_part("pylti1p3")
SERVER = LIVE_TESTS / "inside" / "pylti1p3" / "server.py"


class PyLti1p3(LtiTool):
    """An LTI tool that checks what the library checks by itself, and keeps everything in memory.

    Its pages carry the launch on in the field `launch`, which `/members` and `/results` take in the query. What the
    library itself refuses is 400.
    """

    name = "pylti1p3"
    parts = (VENV,)

    def prepare(self) -> None:
        """There is nothing to prepare."""

    def command(self) -> Sequence[str | Path]:
        return [VENV.path / "bin" / "python", SERVER]

    def environment(self) -> Mapping[str, str]:
        return {"PORT": str(self.port)}
