"""Deep linking in Chromium, by keyboard, on a phone and at a desk.

The tool is another site than the bridge, so that its post brings no session along.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from fastapi import FastAPI, Form
from fastapi.responses import HTMLResponse, RedirectResponse
from playwright.sync_api import Browser, Page, Route, expect

from bridge.settings import Settings
from bridge.web.app import create_app
from tests.lti.test_deep_linking import DL, Chooser, chooser_in
from tests.lti.test_placing import LMS, author_in
from tests.lti.test_sample_tool import serving
from tests.ports import free_port

pytestmark = pytest.mark.browser

NARROW, WIDE = {"width": 390, "height": 800}, {"width": 1280, "height": 800}


def picking_tool(chooser: Chooser, bridge: str) -> FastAPI:
    """A tool that picks one quiz by itself."""
    app = FastAPI()

    @app.post("/login")
    def login(
        login_hint: Annotated[str, Form()],
        lti_message_hint: Annotated[str, Form()],
        target_link_uri: Annotated[str, Form()],
    ) -> RedirectResponse:
        fields = {"client_id": "client-1", "login_hint": login_hint, "lti_message_hint": lti_message_hint}
        query = "&".join(
            f"{name}={value}" for name, value in chooser.request(fields, redirect_uri=target_link_uri).items()
        )
        return RedirectResponse(f"{bridge}/lti/authorize?{query}", 302)

    @app.post("/launch")
    def launch(id_token: Annotated[str, Form()]) -> HTMLResponse:
        message = chooser.office.claims_of(id_token)
        item = {"type": "ltiResourceLink", "title": "Negotiation", "lineItem": {"scoreMaximum": 20}}
        token = chooser.signed(chooser.claims(message, item))
        back = message[f"{DL}deep_linking_settings"]["deep_link_return_url"]
        form = f'<form method="post" action="{back}"><input type="hidden" name="JWT" value="{token}"></form>'
        return HTMLResponse(form + "<script>document.forms[0].submit()</script>")

    return app


@pytest.fixture
def site(office: Any, browser: Browser) -> Iterator[tuple[Chooser, str, Browser]]:
    bridge_port, tool_port = free_port(), free_port()
    office.runtime.settings = Settings.load(home=office.runtime.settings.home, port=bridge_port)
    chooser, bridge = chooser_in(office), f"http://127.0.0.1:{bridge_port}"
    tool = f"http://localhost:{tool_port}"
    office.change_tool(
        initiate_login_uri=f"{tool}/login", redirect_uris=[f"{tool}/launch"], target_link_uri=f"{tool}/launch"
    )
    with serving(picking_tool(chooser, bridge), tool_port), serving(create_app(office.runtime), bridge_port):
        yield chooser, bridge, browser


def opened(browser: Browser, bridge: str, token: str, size: dict[str, int]) -> Page:
    context = browser.new_context(viewport=size, reduced_motion="reduce")  # type: ignore[arg-type]
    context.add_cookies(
        [{"name": "flowbridge_session", "value": token, "url": bridge, "sameSite": "Lax", "httpOnly": True}]
    )
    return context.new_page()


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["phone", "desk"])
def test_content_is_chosen_by_keyboard(site: tuple[Chooser, str, Browser], size: dict[str, int]) -> None:
    chooser, bridge, browser = site
    page = opened(browser, bridge, chooser.token, size)
    page.goto(f"{bridge}/console/connections/tool")
    page.get_by_role("button", name="Choose content").press("Enter")
    expect(page.get_by_role("heading", name="Add this to the catalogue?")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(page.get_by_text("Negotiation, 20 points")).to_be_visible()
    page.get_by_label("Kind").press("q")
    expect(page.get_by_label("Kind")).to_have_value("quiz")
    page.get_by_role("button", name="Add to the catalogue").press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("Added to the catalogue: 1")
    (resource,) = chooser.resources()
    assert (resource["title"], resource["kind"]) == ("Negotiation", "quiz")
    page.context.close()


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["phone", "desk"])
def test_content_is_placed_by_keyboard(site: tuple[Chooser, str, Browser], size: dict[str, int]) -> None:
    chooser, bridge, browser = site
    author = author_in(chooser.office)
    chooser.office.add_asset("tool", "negotiation")
    page, sent = opened(browser, bridge, author.token, size), []

    def lms(route: Route) -> None:
        sent.append(route.request.post_data or "")
        route.fulfill(body="placed", content_type="text/plain")

    page.route(f"{LMS}/**", lms)
    page.goto(bridge + author.begin())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("checkbox", name="The quiz <quiz>").press(" ")
    page.get_by_label("Find in the catalogue").fill("negotiation")
    page.get_by_label("Find in the catalogue").press("Enter")
    page.get_by_role("checkbox", name="The quiz <negotiation>").press(" ")
    expect(page.get_by_role("checkbox", name="The quiz <quiz>")).to_be_checked()
    page.get_by_role("button", name="Place in course").press("Enter")
    expect(page.get_by_text("placed")).to_be_visible()
    items = chooser.office.claims_of(sent[0].removeprefix("JWT="))[f"{DL}content_items"]
    assert {item["custom"]["asset"] for item in items} == {"tool/quiz", "tool/negotiation"}
    page.context.close()
