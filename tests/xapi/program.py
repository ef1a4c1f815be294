"""A program that talks to the built-in LRS over HTTP."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

from fastapi.testclient import TestClient
from httpx2 import Response

from bridge.flows import identity
from bridge.flows.runtime import Runtime

ANN = {"mbox": "mailto:ann@example.com"}
COURSE = "https://lms.test/course/1"
VOIDED = "http://adlnet.gov/expapi/verbs/voided"


class Program:
    """A program with a credential and a version of xAPI."""

    def __init__(self, client: TestClient, runtime: Runtime, *scopes: str, version: str = "1.0.3") -> None:
        self.client = client
        self.key, secret = identity.create_credential(runtime, "test", list(scopes or ["all"]))
        credential = base64.b64encode(f"{self.key}:{secret}".encode()).decode()
        self.headers = {"Authorization": f"Basic {credential}", "X-Experience-API-Version": version}

    def send(self, method: str, path: str, parameters: Any = None, body: Any = None, **headers: str) -> Response:
        """One request to the LRS. Parameters and bodies that are no text go as JSON; ``If_Match`` is If-Match."""
        told = {name: as_text(value) for name, value in (parameters or {}).items()}
        said = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            said.setdefault("Content-Type", "application/json")
        return self.client.request(method, f"/xapi{path}", params=told, content=body, headers=said)

    def store(self, *statements: dict[str, Any]) -> None:
        answer = self.send("POST", "/statements", body=list(statements))
        assert answer.status_code == 200, answer.text


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def statement(**parts: Any) -> dict[str, Any]:
    whole = {
        "id": str(uuid.uuid4()),
        "actor": ANN,
        "verb": {"id": "http://adlnet.gov/expapi/verbs/completed"},
        "object": {"id": COURSE},
    }
    return {**whole, **parts}


def voiding(target: str) -> dict[str, Any]:
    """A statement that voids the one with this id."""
    return statement(verb={"id": VOIDED}, object={"objectType": "StatementRef", "id": target})


def words(answer: Response) -> str:
    return str(answer.json()["error"]["message"])
