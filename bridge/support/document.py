"""The structure of a piece: its Markdown as tokens, the steps in it, and what is wrong with it.

A mark stands in the Markdown where a fact will be shown. It is made of private-use characters, which Markdown takes for
letters, around the number of the fact. A seam, another of them, shows in a skeleton where an `if` begins or ends.
"""

import dataclasses
import hashlib
import re
import unicodedata
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

from bridge.domain.assets import AssetKind
from bridge.support.model import Flaw, Step

MAX_STEPS: Final = 100
SEAM: Final = "\ue002"
MARK: Final = re.compile("\ue000(\\d+)\ue001")
_TASK: Final = re.compile(r"\[([ xX])\] ")
# An address of its own before the first fact: a fact may choose the page there, never the place.
_ADDRESS: Final = re.compile("https?://[^/?#\ue000]+(?:[/?#]|$)|mailto:|tel:", re.IGNORECASE)


class _Markdown(MarkdownIt):
    """CommonMark without raw HTML, with tables, and with marks that stay visible in every part of a link."""

    def normalizeLink(self, url: str) -> str:
        # The library's own writes the host in Punycode, a mark in it as well.
        return quote(url, safe="%;/?:@&=+$,-_.!~*'()#")


_MARKDOWN: Final = _Markdown("commonmark", {"html": False}).enable("table")


@dataclasses.dataclass(frozen=True)
class Place:
    """A step and where it is: the index of the token that opens it, and the token that holds its text."""

    step: Step
    index: int
    inline: Token

    @property
    def line(self) -> int:
        """The line of the Markdown, from 1."""
        return (self.inline.map or [0])[0] + 1


def mark(number: int) -> str:
    """What stands in the Markdown for the fact of that number."""
    return f"\ue000{number}\ue001"


def read(markdown: str) -> list[Token]:
    """The tokens of the Markdown. Raw HTML in it is text like any other."""
    return _MARKDOWN.parse(markdown)


def write(tokens: list[Token]) -> str:
    """The HTML of the tokens."""
    return str(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))


def places(tokens: list[Token], kind: AssetKind) -> list[Place]:
    """The steps of a piece of this kind, in their order."""
    match kind:
        case AssetKind.CHECKLIST:
            found = [(index, inline) for index, inline in _items(tokens) if _TASK.match(inline.content)]
        case AssetKind.SOP:
            found = [(index, inline) for index, inline in _items(tokens) if _is_numbered(tokens[index])]
        case AssetKind.DECISION_TREE:
            found = [(index, tokens[index + 1]) for index, token in enumerate(tokens) if _opens_node(token)]
        case _:
            found = []
    name = anchor if kind is AssetKind.DECISION_TREE else _identity
    texts = [_TASK.sub("", plain(inline), count=1) for _, inline in found]
    return [Place(Step(name(text), text), index, inline) for text, (index, inline) in zip(texts, found, strict=True)]


def plain(inline: Token) -> str:
    """The words of a paragraph or heading, with "…" for each fact."""
    parts = ("\n" if child.type in ("softbreak", "hardbreak") else child.content for child in inline.children or ())
    return " ".join(MARK.sub("…", "".join(parts)).split())


def anchor(heading: str) -> str:
    """The name by which links lead to a heading: "Is it down?" is "is-it-down"."""
    return re.sub(r"[\s_-]+", "-", re.sub(r"[^\w\s-]", "", heading.lower())).strip("-")


def links(tokens: list[Token]) -> Iterator[tuple[str, int]]:
    """Every link with the line of the Markdown it is in; the marks in it are as in the text."""
    for token in tokens:
        for child in token.children or ():
            if child.type == "link_open":
                yield address(child), (token.map or [0])[0] + 1


def address(link: Token) -> str:
    """The address of a link, with its marks, as it was written."""
    return unquote(str(link.attrs.get("href", "")))


