"""The widget in Desk, in a real browser: prompts, help, keyboard, phone, and the page around it left alone."""

from __future__ import annotations

import datetime as dt
import re
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from bridge.domain.events import BusinessEvent, PersonRef
from bridge.flows import accept_event, configure, sync_catalogue
from tests.browser.conftest import Site

pytestmark = pytest.mark.browser

TREE = """---
title: Refund
kind: decision-tree
---
## Start

Did it arrive?

- [Yes](#late)
- [No](#sorry)

## Late

Ask when.

## Sorry

Say sorry.
"""
TREES = """
connections: [{name: trees, connector: files, config: {path: "%s"}}]
rules: [{name: refund, on: refund, for: owner, offer: {asset: trees/refund.md}, say: Decide on the refund.}]
"""
SAY = "Before preparing your proposal, review this 90-second guide on enterprise pricing strategy."


def sign_in(page: Page, site: Site, name: str) -> None:
    page.goto(site.desk)
    page.get_by_role("button", name=name).click()


def open_record(page: Page, site: Site, name: str, path: str) -> None:
    sign_in(page, site, name)
    page.goto(f"{site.desk}/{path}")


def deal(site: Site, subject: str = "opportunity/1021", kind: str = "desk.opportunity.created", **data: Any) -> float:
    """A large opportunity of Sam's comes in from somewhere else; returns when."""
    event = BusinessEvent(
        id=f"evt-{time.monotonic_ns()}",
        type=kind,
        source="elsewhere",
        time=dt.datetime.now(dt.UTC),
        subject=subject,
        data={"amount": 480_000, "customer": "Kestrel Freight", **data},
        people={"owner": PersonRef(id="sam")},
    )
    began = time.monotonic()
    accept_event.accept(site.runtime, "desk", [event])
    return began


def connected(page: Page) -> None:
    """Wait until the widget waits for prompts."""
    page.wait_for_function("performance.getEntriesByType('resource').some(e => e.name.includes('/widget/prompts'))")


def help_region(page: Page) -> Locator:
    return page.get_by_role("region", name="Help for you")


def test_a_prompt_comes_by_itself_and_takes_nothing_from_the_person(page: Page, site: Site) -> None:
    sign_in(page, site, "Sam")
    page.goto(f"{site.desk}/opportunities/new")
    connected(page)
    page.get_by_label("Notes").fill("They compare us")
    began = deal(site)
    expect(help_region(page)).to_contain_text(SAY)
    print(f"on the screen {time.monotonic() - began:.2f} s after its event")
    page.keyboard.type(" with two others.")
    expect(page.get_by_label("Notes")).to_have_value("They compare us with two others.")
    expect(help_region(page)).to_contain_text("Guide · 90 seconds")
    expect(page.locator("flowbridge-help [role=status]").first).to_contain_text(SAY)


def test_the_whole_way_from_the_form_to_the_read_guide(page: Page, site: Site) -> None:
    sign_in(page, site, "Sam")
    page.get_by_role("link", name="New opportunity").click()
    for label, value in (
        ("Opportunity", "Fleet planning"),
        ("Customer", "Kestrel <img src=x onerror=alert(1)> Freight"),
        ("Contact", "Ana Ribeiro"),
        ("Amount", "480,000"),
        ("Expected close", "2027-03-31"),
    ):
        page.get_by_label(label, exact=False).first.fill(value)
    page.get_by_role("button", name="Save opportunity").click()
    expect(help_region(page)).to_contain_text(SAY)
    page.get_by_role("button", name="Open: Four things").click()
    panel = page.get_by_role("dialog", name="Four things to check")
    expect(panel).to_contain_text("480,000 USD to Kestrel <img src=x onerror=alert(1)> Freight")
    panel.get_by_role("button", name="I have read this").click()
    expect(panel).to_contain_text("Completed")
    panel.get_by_role("contentinfo").or_(panel).get_by_role("button", name="Close").last.click()
    expect(panel).to_be_hidden()
    expect(help_region(page)).to_contain_text("Completed")
    page.reload()
    expect(help_region(page)).to_contain_text("Completed")
    page.get_by_role("button", name="Clear: Four things").click()
    expect(help_region(page)).to_be_hidden()


def test_ticks_are_saved_at_once(page: Page, site: Site) -> None:
    open_record(page, site, "Priya", "projects/1020")
    page.get_by_role("button", name="Start project").click()
    page.get_by_role("button", name="Open: Who could stop").click()
    panel = page.get_by_role("dialog")
    boxes = panel.get_by_role("checkbox")
    expect(boxes.first).not_to_be_checked()
    count = boxes.count()
    boxes.nth(0).check()
    panel.get_by_text("One person decides").click()  # the words tick too
    expect(panel).to_contain_text(f"2 of {count} done")
    panel.get_by_role("button", name="Done").click(force=True)  # it says that it is disabled, and why when it is used
    expect(panel.get_by_role("alert")).to_contain_text("Tick every step first")

    page.reload()
    page.get_by_role("button", name="Open: Who could stop").click()
    expect(panel).to_contain_text(f"2 of {count} done")
    expect(boxes.nth(1)).to_be_checked()
    for number in range(2, count):
        boxes.nth(number).check()
    expect(panel).to_contain_text(f"{count} of {count} done")
    panel.get_by_role("button", name="Done").click()
    expect(panel).to_contain_text("Completed")


