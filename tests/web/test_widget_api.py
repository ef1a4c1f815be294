"""The widget's side of the bridge: who may ask, what is answered, and how quickly."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from fastapi.testclient import TestClient
from httpx2 import Response

from bridge.domain.events import BusinessEvent, PersonRef
from bridge.flows import accept_event, configure, decide_prompts, deliver_prompt, sync_catalogue, trace
from bridge.flows.runtime import Runtime
from bridge.web import widget
from tests.ports import free_port

SIGN_IN = "a sign-in secret of thirty-two bytes"
DESK, SHOP = "http://desk.test", "http://shop.test"
CONFIGURATION = """
connections:
  - name: desk
    connector: webhook
    config: {bearer: "a bearer token of the desk", sign_in_secret: "%(secret)s", origins: ["http://desk.test"]}
  - name: shop
    connector: webhook
    config: {bearer: "a bearer token of the shop", sign_in_secret: "%(secret)s", origins: ["http://shop.test"]}
  - name: guides
    connector: files
    config: {path: "%(guides)s"}
  - name: vendor
    connector: lti_tool
    config:
      client_id: tool
      initiate_login_uri: http://tool.test/login
      redirect_uris: [http://tool.test/launch]
      target_link_uri: http://tool.test/launch
      jwks_uri: http://tool.test/jwks
      resources: [{id: quiz, title: A quiz, kind: quiz, duration: PT5M}]
people:
  - {key: E1, name: Sam, accounts: {desk: sam, shop: sam}}
  - {key: E2, name: Priya, accounts: {desk: priya}}
rules:
  - {name: guide, on: deal, for: owner, offer: {asset: guides/guide.md}, say: "Read this on {{ event.data.customer }}."}
  - {name: list, on: project, for: owner, offer: {asset: guides/list.md}, say: Tick this., limits: {once_per: event}}
  - {name: quiz, on: proposal, for: owner, offer: {asset: vendor/quiz}, say: Practise.}
"""
GUIDE = "---\ntitle: Pricing\nkind: guide\nduration: PT90S\n---\nFor {{ event.data.customer }}.\n"
LIST = "---\ntitle: Risks\nkind: checklist\n---\n- [ ] Who can say no\n- [ ] Ask them\n"


@pytest.fixture
def bridge(runtime: Runtime, tmp_path: Path) -> Runtime:
    """A bridge with two business apps, two people, and one rule for each form of help."""
    guides = tmp_path / "guides"
    guides.mkdir()
    (guides / "guide.md").write_text(GUIDE)
    (guides / "list.md").write_text(LIST)
    (tmp_path / "bridge.yaml").write_text(CONFIGURATION % {"secret": SIGN_IN, "guides": guides})
    configure.apply(runtime, tmp_path / "bridge.yaml")
    for catalogue in ("guides", "vendor"):
        sync_catalogue.sync(runtime, catalogue)
    return runtime


def happens(runtime: Runtime, kind: str, *, owner: str = "sam", number: int = 1, customer: str = "Hooli") -> str:
    """An event of Desk, decided on and delivered; returns its id."""
    event = BusinessEvent(
        id=f"{kind}-{owner}-{number}",
        type=kind,
        source="desk",
        time=dt.datetime.now(dt.UTC),
        subject=f"{kind}/{number}",
        data={"customer": customer},
        people={"owner": PersonRef(id=owner)},
    )
    [accepted] = accept_event.accept(runtime, "desk", [event])
    decide_prompts.decide(runtime)
    deliver_prompt.deliver(runtime)
    return str(accepted.id)


def assertion(*, connection: str = "desk", secret: str = SIGN_IN, age: float = 0, **claims: Any) -> str:
    at = time.time() - age
    whole = {"iss": connection, "aud": "http://bridge.test", "sub": "sam", "iat": at, "exp": at + 300, **claims}
    return jwt.encode(whole, secret, algorithm="HS256")


class Widget:
    """The widget of one person on a page of one origin."""

    def __init__(self, client: TestClient, *, sub: str = "sam", connection: str = "desk", origin: str = DESK) -> None:
        self._client, self._headers = client, {"Origin": origin}
        body = {"connection": connection, "assertion": assertion(connection=connection, sub=sub)}
        answer = client.post("/api/v1/widget/session", json=body, headers=self._headers)
        assert answer.status_code == 200, answer.text
        self._headers["Authorization"] = f"Bearer {answer.json()['token']}"

    def get(self, path: str, **headers: str) -> Response:
        return self._client.get(f"/api/v1/widget/{path}", headers={**self._headers, **headers})

    def post(self, path: str, body: dict[str, Any] | None = None) -> Response:
        return self._client.post(f"/api/v1/widget/{path}", json=body, headers=self._headers)

    def prompts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("prompts").json()["prompts"]
        return found


def error(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_guide_is_shown_opened_and_finished_and_the_chain_knows_it(bridge: Runtime, client: TestClient) -> None:
    event_id = happens(bridge, "deal", customer="Hooli & <b>Sons</b>")
    sam = Widget(client)
    [prompt] = sam.prompts()
    assert (prompt["title"], prompt["asset_kind"], prompt["duration_seconds"]) == ("Pricing", "guide", 90)
    assert prompt["say"] == "Read this on Hooli & <b>Sons</b>."  # plain text: the widget sets it as text
    assert (prompt["subject"], prompt["connection"], prompt["state"]) == ("deal/1", "desk", "open")
    assert sam.post(f"prompts/{prompt['id']}/shown").status_code == 204
    opened = sam.post(f"prompts/{prompt['id']}/open").json()
    assert "For Hooli &amp; &lt;b&gt;Sons&lt;/b&gt;." in opened["html"]
    assert sam.post(f"launches/{opened['launch_id']}/finish").json()["completed"] is True
    assert [p["state"] for p in sam.prompts()] == ["done"]
    [decision] = trace.event_chain(bridge, uuid.UUID(event_id))["prompts"]
    assert decision["deliveries"][0]["state"] == "shown"
    assert decision["launches"][0]["outcomes"][0]["verb"] == "completed"


def test_ticks_are_kept_and_the_same_launch_goes_on(bridge: Runtime, client: TestClient) -> None:
    happens(bridge, "project")
    sam = Widget(client)
    [prompt] = sam.prompts()
    opened = sam.post(f"prompts/{prompt['id']}/open").json()
    first, second = opened["steps"]
    launch = f"launches/{opened['launch_id']}"
    assert [s["done"] for s in sam.post(f"{launch}/steps/{first['id']}", {"done": True}).json()["steps"]] == [
        True,
        False,
    ]
    assert error(sam.post(f"{launch}/finish")) == (400, "invalid")

    again = sam.post(f"prompts/{prompt['id']}/open").json()
    assert again["launch_id"] == opened["launch_id"]
    assert [s["done"] for s in again["steps"]] == [True, False]

    sam.post(f"{launch}/steps/{second['id']}", {"done": True})
    assert sam.post(f"{launch}/finish").json()["completed"] is True
    assert error(sam.post(f"{launch}/steps/no-such-step", {"done": True})) == (400, "invalid")


def test_what_is_not_wanted_is_not_shown_again(bridge: Runtime, client: TestClient) -> None:
    happens(bridge, "deal")
    sam = Widget(client)
    [prompt] = sam.prompts()
    assert sam.post(f"prompts/{prompt['id']}/dismiss").status_code == 204
    assert sam.prompts() == []


def test_a_tool_is_opened_by_a_code_that_works_once(bridge: Runtime, client: TestClient) -> None:
    event_id = happens(bridge, "proposal")
    sam = Widget(client)
    [prompt] = sam.prompts()
    door = sam.post(f"prompts/{prompt['id']}/open").json()
    assert door["how"] == "lti"
    assert door["action"].startswith("http://bridge.test/go/")
    [decision] = trace.event_chain(bridge, uuid.UUID(event_id))["prompts"]
    assert decision["launches"] == []  # nothing began yet: the new tab begins it

    form = {"handoff": door["handoff"]}
    begun = client.post(door["action"], data=form, headers={"Origin": DESK})
    assert begun.status_code == 200
    assert "http://tool.test/login" in begun.text
    client.cookies.clear()
    assert client.post(door["action"], data=form, headers={"Origin": DESK}).status_code == 401


def test_nobody_sees_or_touches_the_prompts_of_others(bridge: Runtime, client: TestClient) -> None:
    happens(bridge, "deal")
    happens(bridge, "project")
    sam, priya = Widget(client), Widget(client, sub="priya")
    assert priya.prompts() == []
    prompts = {prompt["title"]: prompt["id"] for prompt in sam.prompts()}
    for action in ("shown", "dismiss", "open"):
        assert error(priya.post(f"prompts/{prompts['Pricing']}/{action}")) == (404, "not_found")
    launch = sam.post(f"prompts/{prompts['Risks']}/open").json()
    assert error(priya.post(f"launches/{launch['launch_id']}/finish")) == (404, "not_found")
    step = launch["steps"][0]["id"]
    assert error(priya.post(f"launches/{launch['launch_id']}/steps/{step}", {"done": True})) == (404, "not_found")
    assert len(sam.prompts()) == 2


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"secret": "another secret of thirty-two bytes!!"}, (401, "signature_invalid")),
        ({"age": 600}, (401, "signature_invalid")),
        ({"aud": "http://other.test"}, (401, "signature_invalid")),
        ({"exp": time.time() + 86400}, (401, "signature_invalid")),
        ({"sub": "stranger"}, (403, "person_unknown")),
    ],
)
def test_only_the_apps_own_fresh_word_signs_in(
    bridge: Runtime, client: TestClient, changed: dict[str, Any], expected: tuple[int, str]
) -> None:
    body = {"connection": "desk", "assertion": assertion(**changed)}
    answer = client.post("/api/v1/widget/session", json=body, headers={"Origin": DESK})
    assert error(answer) == expected
    assert answer.headers["access-control-allow-origin"] == DESK  # the widget must be able to read why
    assert SIGN_IN not in answer.text


def test_without_a_token_there_is_nothing(bridge: Runtime, client: TestClient) -> None:
    for header in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": f"Bearer {assertion()}"}):
        assert error(client.get("/api/v1/widget/prompts", headers=header)) == (401, "signature_invalid")


def test_a_token_ends_with_its_connection(bridge: Runtime, client: TestClient, tmp_path: Path) -> None:
    sam = Widget(client)
    off = (
        "connections: [{name: desk, connector: webhook, enabled: false, config: {bearer: a bearer token of the desk}}]"
    )
    (tmp_path / "off.yaml").write_text(off)
    configure.apply(bridge, tmp_path / "off.yaml")
    assert error(sam.get("prompts")) == (403, "connection_disabled")


def test_only_pages_of_the_app_may_read_the_answers(bridge: Runtime, client: TestClient) -> None:
    sam = Widget(client)
    allowed = sam.get("prompts")
    assert allowed.headers["access-control-allow-origin"] == DESK
    assert "Origin" in allowed.headers["vary"]
    assert "access-control-allow-credentials" not in allowed.headers
    assert allowed.headers["cache-control"] == "no-store"

    for stranger in ("http://evil.test", "null", "http://desk.test.evil.test", "https://desk.test"):
        refused = sam.get("prompts", Origin=stranger)
        assert error(refused) == (403, "origin_refused")
        assert "access-control-allow-origin" not in refused.headers
        body = {"connection": "desk", "assertion": assertion()}
        assert error(client.post("/api/v1/widget/session", json=body, headers={"Origin": stranger}))[0] == 403


def test_a_page_of_one_app_can_not_use_the_sign_in_of_another(bridge: Runtime, client: TestClient) -> None:
    sam = Widget(client)
    assert error(sam.get("prompts", Origin=SHOP)) == (403, "origin_refused")
    assert Widget(client, connection="shop", origin=SHOP).prompts() == []


def test_preflight(bridge: Runtime, client: TestClient) -> None:
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    known = client.options("/api/v1/widget/prompts/1/open", headers={"Origin": DESK, **asks})
    assert known.status_code == 204
    assert known.headers["access-control-allow-origin"] == DESK
    assert "authorization" in known.headers["access-control-allow-headers"]
    unknown = client.options("/api/v1/widget/prompts/1/open", headers={"Origin": "http://evil.test", **asks})
    assert "access-control-allow-origin" not in unknown.headers


def test_the_script_is_cached_by_its_content(client: TestClient) -> None:
    script = client.get("/widget.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert script.headers["cross-origin-resource-policy"] == "cross-origin"
    same = client.get("/widget.js", headers={"If-None-Match": script.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")


def later(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Run something in the background; its answer is in the list when the thread has ended."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(call()))
    thread.start()
    return thread, answers


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def waiting(client: TestClient) -> int:
    counted: int = sum(client.app.state.watcher._waiting.values())  # type: ignore[attr-defined]
    return counted


def test_a_waiting_request_is_answered_when_the_prompt_comes(bridge: Runtime, client: TestClient) -> None:
    sam = Widget(client)
    cursor = sam.get("prompts").json()["cursor"]
    thread, answers = later(lambda: sam.get(f"prompts?after={cursor}&wait=25").json())
    until(lambda: waiting(client))
    began = time.monotonic()
    happens(bridge, "project", owner="priya")  # of no concern to Sam
    happens(bridge, "deal")
    thread.join(20)
    [news] = answers
    assert [prompt["title"] for prompt in news["prompts"]] == ["Pricing"]
    assert time.monotonic() - began < 10, "it waited until its time was over"
    quiet = sam.get(f"prompts?after={news['cursor']}&wait=0.3").json()
    assert quiet["cursor"] == news["cursor"]


def test_one_person_can_not_hold_many_requests_open(
    bridge: Runtime, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(widget, "WAITING_PER_PERSON", 1)
    sam, priya = Widget(client), Widget(client, sub="priya")
    cursor = sam.get("prompts").json()["cursor"]
    thread, _ = later(lambda: sam.get(f"prompts?after={cursor}&wait=25"))
    until(lambda: waiting(client) == 1)
    refused = sam.get("prompts")
    assert error(refused) == (429, "too_many_waiting")
    assert int(refused.headers["retry-after"]) > 0
    assert priya.get("prompts").status_code == 200
    happens(bridge, "deal")
    thread.join(20)
    assert sam.get("prompts").status_code == 200


@pytest.fixture
def process(bridge: Runtime, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The web application in a process of its own, over the same database; it and its address."""
    port = free_port()
    own = {"HOME": str(bridge.settings.home), "PORT": str(port), "BASE_URL": "http://bridge.test"}
    env = {**os.environ, **{f"FLOWBRIDGE_{name}": value for name, value in own.items()}}
    argv = [sys.executable, "-P", "-m", "bridge.cli_serve", "web"]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(argv, env=env, stdout=log, stderr=log) as started:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"{url}/healthz", timeout=2).ok:
                    break
            assert started.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield started, url
        if started.poll() is None:
            started.kill()


