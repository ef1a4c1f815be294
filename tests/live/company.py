"""A company around a bridge: its business app "desk", its LMS admin, its people at work. All of it over HTTP."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import requests

from tests.journeys.bridge_process import BridgeProcess, until
from tests.live.visitor import Browser, Page

BEARER = "a-bearer-for-live-tests"
VOUCHING = "the-app-vouches-with-it-in-live-tests"
PAGES = "https://desk.example"
DESK = f"""
connections:
  - name: desk
    connector: webhook
    config: {{bearer: {BEARER}, sign_in_secret: {VOUCHING}, people: {{actor: actor}}, origins: ["{PAGES}"]}}
people:
  - {{key: E001, name: Ana Sales, email: ana@example.com, accounts: {{desk: ana}}}}
  - {{key: E002, name: Bob Project, email: bob@example.com, accounts: {{desk: bob}}}}
"""


class Company:
    """``admin`` is the browser of the bridge's first admin, who is signed in."""

    def __init__(self, bridge: BridgeProcess, admin: Browser, credential: tuple[str, str]) -> None:
        self.bridge, self.url, self.admin = bridge, bridge.base_url, admin
        self.credential = credential

    def console(self, path: str) -> Page:
        return self.admin.open(f"{self.url}/console/{path}")

    def happens(self, kind: str, actor: str, **data: object) -> str:
        """Desk sends an event about something that this account did; returns the event's id."""
        id_ = uuid.uuid4().hex
        event = {
            "specversion": "1.0",
            "id": id_,
            "source": PAGES,
            "type": kind,
            "subject": f"deal,{id_}",
            "data": {"actor": actor, **data},
        }
        headers = {"Authorization": f"Bearer {BEARER}", "Content-Type": "application/cloudevents+json"}
        answer = requests.post(f"{self.url}/hooks/desk", json=event, headers=headers, timeout=30)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["events"][0]["id"])

    def launches(self, event: str) -> list[dict[str, Any]]:
        """The launches that came of an event, each with its outcomes and statements."""
        prompts = self.get(f"events/{event}")["prompts"]
        return [launch for prompt in prompts for launch in prompt["launches"]]

    def outcome(self, event: str) -> dict[str, Any]:
        """The completed launch of an event, as soon as there is a statement about that."""

        def look() -> dict[str, Any] | None:
            told = (one for one in self.launches(event) if one["statements"][-1]["verb"].endswith("/completed"))
            return next(told, None)

        return until(f"the outcome of {event}", look, seconds=60)

    def get(self, path: str, **query: str) -> Any:
        """What a program sees at the API."""
        return self._get(f"/api/v1/{path}", query, {})

    def statement(self, id_: str) -> dict[str, Any]:
        """A statement as the built-in LRS has it."""
        version = {"X-Experience-API-Version": "1.0.3"}
        return dict(self._get("/xapi/statements", {"statementId": id_}, version))

    def _get(self, path: str, query: dict[str, str], headers: dict[str, str]) -> Any:
        answer = requests.get(self.url + path, query, auth=self.credential, headers=headers, timeout=30)
        assert answer.ok, answer.text
        return answer.json()

    def open_prompt(self, browser: Browser, account: str, event: str) -> Page:
        """The prompt of an event, opened by that person from Desk's widget; what the browser then shows."""
        opened = self._widget(account, f"prompts/{self._prompt(event)}/open")
        return browser.send(opened["action"], {"handoff": opened["handoff"]}, origin=PAGES)

    def reads(self, account: str, event: str) -> None:
        """That person opens the inline help of an event in Desk's widget, and reads it to its end."""
        opened = self._widget(account, f"prompts/{self._prompt(event)}/open")
        self._widget(account, f"launches/{opened['launch_id']}/finish")

    def _prompt(self, event: str) -> str:
        def offered() -> str | None:
            prompts = self.get(f"events/{event}")["prompts"]
            assert not any(prompt["reason"] != "offered" for prompt in prompts), prompts
            return next((prompt["id"] for prompt in prompts), None)

        return until(f"a prompt for {event}", offered)

    def _widget(self, account: str, path: str) -> dict[str, Any]:
        at = int(time.time())
        claims = {"iss": "desk", "aud": self.url, "sub": account, "iat": at, "exp": at + 300}
        vouched = {"connection": "desk", "assertion": jwt.encode(claims, VOUCHING, algorithm="HS256")}
        base, headers = f"{self.url}/api/v1/widget", {"Origin": PAGES}
        answer = requests.post(f"{base}/session", json=vouched, headers=headers, timeout=30)
        assert answer.ok, answer.text
        headers["Authorization"] = f"Bearer {answer.json()['token']}"
        answer = requests.post(f"{base}/{path}", headers=headers, timeout=30)
        assert answer.ok, answer.text
        return dict(answer.json())


@contextlib.contextmanager
def company(bridge: BridgeProcess, folder: Path, *configuration: str) -> Iterator[Company]:
    """A company whose bridge runs and has taken these YAML files."""
    files = folder / "configuration"
    files.mkdir()
    for number, text in enumerate((DESK, *configuration)):
        (files / f"{number}.yaml").write_text(text)
    with bridge.serving(), Browser() as admin:
        with ThreadPoolExecutor() as side_by_side:
            applied = side_by_side.submit(bridge.run, "apply", str(files))
            made = side_by_side.submit(bridge.run, "credentials", "create", "--scope", "all")
            admin.sign_in(bridge.base_url, "admin@localhost", bridge.admin_password)
            applied.result()
        _, key, _, secret = made.result().split()
        yield Company(bridge, admin, (key, secret))
