"""Registration in a real browser: a tool in its own window, and the bridge's page in a frame of an LMS."""

from __future__ import annotations

import dataclasses
import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from playwright.sync_api import Browser, Page, expect

from bridge.demo.run import Ports
from bridge.flows import identity
from bridge.flows.runtime import Runtime
from bridge.store import tables
from bridge.web.app import create_app
from bridge.web.auth import SESSION_COOKIE
from tests.browser.conftest import serving
from tests.conftest import make_runtime

pytestmark = pytest.mark.browser

CONFIGURATION = "https://purl.imsglobal.org/spec/lti-tool-configuration"
CLOSE = "(window.opener || window.parent).postMessage({subject: 'org.imsglobal.lti.close'}, '%s')"


def tool_at(url: str, *, says_so: bool) -> FastAPI:
    """A tool that registers as soon as its registration URL is opened, and may say when it is done."""
    app = FastAPI()

    @app.get("/register")
    def register(openid_configuration: str, registration_token: str) -> HTMLResponse:
        with urllib.request.urlopen(openid_configuration) as answer:
            platform = json.load(answer)
        asked = {
            "application_type": "web",
            "response_types": ["id_token"],
            "grant_types": ["implicit", "client_credentials"],
            "client_name": "Academy",
            "initiate_login_uri": f"{url}/login",
            "redirect_uris": [f"{url}/launch"],
            "jwks_uri": f"{url}/keys",
            "token_endpoint_auth_method": "private_key_jwt",
            "scope": " ".join(platform["scopes_supported"]),
            CONFIGURATION: {
                "domain": url.partition("://")[2],
                "target_link_uri": f"{url}/launch",
                "custom_parameters": {"about": "$FlowBridge.event.data.customer"},
                "claims": ["sub", "name", "email"],
                "messages": [{"type": "LtiDeepLinkingRequest", "target_link_uri": f"{url}/choose"}],
            },
        }
        headers = {"Authorization": f"Bearer {registration_token}"}
        sent = urllib.request.Request(platform["registration_endpoint"], json.dumps(asked).encode(), headers)
        urllib.request.urlopen(sent).close()
        script = CLOSE % platform["issuer"] if says_so else ""
        return HTMLResponse(f"<!doctype html><title>Academy</title><p>Done</p><script>{script}</script>")

    return app


