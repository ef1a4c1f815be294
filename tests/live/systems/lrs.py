"""What the LRSs have in common: an endpoint, Basic credentials, and statements that can be read."""

from abc import abstractmethod
from typing import Any, ClassVar

from tests.live.systems.system import REQUEST_SECONDS, System


class Lrs(System):
    """An empty LRS with one client that may do everything."""

    key: ClassVar[str] = "live-tests"
    secret: ClassVar[str] = "any-secret-will-do"

    @property
    @abstractmethod
    def endpoint(self) -> str:
        """The xAPI endpoint, without a slash at the end; `/statements` is below."""

    def statements(self, **query: str) -> list[dict[str, Any]]:
        """All statements that match a query (xAPI 1.0.3, part three, 2.1.3: verb, activity, ...), along `more`."""
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
