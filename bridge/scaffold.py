"""A skeleton of a new connector, whose contract suites fail until it is filled in."""

from __future__ import annotations

import dataclasses
import keyword
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from bridge.connect import CAPABILITIES
from bridge.flows.errors import Invalid

#: What most business systems can: tell what happened, and show a prompt.
USUAL = ("channel", "trigger")
_BASE = ("Config", "Connector", "Health", "Http", "HttpUrl", "Manifest", "SecretStr")


@dataclasses.dataclass(frozen=True, slots=True)
class _Suite:
    """A capability's class, the class of its contract suite, and the names that a connector with it needs."""

    capability: str
    contract: str
    names: tuple[str, ...]
    python: tuple[str, ...] = ()


_SUITES: Mapping[str, _Suite] = {
    "catalogue": _Suite("CatalogSource", "CatalogContract", ("AssetPage", "Checkpoint"), ("Iterator",)),
    "channel": _Suite("Channel", "ChannelContract", ("Prompt", "Receipt", "Recipient")),
    "trigger": _Suite("Trigger", "TriggerContract", ("BusinessEvent", "InboundRequest"), ("ClassVar",)),
    "poll": _Suite("Poll", "PollContract", ("Checkpoint", "EventPage"), ("ClassVar", "Iterator")),
    "write-back": _Suite("WriteBack", "WriteBackContract", ("Outcome", "Receipt")),
    "roster": _Suite("Roster", "RosterContract", ("Checkpoint", "PeoplePage"), ("Iterator",)),
    "statements": _Suite("StatementSink", "StatementSinkContract", ("Statement",), ("Sequence",)),
    "archive": _Suite(
        "StatementArchive", "StatementArchiveContract", ("StoredPage",), ("Any", "Iterator", "Mapping", "dt")
    ),
    "examination": _Suite("Examinable", "ExaminableContract", ("Finding",), ("Iterator",)),
}
_environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "skeleton"),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 - it makes Python and TOML of a checked name
)


def new_connector(name: str, folder: Path, can: Sequence[str] = USUAL) -> list[Path]:
    """Write a connector module and its test; returns the files.

    Within flowbridge's own source tree they go where ours are; anywhere else they become a project with an entry point
    of its own. ``name`` is the connector's key, ``can`` names its capabilities. Raises Invalid; then nothing
    is written.
    """
    words, ours = _words(name, can), is_ours(folder)
    files = {folder / path: _environment.get_template(template) for path, template in _layout(name, ours=ours).items()}
    there = [path for path in files if path.exists()]
    if there:
        raise Invalid("folder", f"{there[0]} is there already; choose another name or folder")
    module = f"connectors.{name}" if ours else f"flowbridge_{name}"
    for path, template in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(template.render(words, module=module, ours=ours), encoding="utf-8")
    return list(files)


def is_ours(folder: Path) -> bool:
    """Is this the source tree of flowbridge itself?"""
    project = folder / "pyproject.toml"
    return project.is_file() and tomllib.loads(project.read_text(encoding="utf-8"))["project"]["name"] == "flowbridge"


def class_name(name: str) -> str:
    """The class of the connector with that key."""
    return "".join(part.capitalize() for part in name.split("_"))


def _layout(name: str, *, ours: bool) -> dict[str, str]:
    """The files to write, each with its template."""
    if ours:
        tests = "tests/connectors"
        return {f"connectors/{name}.py": "connector.py.jinja", f"{tests}/test_{name}.py": "test_connector.py.jinja"}
    return {
        "pyproject.toml": "pyproject.toml.jinja",
        f"flowbridge_{name}.py": "connector.py.jinja",
        f"tests/test_{name}.py": "test_connector.py.jinja",
    }


def _words(name: str, can: Sequence[str]) -> dict[str, Any]:
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise Invalid(
            "name", f"'{name}' can't be a connector's key; use lower-case letters, digits and _, as in acme_crm"
        )
    unknown = [word for word in can if word not in CAPABILITIES]
    if unknown or not can:
        raise Invalid("can", f"{', '.join(unknown) or 'nothing'}; a connector can {', '.join(CAPABILITIES)}")
    suites = [_SUITES[word] for word in CAPABILITIES if word in can]
    contract = {*_BASE, *(suite.capability for suite in suites), *(word for suite in suites for word in suite.names)}
    helpers = ["an_outcome"] if "write-back" in can else []
    return {
        "name": name,
        "title": name.replace("_", " ").title(),
        "class_name": class_name(name),
        "can": can,
        "suites": suites,
        "contract": sorted(contract),
        "testing": sorted(["Answers", *(suite.contract for suite in suites)]) + helpers,
        "python": {word for suite in suites for word in suite.python},
    }
