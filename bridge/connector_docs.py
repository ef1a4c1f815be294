"""The pages about the connectors, made from the connectors: ``python -m bridge.connector_docs docs/connectors``."""

from __future__ import annotations

import argparse
import datetime as dt
import inspect
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import AnyUrl, BaseModel, SecretStr
from pydantic.fields import FieldInfo

from bridge import registry
from bridge.connect import CAPABILITIES, Connector, capabilities_of

MADE_BY = (
    "<!-- Made by `make docs` from the connector itself; a test compares. Change the connector, not this page. -->"
)
#: What is longer than so many characters has no place in a table.
LONGEST_CELL = 80
#: What each capability is good for, in a sentence that ends a line of a list.
MEANINGS: Mapping[str, str] = {
    "catalogue": "what it holds comes into the catalogue, for rules to offer",
    "channel": "prompts can be shown in it: name the connection under `through` of a rule",
    "trigger": "it sends events by webhook, to `/hooks/<connection>`",
    "poll": "it is asked for events every `poll_seconds`",
    "write-back": "completions are written into it",
    "roster": "it can list its people; the bridge does not take them over yet",
    "statements": "xAPI statements are forwarded to it",
    "archive": "what it holds can be compared with what was sent: `flowbridge reconcile`",
    "examination": "`flowbridge doctor` tries in depth what can be wrong with it",
}
PROVED: Mapping[str, str] = {
    "live": "live: against the system itself",
    "emulator": "emulator: against a program that plays the system",
    "contract": "contract: against the vendor's published contract, and replies recorded from the system",
}
_WORDS: Mapping[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
    UUID: "UUID",
    SecretStr: "text",
    dt.timedelta: "duration (ISO 8601)",
    Any: "anything",
}


class DocsError(Exception):
    """A page can't be made; the message says what is missing."""


def pages(examples: Path) -> dict[str, str]:
    """The pages by file name; ``examples`` holds a file KEY.yaml for each connector of this distribution."""
    found = sorted(_own(), key=lambda connector: connector.manifest.name.lower())
    made = {f"{connector.manifest.key}.md": _page(connector, examples) for connector in found}
    return {"index.md": _index(found), **made}


def write(folder: Path, examples: Path) -> list[Path]:
    """Write the pages into a folder and take away those of connectors that are gone; returns what is there now."""
    made = {folder / name: text for name, text in pages(examples).items()}
    folder.mkdir(parents=True, exist_ok=True)
    for path in set(folder.glob("*.md")) - set(made):
        path.unlink()
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
    return list(made)


def _own() -> Iterator[type[Connector[Any]]]:
    for entry in registry.entries():
        if entry.distribution != "flowbridge":
            continue
        if entry.connector is None:
            raise DocsError(f"the connector '{entry.key}' is broken: {entry.problem}")
        yield entry.connector


def _index(found: list[type[Connector[Any]]]) -> str:
    lines = [MADE_BY, "# Connectors", ""]
    lines.append(
        "What each connector can do, and how that was proved. `flowbridge connectors` prints the same of what is"
        " installed; `flowbridge check CONNECTION` says what of one connection works."
    )
    lines += ["", f"| connector | {' | '.join(CAPABILITIES)} | proved |", f"|---|{':-:|' * len(CAPABILITIES)}---|"]
    for connector in found:
        manifest, able = connector.manifest, capabilities_of(connector)
        marks = " | ".join("●" if name in able else "" for name in CAPABILITIES)
        lines.append(f"| [{manifest.name}]({manifest.key}.md) | {marks} | {manifest.verified} |")
    lines += ["", *(f"- **{name}**: {meaning}." for name, meaning in MEANINGS.items())]
    lines += ["", "How a connector was proved:", ""]
    lines += [f"- **{words.replace(':', '**:', 1)}." for words in PROVED.values()]
    lines += ["", "A connector of your own takes about an hour: see [CONTRIBUTING](../../CONTRIBUTING.md)."]
    return "\n".join(lines) + "\n"


def _page(connector: type[Connector[Any]], examples: Path) -> str:
    manifest = connector.manifest
    lines = [MADE_BY, f"# {manifest.name}", "", manifest.summary, ""]
    lines += [f"- **{name}**: {MEANINGS[name]}" for name in capabilities_of(connector)]
    lines += ["", _said(connector), "", f"**Proved** {PROVED[manifest.verified]}. {manifest.proof}"]
    lines += ["", f"**The vendor's documentation**: <{manifest.api_docs}>", "", "## Settings", ""]
    config = connector.config_class
    if config.__doc__:
        lines += [_said(config), ""]
    lines += [*_table(config), ""]
    for nested in _nested(config):
        lines += [f"Each of `{nested.field}`:", "", *_table(nested.model), ""]
    lines += ["## Example", "", "```yaml", _example(manifest.key, examples), "```"]
    return "\n".join(lines) + "\n"


