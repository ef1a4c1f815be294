"""YAML documents that remember their lines, so that an error can say where."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import yaml

Loc = tuple[str | int, ...]
#: A configuration has a handful of levels; aliases that make it deeper or larger than this are a mistake or an attack.
_DEEPEST, _MOST_PARTS = 20, 200_000
_TOO_MUCH = "this is nested too deeply or too large; mind its aliases (*name)"
_PLAIN = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "seq", "map"))


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
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false|True|False)$"), list("tTfF"))


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
    except RecursionError:
        raise DocumentError([f"{name}: {_TOO_MUCH}"]) from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DocumentError([f"{name}: can't be read: {error}"]) from None


def _note(node: yaml.Node | None, loc: Loc, lines: dict[Loc, int], name: str) -> None:
    """Note the line of each part; raises DocumentError for what YAML lets pass but nobody can have meant."""
    if node is None:
        return
    line = node.start_mark.line + 1
    if len(loc) > _DEEPEST or len(lines) > _MOST_PARTS:
        raise DocumentError([f"{name}:{line}: {_TOO_MUCH}"])
    if node.tag not in _PLAIN:
        raise DocumentError([f"{name}:{line}: '{node.tag}' is not allowed here; put the value in quotes"])
    lines[loc] = line
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _note(item, (*loc, number), lines, name)
    elif isinstance(node, yaml.MappingNode):
        _note_mapping(node, loc, lines, name)


def _note_mapping(node: yaml.MappingNode, loc: Loc, lines: dict[Loc, int], name: str) -> None:
    seen: set[str] = set()
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise DocumentError([f"{name}:{line}: a key must be a word; put it in quotes if it begins with {{ or ["])
        if key.value in seen:
            raise DocumentError([f"{name}:{line}: '{key.value}' is there twice"])
        seen.add(key.value)
        _note(value, (*loc, key.value), lines, name)
        lines[(*loc, key.value)] = line