def test_a_tick_that_is_not_saved_is_taken_back_and_said(page: Page, site: Site) -> None:
    open_record(page, site, "Priya", "projects/1020")
    page.get_by_role("button", name="Start project").click()
    page.get_by_role("button", name="Open: Who could stop").click()
    page.route("**/steps/**", lambda route: route.abort())
    first = page.get_by_role("checkbox").first
    first.click()
    expect(page.get_by_role("alert")).to_contain_text("Not saved")
    expect(first).not_to_be_checked()


def test_the_keyboard_is_enough(page: Page, site: Site) -> None:
    open_record(page, site, "Sam", "opportunities/1021")
    connected(page)
    deal(site)
    expect(help_region(page)).to_be_visible()
    page.keyboard.press("Alt+Shift+KeyH")
    expect(help_region(page)).to_be_focused()
    page.keyboard.press("Tab")  # Minimise
    page.keyboard.press("Tab")
    opener = page.get_by_role("button", name="Open: Four things")
    expect(opener).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Four things")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(opener).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Four things")).to_be_focused()
    for _ in range(3):  # Close, the text, the button
        page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="I have read this")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("Completed")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Open again: Four things")).to_be_focused()


def test_not_now_is_remembered_and_minimising_keeps_a_count(page: Page, site: Site) -> None:
    open_record(page, site, "Sam", "opportunities/1021")
    connected(page)
    deal(site)
    page.get_by_role("button", name="Minimise").click()
    pill = page.get_by_role("button", name="Help for you: 1")
    expect(pill).to_be_focused()
    page.goto(f"{site.desk}/opportunities")
    pill.click()
    page.get_by_role("button", name="Not now: Four things").click()
    expect(help_region(page)).to_be_hidden()
    page.reload()
    connected(page)
    expect(page.get_by_text(SAY)).to_have_count(0)


def test_a_prompt_of_another_record_does_not_open_by_itself_on_the_next_page(page: Page, site: Site) -> None:
    sign_in(page, site, "Sam")
    deal(site, subject="opportunity/1019")
    page.goto(f"{site.desk}/opportunities/1021")
    expect(page.get_by_role("button", name="Help for you: 1")).to_be_visible()
    expect(help_region(page)).to_be_hidden()
    page.goto(f"{site.desk}/opportunities/1019")
    expect(help_region(page)).to_contain_text(SAY)


def test_a_phone(page: Page, site: Site) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    open_record(page, site, "Sam", "opportunities/1021")
    connected(page)
    deal(site)
    sheet = help_region(page)
    expect(sheet).to_be_visible()
    box = sheet.bounding_box()
    assert box is not None
    assert (box["x"], box["width"]) == (0, 360)
    assert round(box["y"] + box["height"]) == 740
    for button in sheet.get_by_role("button").all():
        size = button.bounding_box()
        assert size is not None
        assert size["height"] >= 44
    page.get_by_role("button", name="Open: Four things").click()
    panel = page.get_by_role("dialog").bounding_box()
    assert panel is not None
    assert (panel["width"], panel["height"]) == (360, 740)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    content = page.locator("flowbridge-help .content")
    assert content.evaluate("node => node.scrollWidth <= node.clientWidth")
    page.keyboard.press("Escape")
    expect(sheet).to_be_visible()


def test_the_quiz_opens_in_its_own_tab_and_comes_back_as_completed(page: Page, site: Site) -> None:
    open_record(page, site, "Sam", "opportunities/1021")
    connected(page)
    deal(site, kind="desk.opportunity.stage_changed", stage="proposal")
    with page.context.expect_page() as opened:
        page.get_by_role("button", name="Open: Negotiating under pressure (new tab)").click()
    tab = opened.value
    expect(tab.get_by_role("heading", name="Negotiating under pressure").first).to_be_visible()
    assert tab.evaluate("window.opener") is None
    for question in tab.get_by_role("group").all():
        question.get_by_role("radio").first.check()
    tab.get_by_role("button", name=re.compile("answers|send|finish|see", re.IGNORECASE)).click()
    expect(tab).to_have_url(re.compile("/result$"))
    page.bring_to_front()
    expect(help_region(page)).to_contain_text("Completed")


