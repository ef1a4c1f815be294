"""Facts in the text: which templates are allowed, and how an untrusted value gets in without being read as anything.

Only paths, three filters and `if` are allowed, checked on the syntax tree; Jinja's sandbox stands behind that. A value
is not written into the Markdown: a mark is, and `render` puts the escaped value there once the Markdown is HTML.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from jinja2 import ChainableUndefined, Template, TemplateSyntaxError, nodes, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bridge.support import document, facts
from bridge.support.model import Filled, Flaw, Support

NAMES: Final = ("event", "person", "prompt")
MAX_PATH_STEPS: Final = 8
MAX_IF_DEPTH: Final = 3


@dataclasses.dataclass
class Skeleton:
    """The Markdown with every branch kept and a mark for each fact: what the structure of a piece is checked on.

    `lines` gives the line in the body for each line of `markdown`; `facts` are the names in order of their first use.
    """

    markdown: str = ""
    lines: list[int] = dataclasses.field(default_factory=lambda: [1])
    facts: dict[str, None] = dataclasses.field(default_factory=dict)
    marks: int = 0

    def add_text(self, text: str, line: int) -> None:
        """Add Markdown that begins in `line` of the body."""
        if not self.markdown or self.markdown.endswith("\n"):
            self.lines[-1] = line
        self.markdown += text
        self.lines.extend(line + number for number in range(1, text.count("\n") + 1))

    def add_seam(self) -> None:
        """Note where a branch begins or ends within a line."""
        if self.markdown and not self.markdown.endswith("\n"):
            self.markdown += document.SEAM

    def add_mark(self) -> None:
        """Add the mark of the next fact."""
        self.markdown += document.mark(self.marks)
        self.marks += 1


def check(body: str) -> Skeleton:
    """Raise Flaw unless the template keeps to what is allowed."""
    try:
        skeleton, _ = _read(body)
        _compiled(body)
    except TemplateSyntaxError as error:
        raise Flaw(f"{error.message}; allowed are {{{{ facts }}}} and {{% if %}}", error.lineno) from None
    except RecursionError:
        raise Flaw("an expression in it is too long", 1) from None
    return skeleton


def fill(support: Support, given: Mapping[str, Any]) -> Filled:
    """Put the facts of one record in: `given` has any of the keys event, person and prompt, each a map.

    A fact that is missing, null or blank is shown as `support.not_given`. Never raises for what the facts hold.
    """
    values: list[str | None] = []
    missing: dict[str, None] = {}
    known = {name: given[name] for name in NAMES if given.get(name) is not None}
    markdown = _compiled(support.body).render(known, _values=values, _missing=missing)
    steps = tuple(place.step for place in document.places(document.read(markdown), support.kind))
    return Filled(support=support, markdown=markdown, values=tuple(values), steps=steps, missing=tuple(missing))


class _Environment(ImmutableSandboxedEnvironment):
    """Looks facts up as keys and positions only: `event.data.items` is the fact of that name, not a method."""

    def getitem(self, obj: Any, argument: Any) -> Any:
        try:
            value = obj[argument] if isinstance(obj, Mapping | list | tuple) else None
        except (KeyError, IndexError, TypeError):
            value = None
        return self.undefined(name=str(argument)) if value is None else value

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self.getitem(obj, attribute)


@pass_context
def _put_mark(context: Context, value: Any, name: str) -> str:
    values, missing = context["_values"], context["_missing"]
    text = facts.shown(value)
    values.append(text)
    if text is None:
        missing[name] = None
    return document.mark(len(values) - 1)


def _default(value: Any, instead: str) -> Any:
    return instead if facts.shown(value) is None else value


_FILTERS: Final = {"default": _default, "number": facts.number, "date": facts.date}
_ENVIRONMENT: Final = _Environment(undefined=ChainableUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
_ENVIRONMENT.filters = {**_FILTERS, "_put_mark": _put_mark}


@lru_cache(maxsize=256)
def _compiled(body: str) -> Template:
    return _ENVIRONMENT.from_string(_read(body)[1])


def _read(body: str) -> tuple[Skeleton, nodes.Template]:
    """The skeleton, and the tree in which every shown fact goes through `_put_mark`."""
    skeleton, tree = Skeleton(), _ENVIRONMENT.parse(body)
    _read_nodes(tree.body, skeleton, depth=0)
    return skeleton, tree


def _read_nodes(body: Sequence[nodes.Node], skeleton: Skeleton, depth: int) -> None:
    for node in body:
        match node:
            case nodes.Output():
                node.nodes = [_read_output(child, skeleton) for child in node.nodes]
            case nodes.If():
                if depth == MAX_IF_DEPTH:
                    raise Flaw(f"at most {MAX_IF_DEPTH} ifs may stand inside each other", node.lineno)
                _read_test(node.test, skeleton)
                for branch, inside in ((node.body, depth + 1), (node.elif_, depth), (node.else_, depth + 1)):
                    skeleton.add_seam()
                    _read_nodes(branch, skeleton, inside)
                skeleton.add_seam()
            case _:
                raise Flaw(f"'{_word(node)}' is not allowed; the only statement is {{% if %}}", node.lineno)


def _read_output(node: nodes.Expr, skeleton: Skeleton) -> nodes.Expr:
    if isinstance(node, nodes.TemplateData):
        skeleton.add_text(node.data, node.lineno)
        return node
    fact: nodes.Expr | None = node
    while isinstance(fact, nodes.Filter):
        _check_filter(fact)
        fact = fact.node
    name = _name(fact or node)
    skeleton.facts[name] = None
    skeleton.add_mark()
    return nodes.Filter(node, "_put_mark", [nodes.Const(name)], [], None, None, lineno=node.lineno)


def _read_test(node: nodes.Node, skeleton: Skeleton) -> None:
    match node:
        case nodes.And() | nodes.Or():
            _read_test(node.left, skeleton)
            _read_test(node.right, skeleton)
        case nodes.Not():
            _read_test(node.node, skeleton)
        case nodes.Compare(ops=[nodes.Operand(op="eq" | "ne", expr=nodes.Const())]):
            skeleton.facts[_name(node.expr)] = None
        case nodes.Compare(ops=[nodes.Operand(op="in" | "notin", expr=nodes.List(items=items))]) if all(
            isinstance(item, nodes.Const) for item in items
        ):
            skeleton.facts[_name(node.expr)] = None
        case nodes.Compare():
            raise Flaw('a comparison is written as: fact == "text", fact != "text" or fact in ["a", "b"]', node.lineno)
        case _:
            skeleton.facts[_name(node)] = None


def _check_filter(node: nodes.Filter) -> None:
    if node.name not in _FILTERS:
        raise Flaw(f"there is no filter '{node.name}'; there are {', '.join(_FILTERS)}", node.lineno)
    wanted = 1 if node.name == "default" else 0
    plain = all(isinstance(argument, nodes.Const) for argument in node.args)
    if len(node.args) != wanted or not plain or node.kwargs or node.dyn_args or node.dyn_kwargs:
        raise Flaw(f"the filter is written as: {node.name}{'(text)' if wanted else ''}", node.lineno)


def _name(node: nodes.Node) -> str:
    """The name of a fact: event.data.customer, event.data["line items"], event.data.lines[0]."""
    steps: list[str] = []
    line, whole = node.lineno, node
    while not isinstance(node, nodes.Name):
        match node:
            case nodes.Getattr(node=inner, attr=str(key)):
                steps.append(f".{key}")
            case nodes.Getitem(node=inner, arg=nodes.Const(value=str() | int() as key)):
                steps.append(f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r}]")
            case _:
                raise Flaw(f"'{_word(whole)}' is not a fact; a fact is a path such as event.data.customer", line)
        if str(key).startswith("_") or len(steps) > MAX_PATH_STEPS:
            raise Flaw(f"a path has at most {MAX_PATH_STEPS} steps, and none begins with _", line)
        node = inner
    if node.name not in NAMES:
        raise Flaw(f"'{node.name}' is not known; facts begin with {', '.join(NAMES)}", line)
    return node.name + "".join(reversed(steps))


def _word(node: nodes.Node) -> str:
    return type(node).__name__.lower()