def lms_at(url: str) -> FastAPI:
    """An LMS that shows a tool's registration page in a frame, and closes the frame when it hears of the end."""
    app = FastAPI()

    @app.get("/add")
    def add(request: Request) -> HTMLResponse:
        return HTMLResponse(f"""<!doctype html><title>LMS</title><iframe width="600" height="600" title="tool"></iframe>
            <p id="heard"></p><script>
            const tool = new URL({json.dumps(request.query_params["tool"])});
            tool.searchParams.set("openid_configuration", "{url}/configuration");
            document.querySelector("iframe").src = tool;
            addEventListener("message", (event) => {{
              if (event.origin === tool.origin) document.querySelector("#heard").textContent = event.data.subject;
            }});</script>""")

    @app.get("/configuration")
    def configuration() -> dict[str, Any]:
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri", "registration_endpoint")
        endpoints = {name: f"{url}/{name}" for name in names}
        return {"issuer": url, "id_token_signing_alg_values_supported": ["RS256"], **endpoints}

    @app.post("/registration_endpoint")
    def register() -> dict[str, Any]:
        return {"client_id": "c-1", CONFIGURATION: {"deployment_id": "6"}}

    return app


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the bridge and its peer are."""

    bridge: str
    peer: str
    port: int
    runtime: Runtime


@pytest.fixture
def place(fresh_home: Path, tmp_path: Path) -> Iterator[Place]:
    ports = Ports.free()
    bridge, peer = f"http://127.0.0.1:{ports.bridge}", f"http://localhost:{ports.tool}"
    runtime = make_runtime(Path(shutil.copytree(fresh_home, tmp_path / "home")), base_url=bridge)
    with serving(create_app(runtime), ports.bridge):
        yield Place(bridge, peer, ports.tool, runtime)
    runtime.db.close()


@pytest.fixture
def page(browser: Browser, place: Place) -> Iterator[Page]:
    """A page of a signed-in admin; an error on it fails the test."""
    with place.runtime.db.write() as session:
        person = session.query(tables.Person).filter_by(role="admin").one()
        person.password_once = False
    token, _ = identity.open_session(place.runtime, person.id, via="password")
    context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    context.add_cookies([{"name": SESSION_COOKIE, "value": token, "url": place.bridge}])
    opened = context.new_page()
    errors: list[str] = []
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield opened
    context.close()
    assert errors == []


def begin(page: Page, place: Place, way: str, url: str) -> None:
    page.goto(f"{place.bridge}/console/connections")
    page.get_by_role("link", name=way).click()
    page.get_by_label("Name of the connection").fill("academy")
    page.get_by_label(url).fill(f"{place.peer}/register")
    page.get_by_role("button", name="Go on").click()


@pytest.mark.parametrize("says_so", [True, False])
def test_a_tool_registers_in_a_window_that_closes(page: Page, place: Place, says_so: bool) -> None:
    with serving(tool_at(place.peer, says_so=says_so), place.port):
        begin(page, place, "Connect a tool by its registration URL", "registration URL")
        with page.expect_popup() as popup:
            page.get_by_role("link", name=f"Open {place.peer}").click()
        if says_so:
            expect(page.get_by_role("heading", level=1)).to_have_text("Approve academy?")
            assert popup.value.is_closed()
        else:  # noticed by asking again and again
            page.get_by_role("link", name="Look at academy").click()
    page.get_by_label("Send scores").uncheck()
    page.get_by_label("their e-mail address").check()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("status")).to_have_text("It is approved and switched on.")
    with place.runtime.db.read() as session:
        config = session.query(tables.Connection).filter_by(name="academy").one().config
    assert (len(config["scopes"]), config["send_name"], config["send_email"]) == (4, False, True)


def test_a_tool_registers_without_a_script(browser: Browser, page: Page, place: Place) -> None:
    context = browser.new_context(java_script_enabled=False)
    context.add_cookies(page.context.cookies())  # type: ignore[arg-type]
    bare = context.new_page()
    with serving(tool_at(place.peer, says_so=True), place.port):
        begin(bare, place, "Connect a tool by its registration URL", "registration URL")
        early = context.new_page()
        early.goto(place.bridge + str(bare.get_by_role("link", name="I am done").get_attribute("href")))
        expect(early.get_by_role("heading", level=1)).to_have_text("Nothing has registered yet")
        with bare.expect_popup() as popup:
            bare.get_by_role("link", name=f"Open {place.peer}").click()
        expect(popup.value.get_by_text("Done")).to_be_visible()
    bare.get_by_role("link", name="I am done").click()
    bare.get_by_role("button", name="Reject and forget it").click()
    expect(bare.get_by_role("status")).to_have_text("It is rejected and forgotten.")
    context.close()


def test_an_lms_registers_the_bridge_in_a_frame(browser: Browser, page: Page, place: Place) -> None:
    begin(page, place, "Connect an LMS", "Address of the LMS")
    url = page.get_by_label("Registration URL of flowbridge").input_value()
    stranger = browser.new_context()  # whoever looks after the LMS is nobody here
    lms = stranger.new_page()
    with serving(lms_at(place.peer), place.port):
        lms.goto(f"{place.peer}/add?tool={quote(url, safe='')}")
        frame = lms.frame_locator("iframe")
        expect(frame.get_by_role("heading", level=1)).to_have_text("Register flowbridge with localhost?")
        frame.get_by_role("button", name="Register").click()
        expect(lms.locator("#heard")).to_have_text("org.imsglobal.lti.close")
    expect(page.get_by_role("link", name="Look at academy")).to_be_visible()
    stranger.close()
