"""One-line templates of what a prompt says: expressions only, checked at save, filled with untrusted facts."""

from __future__ import annotations

import functools
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.sandbox import SandboxedEnvironment

NAMES = ("event", "person", "asset")
LONGEST = 1_000


class TemplateError(Exception):
    """A template that can't be used, or a fact that is not there; the message is for the admin."""


_environment = SandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)
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
        tree = _environment.parse(text)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"line {error.lineno}: {error.message}") from None
    for node in tree.find_all(nodes.Node):
        if not isinstance(node, _ALLOWED):
            raise TemplateError(
                f"'{type(node).__name__}' is not allowed here, only facts like {{{{ event.data.name }}}}"
            )
        if isinstance(node, nodes.Filter) and node.name not in _FILTERS:
            raise TemplateError(f"there is no filter '{node.name}'; there are {', '.join(sorted(_FILTERS))}")
    unknown = sorted(meta.find_undeclared_variables(tree) - set(NAMES))
    if unknown:
        raise TemplateError(f"'{unknown[0]}' is not known; the names are {', '.join(NAMES)}")
    return _environment.from_string(tree)


def render(text: str, **facts: Any) -> str:
    """The text with its facts, on one paragraph's length; raises TemplateError naming a fact that is missing."""
    try:
        return check(text).render(**facts).strip()[: 2 * LONGEST]
    except jinja2.UndefinedError as error:
        raise TemplateError(str(error)) from None
    except Exception as error:
        raise TemplateError(f"{type(error).__name__}: {error}") from None
