"""The documentation does what it says: commands are run, configuration is applied, names and links exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer.main

from bridge.cli import app
from bridge.flows import configure
from bridge.flows.runtime import Runtime
from bridge.settings import Settings
from tests.docs.documents import DOCUMENTS, ROOT, Block, Reader, blocks

ALL = (*DOCUMENTS, *sorted((ROOT / "docs").glob("*/*.md")), ROOT / "CHANGELOG.md", ROOT / "SECURITY.md")
EVERY_DOCUMENT = pytest.mark.parametrize("document", ALL, ids=lambda path: str(path.relative_to(ROOT)))
WITH_COMMANDS = [path for path in DOCUMENTS if any(block.language == "console" for block in blocks(path))]
#: Variables that begin like a setting and are none.
OTHER_VARIABLES = {"FLOWBRIDGE_CONFIG", "FLOWBRIDGE_LIVE_DIR"}


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    made = Reader(tmp_path)
    yield made
    made.leave()


@pytest.mark.parametrize("document", WITH_COMMANDS, ids=lambda path: path.name)
def test_every_command_does_what_the_document_shows(document: Path, reader: Reader) -> None:
    for block in blocks(document):
        reader.follow(block)


@EVERY_DOCUMENT
def test_what_is_not_run_says_why(document: Path) -> None:
    for block in blocks(document):
        if "norun" in block.words:
            assert " " in block.words.get("why", ""), f"{block.place}: say why this can't be run"


@EVERY_DOCUMENT
def test_configuration_is_accepted(document: Path, runtime: Runtime, tmp_path: Path) -> None:
    for block in blocks(document):
        if block.language != "yaml":
            continue
        file = tmp_path / f"{block.place.replace('/', '-').replace(':', '-')}.yaml"
        file.write_text(block.text, encoding="utf-8")
        plan = configure.apply(runtime, file, dry_run=True)
        assert plan.changes or plan.unchanged, f"{block.place} configures nothing"
        configure.apply(runtime, file)


@EVERY_DOCUMENT
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"^```.*?^```|`[^`\n]+`", "", _text(document), flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"", text)
    for target in (inline or tag for inline, tag in targets):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        there = (document.parent / path) if path else document
        assert there.exists(), f"{document.name} leads to {target}, which is not there"
        assert not anchor or anchor in _anchors(there), f"{there.name} has no heading #{anchor}"


def _anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.+)$", _text(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@EVERY_DOCUMENT
def test_settings_that_are_named_exist(document: Path) -> None:
    named = set(re.findall(r"\bFLOWBRIDGE_[A-Z_]+[A-Z]\b", _text(document)))
    known = {f"FLOWBRIDGE_{name.upper()}" for name in Settings.model_fields} | OTHER_VARIABLES
    assert named <= known


@EVERY_DOCUMENT
def test_commands_that_are_named_exist(document: Path) -> None:
    root = typer.main.get_command(app)
    known = {name: getattr(command, "commands", {}) for name, command in root.commands.items()}  # type: ignore[attr-defined]
    for name, sub in re.findall(r"(?:`|^\$ )flowbridge ([a-z-]+)(?: ([a-z]+)\b)?", _text(document), re.MULTILINE):
        assert name in known, f"there is no command `flowbridge {name}`"
        assert not known[name] or not sub or sub in known[name], f"there is no command `flowbridge {name} {sub}`"


@EVERY_DOCUMENT
def test_make_targets_that_are_named_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", _text(ROOT / "Makefile"), re.MULTILINE))
    assert set(re.findall(r"(?:`|^\$ )make ([a-z]+)", _text(document), re.MULTILINE)) <= targets


def _text(document: Path) -> str:
    return document.read_text(encoding="utf-8")


class _Scripts(HTMLParser):
    """The attributes of the script elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self.found.append(dict(attrs))


def test_the_widget_knows_the_attributes_that_are_shown() -> None:
    widget = (ROOT / "bridge/web/static/widget.js").read_text(encoding="utf-8")
    shown = [name for block in _html() for script in _Scripts(block.text).found for name in script if "data-" in name]
    assert "data-connection" in shown and "data-assertion-url" in shown
    assert not [name for name in shown if f"{name}=" not in widget]


def _html() -> Iterator[Block]:
    return (block for document in DOCUMENTS for block in blocks(document) if block.language == "html")
