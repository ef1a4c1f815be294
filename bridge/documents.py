"""YAML documents that remember their lines, so that an error can say where."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import yaml

Loc = tuple[str | int, ...]


class DocumentError(Exception):
    """One or more errors in documents; ``problems`` are lines "file:line: path: what is wrong"."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """Plain data of one YAML file, and the line of each part of it."""

    name: str
    data: Any
    lines: dict[Loc, int]

    def at(self, loc: Loc, message: str) -> str:
        """ "file:line: path: message" for the part at ``loc``, or for the nearest part above it."""
        near = loc
        while near and near not in self.lines:
            near = near[:-1]
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".")
        return f"{self.name}:{self.lines.get(near, 1)}: {path + ': ' if path else ''}{message}"


class _Loader(yaml.SafeLoader):
    """Times stay text: a rule's "2026-01-01" is not a date object; YAML 1.1's yes/no/on/off stay words."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:bool")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", __import__("re").compile(r"^(?:true|false|True|False)$"), list("tTfF")
)


def load(path: Path, *, shown_as: str = "") -> Document:
    """Read one YAML file; raises DocumentError naming the line."""
    name = shown_as or str(path)
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        lines: dict[Loc, int] = {}
        _note(node, (), lines, name)
        return Document(name, loader.construct_document(node) if node else {}, lines)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DocumentError([f"{name}:{line}: {error.problem}"]) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DocumentError([f"{name}: can't be read: {error}"]) from None


def _note(node: yaml.Node | None, loc: Loc, lines: dict[Loc, int], name: str) -> None:
    if node is None:
        return
    lines[loc] = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _note(item, (*loc, number), lines, name)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise DocumentError([f"{name}:{key.start_mark.line + 1}: '{key.value}' is there twice"])
            seen.add(key.value)
            _note(value, (*loc, key.value), lines, name)
            lines[(*loc, key.value)] = key.start_mark.line + 1
