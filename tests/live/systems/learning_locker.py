"""Learning Locker's statements service (npm `@learninglocker/xapi-statements`), a validating LRS for xAPI 1.0.3."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tests.live.systems.install import LIVE_TESTS, find_node, node_part
from tests.live.systems.system import REQUEST_SECONDS, System

NODE = node_part("learninglocker")
LOOPBACK = LIVE_TESTS / "node" / "learninglocker" / "loopback.js"


class LearningLocker(System):
    """An empty LRS that keeps its statements in memory.

    Its test authentication takes every Authorization header (and none) for one client with all rights, but for the
    literal `Basic missing_token`, which it refuses with 401.
    """

    name = "learninglocker"
    needs_node = True
    parts = (NODE,)
    ready_path = "/xAPI/about"
    key: ClassVar[str] = "live-tests"
    secret: ClassVar[str] = "any-secret-will-do"

    @property
    def endpoint(self) -> str:
        """The xAPI endpoint, without a slash at the end; `/statements` and `/about` are below."""
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

    def statements(self, **query: str) -> list[dict[str, Any]]:
        """All statements that match a query (xAPI 1.0.3, part three, 2.1.3: verb, activity, ...), newest first."""
        found: list[dict[str, Any]] = []
        url, parameters = f"{self.endpoint}/statements", query
        while url:
            answer = self.http.get(
                url,
                params=parameters,
                auth=(self.key, self.secret),
                headers={"X-Experience-API-Version": "1.0.3"},
                timeout=REQUEST_SECONDS,
            )
            answer.raise_for_status()
            page = answer.json()
            found += page["statements"]
            url, parameters = page.get("more") and self.base_url + page["more"], {}
        return found