def test_pages_that_were_left_hold_no_place_and_a_stop_answers_all(
    process: tuple[subprocess.Popen[bytes], str],
) -> None:
    server, url = process
    body = {"connection": "desk", "assertion": assertion()}
    token = requests.post(f"{url}/api/v1/widget/session", json=body, timeout=10).json()["token"]
    bearer = {"Authorization": f"Bearer {token}"}

    def ask(wait: float, after: str = "") -> requests.Response:
        parameters = {"after": after, "wait": str(wait)}
        return requests.get(f"{url}/api/v1/widget/prompts", parameters, headers=bearer, timeout=40)

    cursor = ask(0).json()["cursor"]
    for _ in range(widget.WAITING_PER_PERSON + 2):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as left:
            line = f"GET /api/v1/widget/prompts?after={cursor}&wait=30 HTTP/1.1\r\nHost: x\r\n"
            left.sendall(f"{line}Authorization: {bearer['Authorization']}\r\n\r\n".encode())
            left.settimeout(0.15)
            with contextlib.suppress(TimeoutError):
                assert b"429" not in left.recv(64)
    until(lambda: ask(0).status_code == 200)

    thread, answers = later(lambda: ask(30, cursor))
    time_out = time.monotonic() + 1
    while time.monotonic() < time_out and not answers:
        thread.join(0.1)
    began = time.monotonic()
    server.send_signal(signal.SIGTERM)
    thread.join(10)
    assert [answer.status_code for answer in answers] == [200]
    server.wait(10)
    assert time.monotonic() - began < 8
