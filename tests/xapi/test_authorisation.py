"""Which scope opens which resource of the LRS and of the API: all of them against all of them, over HTTP."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from fastapi.testclient import TestClient

from bridge.flows import identity
from bridge.flows.runtime import Runtime

AGENT = json.dumps({"mbox": "mailto:ann@example.com"})
COURSE = "https://lms.test/course/1"
STATEMENT = {
    "actor": {"mbox": "mailto:ann@example.com"},
    "verb": {"id": "http://adlnet.gov/expapi/verbs/completed"},
    "object": {"id": COURSE},
}
READS = {"statements/read", "statements/read/mine", "all/read", "profile"}
STATE = {"activityId": COURSE, "agent": AGENT, "stateId": "s"}
ACTIVITY = {"activityId": COURSE, "profileId": "p"}
PERSON = {"agent": AGENT, "profileId": "p"}
FRESH = {"If-None-Match": "*"}

#: The request, and the scopes that are enough for it besides "all".
RESOURCES: dict[str, tuple[str, str, dict[str, Any], set[str]]] = {
    "send statements": ("POST", "/xapi/statements", {"json": [STATEMENT]}, {"statements/write"}),
    "send one": (
        "PUT",
        "/xapi/statements",
        {"json": STATEMENT, "params": {"statementId": str(uuid.uuid4())}},
        {"statements/write"},
    ),
    "read statements": ("GET", "/xapi/statements", {}, READS - {"profile"}),
    "read state": ("GET", "/xapi/activities/state", {"params": STATE}, {"state", "all/read"}),
    "list state": (
        "GET",
        "/xapi/activities/state",
        {"params": {"activityId": COURSE, "agent": AGENT}},
        {"state", "all/read"},
    ),
    "write state": ("PUT", "/xapi/activities/state", {"params": STATE, "json": {}, "headers": FRESH}, {"state"}),
    "merge state": ("POST", "/xapi/activities/state", {"params": STATE, "json": {}}, {"state"}),
    "delete state": ("DELETE", "/xapi/activities/state", {"params": STATE}, {"state"}),
    "read activity profile": ("GET", "/xapi/activities/profile", {"params": ACTIVITY}, {"profile", "all/read"}),
    "write activity profile": (
        "PUT",
        "/xapi/activities/profile",
        {"params": ACTIVITY, "json": {}, "headers": FRESH},
        {"profile"},
    ),
    "delete activity profile": ("DELETE", "/xapi/activities/profile", {"params": ACTIVITY}, {"profile"}),
    "read agent profile": ("GET", "/xapi/agents/profile", {"params": PERSON}, {"profile", "all/read"}),
    "write agent profile": ("POST", "/xapi/agents/profile", {"params": PERSON, "json": {}}, {"profile"}),
    "read a person": ("GET", "/xapi/agents", {"params": {"agent": AGENT}}, READS),
    "read an activity": ("GET", "/xapi/activities", {"params": {"activityId": COURSE}}, READS),
    "about": ("GET", "/xapi/about", {}, set(identity.SCOPES)),
    "send events": (
        "POST",
        "/api/v1/events?connection=desk",
        {"json": {}, "headers": {"Content-Type": "application/cloudevents+json"}},
        {"events:write"},
    ),
    "read decisions": ("GET", "/api/v1/prompts", {}, {"prompts:read"}),
    "read an event": ("GET", f"/api/v1/events/{uuid.uuid4()}", {}, {"prompts:read"}),
    "read the catalogue": ("GET", "/api/v1/assets", {}, {"assets:read"}),
    "read reports": ("GET", "/api/v1/reports/completions", {}, {"reports:read"}),
}


@pytest.mark.parametrize("scope", identity.SCOPES)
def test_a_scope_opens_what_it_says_and_nothing_else(runtime: Runtime, client: TestClient, scope: str) -> None:
    by = identity.create_credential(runtime, scope, [scope])
    form = {"grant_type": "client_credentials"}
    token = client.post("/oauth/token", data=form, auth=by).json()["access_token"]
    for name, (method, address, how, enough) in RESOURCES.items():
        for means in ("basic", "bearer"):
            sent = {"X-Experience-API-Version": "1.0.3", **how.get("headers", {})}
            if means == "bearer":
                sent["Authorization"] = f"Bearer {token}"
            asked = {**how, "headers": sent, "auth": by if means == "basic" else None}
            answer = client.request(method, address, **asked)
            opened = answer.status_code not in (401, 403)
            assert opened is (scope in {*enough, "all"}), f"{name} with {scope} by {means}: {answer.status_code}"
            assert opened or answer.text, "a refusal says why"


def test_nobody_opens_nothing(client: TestClient) -> None:
    for name, (method, address, how, _) in RESOURCES.items():
        if name != "about":
            headers = {"X-Experience-API-Version": "1.0.3", **how.get("headers", {})}
            answer = client.request(method, address, **{**how, "headers": headers})
            assert answer.status_code == 401 and "www-authenticate" in answer.headers, name


def test_mine_is_what_the_same_credential_sent(runtime: Runtime, client: TestClient) -> None:
    mine, other = (
        identity.create_credential(runtime, name, ["statements/write", "statements/read/mine"]) for name in ("a", "b")
    )
    headers = {"X-Experience-API-Version": "1.0.3"}
    for by in (mine, other):
        assert client.post("/xapi/statements", json=[STATEMENT], headers=headers, auth=by).status_code == 200
    [found] = client.get("/xapi/statements", headers=headers, auth=mine).json()["statements"]
    assert found["authority"]["account"]["name"] == mine[0]