def _said(of: type) -> str:
    """A docstring as Markdown."""
    return inspect.cleandoc(of.__doc__ or "").replace("``", "`")


def _example(key: str, examples: Path) -> str:
    file = examples / f"{key}.yaml"
    if not file.is_file():
        raise DocsError(f"the connector '{key}' has no example: write {file}")
    return file.read_text(encoding="utf-8").strip()


def _table(model: type[BaseModel]) -> list[str]:
    """The settings of a model; without a column of meanings where its docstring says what they mean."""
    told = any(field.description for field in model.model_fields.values())
    rows, below = ["| setting | type | default |", "|---|---|---|"], []
    for name, field in model.model_fields.items():
        secret = "**secret** " if _holds(field.annotation, SecretStr) else ""
        kind, default = secret + _type(field.annotation), _default(field)
        if len(kind) > LONGEST_CELL:
            below += ["", f"`{name}`: {kind}."]
            kind = "see below"
        if len(default) > LONGEST_CELL:
            below += ["", f"Where `{name}` is left out, it is {default}."]
            default = "see below"
        rows.append(f"| `{name}` | {kind} | {default} |")
    if told:
        meanings = [" meaning |", "---|", *(f" {field.description or ''} |" for field in model.model_fields.values())]
        rows = [row + meaning for row, meaning in zip(rows, meanings, strict=True)]
    return rows + below


class _Nested(typing.NamedTuple):
    field: str
    model: type[BaseModel]


def _nested(model: type[BaseModel]) -> Iterator[_Nested]:
    """The fields that hold lists of a model of their own."""
    for name, field in model.model_fields.items():
        for part in typing.get_args(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield _Nested(name, part)


def _parts(annotation: Any) -> tuple[Any, list[Any]]:
    """The outer kind of an annotation and its parts, without what only checks values."""
    origin, parts = typing.get_origin(annotation), list(typing.get_args(annotation))
    if origin is typing.Annotated:
        return _parts(parts[0])
    return origin, [part for part in parts if part not in (Ellipsis, types.NoneType)]


def _holds(annotation: Any, wanted: type) -> bool:
    return annotation is wanted or any(_holds(part, wanted) for part in typing.get_args(annotation))


def _type(annotation: Any) -> str:
    """An annotation in words."""
    origin, parts = _parts(annotation)
    if origin is None:
        bare = typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation
        return _simple(bare)
    if origin is typing.Literal:
        return " or ".join(f"`{part}`" for part in parts if part != "") + ("" if "" not in parts else " or empty")
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(part) for part in parts if part != typing.Literal[""]))
    if origin in (list, tuple):
        each = _type(parts[0])
        return f"list, each {each}" if each.startswith("one of") else f"list of {each}"
    return f"map of {_type(parts[0])} to {_type(parts[1])}"


def _simple(bare: Any) -> str:
    if bare in _WORDS:
        return _WORDS[bare]
    if isinstance(bare, type) and issubclass(bare, Enum):
        return "one of " + ", ".join(f"`{member.value}`" for member in bare)
    if isinstance(bare, type) and issubclass(bare, AnyUrl):
        return "address (URL)"
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        return "map, see below"
    raise DocsError(f"the documentation has no word for the type {bare}")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**needed**"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value in (None, "", (), {}, []):
        return ""
    if isinstance(value, tuple | list):
        return ", ".join(f"`{_plain(item)}`" for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"`{key}: {item}`" for key, item in value.items())
    return f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    value = value.value if isinstance(value, Enum) else value
    return str(value).lower() if isinstance(value, bool) else str(value)


def main() -> None:
    """``python -m bridge.connector_docs FOLDER [--examples FOLDER]``."""
    parser = argparse.ArgumentParser(prog="python -m bridge.connector_docs", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pages go, such as docs/connectors")
    parser.add_argument("--examples", type=Path, default=Path("config/examples/connectors"))
    arguments = parser.parse_args()
    try:
        made = write(arguments.folder, arguments.examples)
    except DocsError as error:
        sys.exit(str(error))
    sys.stdout.write("".join(f"{path}\n" for path in made))


if __name__ == "__main__":
    main()