def check(tokens: list[Token], kind: AssetKind) -> list[Place]:
    """The steps of a piece. Raises Flaw for what cannot be shown or followed."""
    _check_headings(tokens)
    _check_inlines(tokens, kind)
    found = places(tokens, kind)
    if len(found) > MAX_STEPS:
        raise Flaw(f"there are more than {MAX_STEPS} steps; divide this into several pieces", found[MAX_STEPS].line)
    known: set[str] = set()
    for place in found:
        if not place.step.id or not place.step.text:
            raise Flaw("this step has no words", place.line)
        if SEAM in place.inline.content:
            # A step is known by its words, and these would differ from record to record.
            raise Flaw(
                "an if within a step goes into a paragraph below it; if and endif on lines of their own", place.line
            )
        if place.step.id in known:
            raise Flaw(
                f"'{place.step.text}' is there twice; a step is known by its words, so they must differ", place.line
            )
        known.add(place.step.id)
    _check_steps(tokens, kind, found)
    return found


def _check_steps(tokens: list[Token], kind: AssetKind, found: list[Place]) -> None:
    match kind:
        case AssetKind.CHECKLIST if not found:
            raise Flaw("a checklist needs steps, written as: - [ ] what to do", 1)
        case AssetKind.SOP if not found:
            raise Flaw("a procedure (sop) needs numbered steps, written as: 1. what to do", 1)
        case AssetKind.DECISION_TREE if len(found) < 2:
            raise Flaw("a decision tree needs at least two nodes, each written as: ## the question or the advice", 1)
        case AssetKind.DECISION_TREE:
            _check_tree(tokens, found)


def _check_tree(tokens: list[Token], nodes: list[Place]) -> None:
    """Every answer leads to a node, and every node can be reached from the first."""
    ends = [node.index for node in nodes[1:]] + [len(tokens)]
    names = {node.step.id for node in nodes}
    leads: dict[str, set[str]] = {}
    for node, end in zip(nodes, ends, strict=True):
        answers = [(target[1:], line) for target, line in links(tokens[node.index : end]) if target.startswith("#")]
        for target, line in answers:
            if target not in names:
                raise Flaw(
                    f"there is no node #{target}; there are {', '.join(f'#{name}' for name in sorted(names))}", line
                )
        leads[node.step.id] = {target for target, _ in answers}
    reached, waiting = set[str](), [nodes[0].step.id]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(leads[name])
    for node in nodes:
        if node.step.id not in reached:
            raise Flaw(f"no answer leads to the node '{node.step.text}' (#{node.step.id})", node.line)


def _check_headings(tokens: list[Token]) -> None:
    before = 1
    for token in tokens:
        if token.type != "heading_open":
            continue
        level, line = int(token.tag[1]), (token.map or [0])[0] + 1
        if level == 1:
            raise Flaw("the title is in the front matter; headings in the text begin with ##", line)
        if level > before + 1:
            raise Flaw(f"this heading skips a level; write {'#' * (before + 1)} here", line)
        before = level


def _check_inlines(tokens: list[Token], kind: AssetKind) -> None:
    for target, line in links(tokens):
        inside = target.startswith("#") and kind is AssetKind.DECISION_TREE
        if not inside and not _ADDRESS.match(target):
            shown = MARK.sub("{{ ... }}", target)
            raise Flaw(f"the link to '{shown}' must begin with https://, mailto: or tel: and a place of its own", line)
    for token in tokens:
        if any(child.type == "image" for child in token.children or ()):
            raise Flaw("pictures are not supported here; link to them", (token.map or [0])[0] + 1)
    for _, inline in _items(tokens):
        if (task := _TASK.match(inline.content)) is not None:
            line = (inline.map or [0])[0] + 1
            if kind is not AssetKind.CHECKLIST:
                raise Flaw(f"only a checklist has items to tick; this is a {kind}", line)
            if task[1] != " ":
                raise Flaw("an item cannot be ticked in advance; write [ ]", line)


def _items(tokens: list[Token]) -> Iterator[tuple[int, Token]]:
    for index, token in enumerate(tokens):
        if token.type == "list_item_open":
            paragraph = tokens[index + 1].type == "paragraph_open"
            yield index, tokens[index + 2] if paragraph else Token("inline", "", 0, map=token.map)


def _is_numbered(item: Token) -> bool:
    return item.level == 1 and item.markup in (".", ")")


def _opens_node(token: Token) -> bool:
    return token.type == "heading_open" and token.tag == "h2" and token.level == 0


def _identity(text: str) -> str:
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    words = anchor(ascii_text)
    readable = words if len(words) <= 40 else words[:40].rpartition("-")[0]
    digest = hashlib.sha256(text.casefold().encode()).hexdigest()[:8]
    return f"{readable}-{digest}" if readable else digest