def test_the_style_of_the_page_and_of_the_help_leave_each_other_alone(page: Page, site: Site) -> None:
    open_record(page, site, "Sam", "opportunities/1021")
    connected(page)
    own = "h1 => getComputedStyle(h1).cssText || getComputedStyle(h1).fontSize"
    before = page.locator("h1").evaluate(own)
    deal(site)
    opener = page.get_by_role("button", name="Open: Four things")
    expect(opener).to_be_visible()
    assert page.locator("h1").evaluate(own) == before
    size = opener.bounding_box()
    page.add_style_tag(
        content="* { font-size: 40px !important; letter-spacing: 1em } button { display: none !important }"
    )
    expect(opener).to_be_visible()
    assert opener.bounding_box() == size


def test_without_the_bridge_the_page_works_and_help_comes_when_it_is_back(page: Page, site: Site) -> None:
    away = True

    def maybe(route: Route) -> None:
        route.abort() if away else route.continue_()

    sign_in(page, site, "Sam")
    deal(site)
    page.route(f"{site.bridge}/api/**", maybe)
    page.goto(f"{site.desk}/opportunities/1021")
    page.wait_for_event("requestfailed")
    page.get_by_role("button", name="Proposal").click()
    expect(page.get_by_role("button", name="Proposal")).to_have_attribute("aria-current", "step")
    expect(page.locator("flowbridge-help :is(section, dialog, .pill):visible")).to_have_count(0)
    away = False
    expect(help_region(page)).to_contain_text(SAY)


def test_a_page_that_may_not_embed_it_is_told_once_and_left_alone(page: Page, site: Site) -> None:
    asked: list[str] = []
    words = "Pages of this site may not embed the widget."

    def refuse(route: Route) -> None:
        asked.append(route.request.method)
        answer = {"error": {"code": "origin_refused", "message": words}}
        route.fulfill(status=403, json=answer, headers={"Access-Control-Allow-Origin": site.desk})

    sign_in(page, site, "Sam")
    page.goto("about:blank")  # no earlier page's widget is at work
    page.route("**/widget/session", refuse)
    page.clock.install()
    with page.expect_console_message(lambda message: words in message.text):
        page.goto(f"{site.desk}/opportunities/1021")
    page.clock.fast_forward("10:00")
    assert page.evaluate("fetch('/bridge-assertion').then(answer => answer.status)") == 200
    assert asked.count("POST") == 1


def test_a_sign_in_that_has_ended_is_renewed_by_the_app(page: Page, site: Site) -> None:
    """As after an hour: the bridge knows neither the token nor the assertion that came with the page any more."""
    refuse = {"status": 401, "json": {"error": {}}, "headers": {"Access-Control-Allow-Origin": site.desk}}
    sign_in(page, site, "Sam")
    page.goto("about:blank")  # no earlier page's widget is at work
    deal(site)
    page.route("**/widget/session", lambda route: route.fulfill(**refuse), times=1)
    page.route("**/widget/prompts?*", lambda route: route.fulfill(**refuse), times=1)
    with page.expect_response("**/bridge-assertion"):
        page.goto(f"{site.desk}/opportunities/1021")
    expect(help_region(page)).to_contain_text(SAY)


def test_a_decision_tree_is_walked_node_by_node(page: Page, site: Site, tmp_path: Path) -> None:
    (tmp_path / "trees").mkdir()
    (tmp_path / "trees" / "refund.md").write_text(TREE)
    (tmp_path / "trees.yaml").write_text(TREES % (tmp_path / "trees"))
    configure.apply(site.runtime, tmp_path / "trees.yaml")
    sync_catalogue.sync(site.runtime, "trees")
    open_record(page, site, "Sam", "opportunities/1021")
    connected(page)
    deal(site, kind="refund")
    page.get_by_role("button", name="Open: Refund").click()
    panel = page.get_by_role("dialog", name="Refund")
    expect(panel).to_contain_text("Did it arrive?")
    expect(panel.get_by_text("Say sorry.")).to_be_hidden()
    address = page.url
    panel.get_by_role("link", name="No").click()
    expect(panel.get_by_text("Say sorry.")).to_be_visible()
    expect(panel.get_by_text("Did it arrive?")).to_be_hidden()
    assert page.url == address
    panel.get_by_role("button", name="Back").click()
    expect(panel.get_by_text("Did it arrive?")).to_be_visible()
    panel.get_by_role("button", name="Done").click()
    expect(panel).to_contain_text("Completed")


def test_dark_and_still(page: Page, site: Site) -> None:
    page.emulate_media(color_scheme="dark")
    open_record(page, site, "Sam", "opportunities/1021")
    connected(page)
    deal(site)
    stack = help_region(page)
    expect(stack).to_be_visible()
    look = stack.evaluate("s => [getComputedStyle(s).backgroundColor, getComputedStyle(s).animationName]")
    assert look == ["rgb(26, 33, 48)", "none"]
    page.emulate_media(color_scheme="light")
    assert stack.evaluate("s => getComputedStyle(s).backgroundColor") == "rgb(255, 255, 255)"
