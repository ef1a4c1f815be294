"""The console in a real browser: by keyboard, on a phone, in the dark, without JavaScript, and while work goes on."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import select

from bridge.demo.run import Ports
from bridge.flows import sync_catalogue
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from bridge.web.app import create_app
from tests.browser.conftest import serving
from tests.conftest import make_runtime
from tests.web import monday

pytestmark = pytest.mark.browser

#: Every page of the console: those with an id in their address are reached from another one.
PLACES = {
    "overview": "",
    "connections": "connections",
    "connection": "connections/guides",
    "problem": "connections/archive",
    "rules": "rules",
    "rule": "rules/enterprise-pricing",
    "decisions": "decisions",
    "event": "decisions?rule=stakeholder-risk",
    "people": "people",
    "stranger": "people",
    "catalogue": "catalogue",
    "destinations": "destinations",
    "dead letters": "dead-letters",
    "dead letter": "dead-letters",
    "reconciliations": "reconciliations",
    "reconciliation": "reconciliations",
    "failures": "failures",
    "report": "report",
}
_THROUGH = {"event": "td a", "stranger": "a.button", "dead letter": "td a", "reconciliation": "td a"}

#: Texts whose contrast with what is behind them is below WCAG 2.2 AA (1.4.3): 4.5, or 3 for large ones.
_TOO_FAINT = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] > 250) return colour;
    }
    return [255, 255, 255, 255];
  };
  const found = new Set();
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || element.closest("svg, script, option")) continue;
    if (!element.checkVisibility()) continue;
    const style = getComputedStyle(element), size = parseFloat(style.fontSize);
    const [one, two] = [light(rgba(style.color)), light(behind(element))].sort((a, b) => b - a);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const ratio = (one + 0.05) / (two + 0.05);
    if (ratio < (large ? 3 : 4.5)) found.add(`${ratio.toFixed(2)} ${texts.currentNode.data.trim().slice(0, 40)}`);
  }
  return [...found];
}"""

#: What somebody who can't see the page, or uses the keyboard, would stumble over.
_NAMELESS = """() => {
  const found = [];
  for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
    if (!field.labels.length && !field.ariaLabel) found.push(field.outerHTML);
  for (const one of document.querySelectorAll("a, button, summary"))
    if (!one.textContent.trim() && !one.ariaLabel) found.push(one.outerHTML);
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  found.push(...ids.filter((id, place) => ids.indexOf(id) !== place).map((id) => `twice: ${id}`));
  for (const one of document.querySelectorAll("[aria-labelledby]"))
    if (!document.getElementById(one.getAttribute("aria-labelledby"))) found.push(one.outerHTML.slice(0, 80));
  if (document.querySelectorAll("h1").length !== 1) found.push("not one h1");
  return found;
}"""


@dataclasses.dataclass(frozen=True)
class Console:
    """Where it is, and the bridge behind it."""

    url: str
    runtime: Runtime


