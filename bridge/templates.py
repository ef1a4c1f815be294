"""One-line templates of what a prompt says: expressions only, checked at save, filled with untrusted facts."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.sandbox import SandboxedEnvironment

FIELDS = {
    "event": ("id", "type", "source", "subject", "time", "data", "people"),
    "person": ("key", "name", "email", "accounts", "attributes"),
    "asset": ("title", "kind", "summary"),
}
LONGEST = 1_000
#: Control characters, half surrogate pairs, and what turns the direction of reading.
_UNSHOWN = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class TemplateError(Exception):
    """A template that can't be used, or a fact that is not there; the message is for the admin."""


class _Facts(SandboxedEnvironment):
    """Paths lead through the facts and nothing else: ``event.data.items`` is a fact, never a method of a dict.

    What the record holds as null is not there, so that nobody reads "None".
    """

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self._fact(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        return self._fact(obj, argument)

    def _fact(self, obj: Any, step: Any) -> Any:
        known = isinstance(obj, Mapping) or (isinstance(obj, list | tuple) and isinstance(step, int))
        try:
            found = obj[step] if known else None
        except LookupError:
            found = None
        return self.undefined(hint=f"there is no '{step}' here", obj=obj, name=step) if found is None else found


_environment = _Facts(undefined=jinja2.StrictUndefined, autoescape=False)
#: What a sentence needs. Everything that loops or builds is left out.
_ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Const,
    nodes.Filter,
    nodes.CondExpr,
    nodes.If,
    nodes.Compare,
    nodes.Operand,
    nodes.Not,
    nodes.And,
    nodes.Or,
    nodes.Keyword,
)
_FILTERS = frozenset({"default", "lower", "upper", "title", "capitalize", "round", "int", "float", "truncate", "trim"})


@functools.lru_cache(maxsize=1024)
def check(text: str) -> jinja2.Template:
    """Compile a template; raises TemplateError with what is wrong and what is allowed."""
    if len(text) > LONGEST:
        raise TemplateError(f"is longer than {LONGEST} characters")
    try:
        return _checked(text)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"line {error.lineno}: {error.message}") from None
    except RecursionError:
        raise TemplateError("is nested too deeply") from None


def _checked(text: str) -> jinja2.Template:
    tree = _environment.parse(text)
    for node in tree.find_all(nodes.Node):
        if not isinstance(node, _ALLOWED):
            raise TemplateError(
                f"'{type(node).__name__}' is not allowed here, only facts like {{{{ event.data.name }}}}"
            )
        if isinstance(node, nodes.Filter) and node.name not in _FILTERS:
            raise TemplateError(f"there is no filter '{node.name}'; there are {', '.join(sorted(_FILTERS))}")
        if isinstance(node, nodes.Name) and node.name not in FIELDS:
            raise TemplateError(f"'{node.name}' is not known; the names are {', '.join(FIELDS)}")
        if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
            _check_field(node.node.name, node.attr)
    return _environment.from_string(tree)


def _check_field(name: str, field: str) -> None:
    fields = FIELDS.get(name, (field,))
    if field not in fields:
        raise TemplateError(f"'{name}.{field}' is not known; there are {', '.join(f'{name}.{f}' for f in fields)}")


def render(text: str, **facts: Any) -> str:
    """The text with its facts, as one line of plain text; raises TemplateError naming a fact that is missing."""
    template = check(text)
    try:
        return " ".join(_UNSHOWN.sub("", template.render(**facts)).split())[: 2 * LONGEST]
    except jinja2.UndefinedError as error:
        raise TemplateError(str(error)) from None
    except Exception as error:
        raise TemplateError(f"{type(error).__name__}: {error}") from None
