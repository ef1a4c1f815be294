"""The demo's visitors: its people with their browsers, and the office that looks at what came of it. Over HTTP only."""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from bridge.demo import run

#: How long a hop may take, in seconds.
PATIENCE = 15.0
_TIMEOUT = (3.0, 20.0)


class Broken(Exception):
    """A hop was not seen."""

    def __init__(self, hop: str, seen: object) -> None:
        super().__init__(f"{hop}: {seen}")
        self.hop, self.seen = hop, seen


def seen(hop: str, look: Callable[[], Any], instead: Callable[[], object]) -> Any:
    """The first true answer of ``look``; raises Broken with what there is ``instead`` when there is none in time."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        if time.monotonic() > deadline:
            raise Broken(hop, instead())
        time.sleep(0.03)
    return found


class Markup(HTMLParser):
    """The tags of a page with their attributes, the text of its scripts, and its forms."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts: list[dict[str, str]] = []
        self.forms: list[tuple[dict[str, str], dict[str, str]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if tag == "script":
            self.scripts.append(given)
        elif tag == "form":
            self.forms.append((given, {}))
        elif tag == "input" and self.forms and given.get("name"):
            self.forms[-1][1][given["name"]] = given.get("value", "")

    def handle_data(self, data: str) -> None:
        self.text += data


class Client:
    """A person's browser, without its screen."""

    def __init__(self) -> None:
        self._session = requests.Session()

    def get(self, url: str, **kwargs: Any) -> requests.Response:
        return self._checked(self._session.get(url, timeout=_TIMEOUT, **kwargs))

    def post(self, url: str, data: Mapping[str, Any], **kwargs: Any) -> requests.Response:
        return self._checked(self._session.post(url, data=data, timeout=_TIMEOUT, **kwargs))

    def follow(self, response: requests.Response) -> requests.Response:
        """Send the forms that pages send by themselves, until a page waits for its reader."""
        for _ in range(10):
            page = Markup(response.text)
            if "forms[0].submit()" not in page.text or not page.forms:
                return response
            form, fields = page.forms[0]
            target = urljoin(response.url, form.get("action", ""))
            is_post = form.get("method", "get").lower() == "post"
            response = self.post(target, fields) if is_post else self.get(target, params=fields)
        raise Broken("launch", f"the forms never end; the last was at {response.url}")

    @staticmethod
    def _checked(response: requests.Response) -> requests.Response:
        if not response.ok:
            method, url = response.request.method, response.url.partition("?")[0]
            raise Broken(f"{method} {url}", f"{response.status_code}: {Markup(response.text).text.strip()[:300]}")
        return response


class Desk:
    """Desk, as one of its people uses it."""

    def __init__(self, url: str, person: str) -> None:
        self._url, self._client = url, Client()
        self._client.post(f"{url}/sign-in", {"person": person})

    def save(self, area: str, **fields: str) -> requests.Response:
        """Fill in the form of a new record; returns the record's page."""
        return self._client.post(f"{self._url}/{area}", fields)

    def move(self, record: requests.Response, state: str, **fields: str) -> requests.Response:
        return self._client.post(f"{record.url}/state", {"state": state, **fields})

    def event(self, subject: str, kind: str) -> dict[str, Any]:
        """The event that Desk sent about a record, as its own list of webhooks shows it."""

        def told() -> list[dict[str, Any]]:
            events = self._client.get(f"{self._url}/webhooks", params={"subject": subject}).json()["events"]
            return [event for event in events if event["type"] == kind]

        [event, *_] = seen("event", lambda: [event for event in told() if event["received_as"]], told)
        return dict(event)


class Widget:
    """The widget on a page of Desk."""

    def __init__(self, page: requests.Response) -> None:
        tag = next((tag for tag in Markup(page.text).scripts if tag.get("src", "").endswith("/widget.js")), None)
        if tag is None:
            raise Broken("widget", f"{page.url} does not embed it")
        self.record = tag["data-record"]
        self._base = tag["src"].removesuffix("widget.js") + "api/v1/widget/"
        self._session = requests.Session()
        where = urlsplit(page.url)
        self._session.headers["Origin"] = f"{where.scheme}://{where.netloc}"
        if self._session.get(tag["src"], timeout=_TIMEOUT).status_code != 200:
            raise Broken("widget", f"{tag['src']} is not served")
        body = {"connection": tag["data-connection"], "assertion": tag["data-assertion"]}
        token = self.post("session", body)["token"]
        self._session.headers["Authorization"] = f"Bearer {token}"

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._json(self._session.post(self._base + path, json=body or {}, timeout=_TIMEOUT))

    def prompt(self, title: str) -> dict[str, Any]:
        """The prompt for this page's record, as soon as the bridge has it."""
        cursor, deadline = "", time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            parameters = {"after": cursor, "wait": "5"}
            news = self._json(self._session.get(self._base + "prompts", params=parameters, timeout=_TIMEOUT))
            for prompt in news["prompts"]:
                if prompt["subject"] == self.record and prompt["title"] == title:
                    return dict(prompt)
            cursor = news["cursor"]
        raise Broken("prompt", f"none for {self.record} with '{title}'; the widget has {news['prompts']}")

    @staticmethod
    def _json(response: requests.Response) -> dict[str, Any]:
        if not response.ok:
            path = response.url.partition("?")[0]
            raise Broken(f"{response.request.method} {path}", f"{response.status_code}: {response.text[:300]}")
        return dict(response.json()) if response.content else {}


@dataclasses.dataclass(frozen=True)
class Office:
    """What an LMS admin and a compliance team see: the bridge's API and the company's LRS."""

    ports: run.Ports
    credential: tuple[str, str] = dataclasses.field(repr=False)
    lrs_credential: tuple[str, str] = dataclasses.field(repr=False)
    since: dt.datetime

    def chain(self, event_id: str) -> dict[str, Any]:
        return dict(self._get(f"/api/v1/events/{event_id}"))

    def report(self) -> list[dict[str, Any]]:
        rows = self._get("/api/v1/reports/completions", since=self.since.isoformat(), format="json")
        return [dict(row) for row in rows]

    def _get(self, path: str, **parameters: str) -> Any:
        url = self.ports.url("bridge") + path
        answer = requests.get(url, params=parameters, auth=self.credential, timeout=_TIMEOUT)
        if not answer.ok:
            raise Broken(f"GET {path}", f"{answer.status_code}: {answer.text[:300]}")
        return answer.json()

    def in_lrs(self, statement_id: str) -> dict[str, Any] | None:
        """A statement as the company's LRS gives it back."""
        answer = requests.get(
            f"{self.ports.url('lrs')}/xapi/statements",
            params={"statementId": statement_id},
            headers={"X-Experience-API-Version": "1.0.3"},
            auth=self.lrs_credential,
            timeout=_TIMEOUT,
        )
        if answer.status_code == 404:
            return None
        if not answer.ok:
            raise Broken("LRS receipt", f"{answer.status_code}: {answer.text[:300]}")
        return dict(answer.json())
