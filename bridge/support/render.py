"""A filled piece as HTML for any page: sanitised, usable without JavaScript, readable by assistive technology."""

import html
import re
from collections.abc import Collection
from typing import Final
from urllib.parse import quote

import nh3
from markdown_it.token import Token

from bridge.domain.assets import AssetKind
from bridge.support import document
from bridge.support.document import Place
from bridge.support.model import Filled

_TAGS: Final = (
    {"article", "section", "p", "ul", "ol", "li", "blockquote", "pre", "hr", "h1", "h2", "h3", "h4", "h5", "h6"}
    | {"table", "thead", "tbody", "tr", "th", "td"}
    | {"a", "strong", "em", "code", "br", "label", "input"}
)
_ATTRIBUTES: Final = {
    "article": {"id", "class", "lang", "aria-labelledby"},
    "section": {"id", "class", "tabindex", "aria-labelledby"},
    **{f"h{level}": {"id"} for level in range(1, 7)},
    "a": {"href", "target"},
    "em": {"class"},
    "input": {"type", "id", "name", "value", "checked", "data-step"},
    "label": {"for"},
    "li": {"class", "data-step"},
    "ol": {"start"},
}
# The Markdown parser writes the marks of facts in a link as percent-encoded UTF-8.
_MARK_IN_LINK: Final = re.compile(r"%EE%80%80(\d+)%EE%80%81")


def render(filled: Filled, *, level: int = 1, ticked: Collection[str] = ()) -> str:
    """The piece as one <article>, its title as a heading of `level` (1 to 4) and its other headings below that.

    Every step carries `data-step` with its id. The steps of a checklist are checkboxes named "step" with their id as
    the value, so that a plain form can send them; those in `ticked` are checked. In a decision tree every node is a
    <section> and every answer a link to one. A fact that was not given is <em class="support-missing">.
    """
    support, tokens = filled.support, document.read(filled.markdown)
    prefix = document.anchor(support.name.rpartition("/")[2].removesuffix(".md").replace(".", "-")) or "support"
    places = document.places(tokens, support.kind)
    _prepare(tokens, filled, prefix, {place.step.id for place in places})
    match support.kind:
        case AssetKind.CHECKLIST:
            _add_checkboxes(tokens, places, prefix, ticked)
        case AssetKind.SOP:
            _add_step_ids(tokens, places)
        case AssetKind.DECISION_TREE:
            tokens = _with_sections(tokens, places, prefix)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) - 1 + level, 6)}"
    title = f'<h{level} id="{prefix}-title">{html.escape(support.title)}</h{level}>'
    language = f' lang="{support.language}"' if support.language else ""
    return nh3.clean(
        f'<article id="{prefix}" class="support support-{support.kind}"{language} aria-labelledby="{prefix}-title">\n'
        f"{title}\n{_with_values(document.write(tokens), filled)}</article>",
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto", "tel"},
        link_rel="noopener noreferrer",
    )


def _prepare(tokens: list[Token], filled: Filled, prefix: str, nodes: set[str]) -> None:
    for token in tokens:
        token.info = "" if token.type == "fence" else token.info
        for child in token.children or ():
            if child.type == "link_open":
                _prepare_link(child, filled, prefix, nodes)


def _prepare_link(link: Token, filled: Filled, prefix: str, nodes: set[str]) -> None:
    """An address into this piece, or one with its facts that opens beside the record; none where one is missing."""
    target = document.address(link)
    href, link.attrs = str(link.attrs.get("href", "")), {}
    if target.startswith("#"):
        if target[1:] in nodes:
            link.attrs = {"href": f"#{prefix}-{target[1:]}"}
        return
    values = [filled.values[int(number)] for number in _MARK_IN_LINK.findall(href)]
    if None not in values:
        filling = iter(values)
        link.attrs = {
            "href": _MARK_IN_LINK.sub(lambda _: quote(next(filling) or "", safe="@"), href),
            "target": "_blank",
        }


def _add_checkboxes(tokens: list[Token], places: list[Place], prefix: str, ticked: Collection[str]) -> None:
    for place in places:
        step, children = place.step.id, place.inline.children or []
        children[0].content = children[0].content.removeprefix("[ ] ")
        checked = " checked" if step in ticked else ""
        box = (
            f'<input type="checkbox" id="{prefix}-{step}" name="step" value="{step}" data-step="{step}"{checked}> '
            f'<label for="{prefix}-{step}">'
        )
        place.inline.children = [_raw(box, "html_inline"), *children, _raw("</label>", "html_inline")]
        tokens[place.index].attrSet("class", "support-step")


def _add_step_ids(tokens: list[Token], places: list[Place]) -> None:
    for place in places:
        tokens[place.index].attrSet("class", "support-step")
        tokens[place.index].attrSet("data-step", place.step.id)


def _with_sections(tokens: list[Token], places: list[Place], prefix: str) -> list[Token]:
    nodes = {place.index: f"{prefix}-{place.step.id}" for place in places}
    divided: list[Token] = []
    for index, token in enumerate(tokens):
        if (name := nodes.get(index)) is not None:
            close = "</section>\n" if index != places[0].index else ""
            attributes = f'id="{name}" class="support-node" tabindex="-1" aria-labelledby="{name}-title"'
            divided.append(_raw(f"{close}<section {attributes}>\n", "html_block"))
            token.attrSet("id", f"{name}-title")
        divided.append(token)
    return [*divided, _raw("</section>\n", "html_block")] if nodes else divided


def _raw(markup: str, kind: str) -> Token:
    return Token(kind, "", 0, content=markup)


def _with_values(markup: str, filled: Filled) -> str:
    missing = f'<em class="support-missing">{html.escape(filled.support.not_given)}</em>'

    def shown(mark: re.Match[str]) -> str:
        value = filled.values[int(mark[1])]
        return missing if value is None else html.escape(value)

    return document.MARK.sub(shown, markup)