@pytest.fixture(scope="module")
def seeded_home(fresh_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a bridge on a Monday, to be copied."""
    folder = tmp_path_factory.mktemp("monday")
    made = make_runtime(Path(shutil.copytree(fresh_home, folder / "home")))
    monday.monday(made, folder)
    compare(made)
    made.db.close()
    return folder / "home"


def compare(runtime: Runtime) -> None:
    """Last night a comparison found one statement missing."""
    with runtime.db.write() as session:
        lrs = session.scalars(select(tables.Connection).where(tables.Connection.name == "records")).one()
        lost = session.scalars(select(tables.Statement.id).where(tables.Statement.launch_id.is_not(None))).first()
        session.add(run := tables.Reconciliation(connection_id=lrs.id, finished_at=now(), matched=48_211, missing=1))
        session.flush()
        gap = {"kind": "missing", "detail": "it was delivered, and is not there any more"}
        session.add(tables.Difference(reconciliation_id=run.id, statement_id=lost, **gap))


@pytest.fixture
def console(seeded_home: Path, tmp_path: Path) -> Iterator[Console]:
    port = Ports.free().bridge
    url = f"http://127.0.0.1:{port}"
    made = make_runtime(Path(shutil.copytree(seeded_home, tmp_path / "home")), base_url=url)
    with serving(create_app(made), port):
        yield Console(f"{url}/console/", made)
    made.db.close()


@pytest.fixture
def page(browser: Browser, console: Console) -> Iterator[Page]:
    """A page of its own browser context, closed before the console; an error on it fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    opened = context.new_page()
    errors: list[str] = []
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield opened
    context.close()
    assert errors == []


def sign_in(page: Page, console: Console) -> None:
    page.goto(console.url)
    page.get_by_label("E-mail address").fill(monday.ADMIN)
    page.get_by_label("Password").fill(monday.PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")


def visit(page: Page, console: Console, place: str) -> None:
    page.goto(console.url + PLACES[place])
    if place in _THROUGH:
        page.locator(_THROUGH[place]).first.click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def test_every_page_reads_on_a_phone_and_in_the_dark(browser: Browser, console: Console) -> None:
    for width, scheme in ((360, "light"), (1280, "dark")):
        context = browser.new_context(viewport={"width": width, "height": 740}, color_scheme=scheme)  # type: ignore[arg-type]
        page = context.new_page()
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)  # noqa: B023
        sign_in(page, console)
        for place in PLACES:
            visit(page, console, place)
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, f"{place} is too wide"
            assert page.evaluate(_TOO_FAINT) == [], f"{place} in the {scheme}"
            assert page.evaluate(_NAMELESS) == [], place
        assert errors == []
        context.close()


def test_the_section_that_one_is_in_is_seen_on_a_phone(page: Page, console: Console) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    sign_in(page, console)
    visit(page, console, "report")
    expect(page.get_by_role("link", name="Report", exact=True)).to_be_in_viewport(ratio=1)


def test_an_admin_needs_no_mouse(page: Page, console: Console) -> None:
    page.goto(console.url)
    expect(page.get_by_label("E-mail address")).to_be_focused()
    page.keyboard.type(monday.ADMIN)
    page.keyboard.press("Tab")
    page.keyboard.type(monday.PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent").strip() == "Say who it is":
            break
    page.keyboard.press("Enter")
    page.get_by_role("link", name=re.compile(r"Say who it is.*twins@example\.com")).press("Enter")
    page.get_by_role("radio", name="Twin One").press("Space")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", name="Twin Two")).to_be_checked()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("prompts that came of them: 1")
    with console.runtime.db.read() as session:
        person = session.get_one(tables.Person, monday.prompt_of(console.runtime, "opportunity/6").person_id)
    assert person.key == "E004"


def test_a_synchronisation_is_followed_without_loading_the_page_again(page: Page, console: Console) -> None:
    sign_in(page, console)
    visit(page, console, "connection")
    page.get_by_role("button", name="Synchronise now").click()
    walk = page.locator("[data-follow]")
    expect(walk).to_contain_text("Asked for")
    expect(walk).to_have_attribute("aria-busy", "true")
    page.evaluate("document.body.dataset.same = 'yes'")
    with console.runtime.db.write() as session:
        run = session.scalars(select(tables.SyncRun).order_by(tables.SyncRun.id.desc())).first()
        assert run is not None
        run.started_at, run.pages, run.seen, run.total = now(), 1, 2, 3
    expect(walk).to_contain_text("2 of 3 assets seen")
    expect(walk.get_by_role("progressbar")).to_be_visible()
    sync_catalogue.sync(console.runtime, "guides")
    expect(walk).to_contain_text(re.compile(r"Finished\s+just now"))
    expect(walk).to_have_attribute("aria-busy", "false")
    assert page.evaluate("document.body.dataset.same") == "yes"


def test_the_numbers_of_the_plot_are_a_table_too(page: Page, console: Console) -> None:
    sign_in(page, console)
    plot = page.get_by_role("img", name="The last 14 days")
    expect(plot).to_be_visible()
    bars = plot.locator("rect").count()
    page.get_by_text("The numbers as a table").click()
    cells = page.locator("details td").all_inner_texts()
    assert len([cell for cell in cells if cell != "0"]) == bars > 10


def test_what_failed_is_sent_again_without_javascript(browser: Browser, console: Console) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, console)
    visit(page, console, "failures")
    page.get_by_role("link", name="Look at what records refused").click()
    page.get_by_role("button", name="Send all 4 to records again").click()
    expect(page.get_by_role("status")).to_have_text("Queued again: 4.")
    visit(page, console, "failures")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", level=2)).to_have_text("Nothing has failed")
    context.close()


def test_a_refused_statement_is_corrected_by_keyboard(browser: Browser, console: Console) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    sign_in(page, console)
    visit(page, console, "dead letters")
    page.locator("td a").first.press("Enter")
    field = page.get_by_label("Statement as JSON, without its id")
    right = field.input_value()
    field.fill(right.replace("http://adlnet.gov", "adlnet.gov", 1))
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Send this in its place")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("verb.id")
    expect(field).to_be_focused()
    field.fill(right.replace("/verbs/completed", "/verbs/experienced", 1))
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Queued in its place")
    with console.runtime.db.read() as session:
        states = session.scalars(select(tables.StatementReceipt.state)).all()
    assert states.count("replaced") == 1
    context.close()


def test_what_an_lrs_has_lost_is_followed_from_the_first_page_to_its_event(page: Page, console: Console) -> None:
    sign_in(page, console)
    page.get_by_role("link", name="Look at the comparison with records").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(re.compile(r"records, compared .* UTC"))
    page.get_by_role("link", name="The event that it came of").press("Enter")
    expect(page.get_by_role("columnheader", name="Statement")).to_be_visible()


def test_the_report_is_downloaded(page: Page, console: Console, tmp_path: Path) -> None:
    sign_in(page, console)
    visit(page, console, "report")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()
    assert re.fullmatch(r"completions_\d{4}-\d\d-\d\d_\d{4}-\d\d-\d\d\.csv", download.value.suggested_filename)
    download.value.save_as(tmp_path / "report.csv")
    assert (tmp_path / "report.csv").read_text().startswith("completed_at,person,")
