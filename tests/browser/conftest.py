"""A bridge, Desk and Chromium: each a real one, on free ports of this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page
from starlette.types import ASGIApp

from bridge.demo import run
from bridge.demo.desk import create_desk, settings_from
from bridge.demo.tool import create_app as create_tool
from bridge.flows import configure, decide_prompts, deliver_prompt, sync_catalogue
from bridge.flows.runtime import Runtime
from bridge.web.app import create_app
from tests.conftest import make_runtime


@dataclasses.dataclass(frozen=True)
class Site:
    """Where the bridge and Desk are."""

    bridge: str
    desk: str
    runtime: Runtime


@contextlib.contextmanager
def serving(app: ASGIApp, port: int) -> Iterator[None]:
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, log_config=None, timeout_graceful_shutdown=1, lifespan="on"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        thread.join(0.02)
    assert server.started, f"nothing serves on port {port}"
    yield
    server.should_exit = True
    thread.join(10)


def work_at_once(runtime: Runtime) -> None:
    """Decide and deliver in the moment of the nudge, as a worker beside the bridge would."""
    work = {"decide": decide_prompts.decide, "deliver": deliver_prompt.deliver}

    def nudge(queue: str) -> None:
        if queue in work:
            work[queue](runtime)

    runtime.nudge = nudge


@pytest.fixture
def site(tmp_path: Path, fresh_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A bridge with the demo's own configuration, and Desk."""
    ports = run.Ports.free()
    home = Path(shutil.copytree(fresh_home, tmp_path / "home"))
    runtime = make_runtime(home, base_url=f"http://127.0.0.1:{ports.bridge}")
    secrets = run.Secrets.make(lrs_key="fb_unused", lrs_secret="unused")
    for name, value in secrets.as_environment().items():
        monkeypatch.setenv(name, value)
    configure.apply(runtime, run.write_setup(tmp_path / "setup", ports, lrs_key="fb_unused"))
    for catalogue in ("guides", "quiz"):
        sync_catalogue.sync(runtime, catalogue)
    work_at_once(runtime)
    bridge = f"http://127.0.0.1:{ports.bridge}"
    desk = settings_from(secrets.as_environment(), home=tmp_path / "desk", port=ports.desk, bridge_url=bridge)
    tool = create_tool(bridge, key_file=tmp_path / "tool.pem")
    with (
        serving(create_app(runtime), ports.bridge),
        serving(create_desk(desk), ports.desk),
        serving(tool, ports.tool),
    ):
        yield Site(bridge, desk.url, runtime)
    runtime.db.close()


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """A page of its own browser context, closed before the site; a script error on it fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    assert errors == []
