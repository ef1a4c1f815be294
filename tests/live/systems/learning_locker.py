"""Learning Locker's statements service (npm `@learninglocker/xapi-statements`), a validating LRS for xAPI 1.0.3."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.live.systems.install import LIVE_TESTS, find_node, node_part
from tests.live.systems.lrs import Lrs

NODE = node_part("learninglocker")
LOOPBACK = LIVE_TESTS / "node" / "learninglocker" / "loopback.js"


class LearningLocker(Lrs):
    """An empty LRS that keeps its statements in memory.

    Its test authentication takes every Authorization header (and none) for one client with all rights, but for the
    literal `Basic missing_token`, which it refuses with 401.
    """

    name = "learninglocker"
    needs_node = True
    parts = (NODE,)
    ready_path = "/xAPI/about"

    @property
    def endpoint(self) -> str:
        return f"{self.base_url}/xAPI"

    def prepare(self) -> None:
        """Nothing is kept outside of the process."""

    def command(self) -> Sequence[str | Path]:
        package = NODE.path / "node_modules" / "@learninglocker" / "xapi-statements"
        return [find_node(), "--require", LOOPBACK, package / "dist" / "server.js"]

    def environment(self) -> Mapping[str, str]:
        return {
            "EXPRESS_PORT": str(self.port),
            "MODELS_REPO": "memory",
            "STORAGE_REPO": "memory",
            "AUTH_REPO": "test",
            "EVENTS_REPO": "test",
            # it tries MongoDB a few times though nothing is kept there: let it not find anybody's
            "MONGO_URL": "mongodb://127.0.0.1:1/none",
        }
