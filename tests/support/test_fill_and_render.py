"""Facts of a record in a piece, and its HTML: what is shown, what can't get in, what a browser and a reader can use."""

import datetime as dt
import enum
import html
import textwrap
import uuid
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import support
from bridge.support import Filled


class Tier(enum.Enum):
    GOLD = "gold"


class Page(HTMLParser):
    """The elements and the visible text of some HTML."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def filled(body: str, *, kind: str = "guide", extra: str = "", name: str = "piece.md", **data: Any) -> Filled:
    text = f"---\ntitle: A <b>title</b>\nkind: {kind}\n{extra}---\n{textwrap.dedent(body)}"
    return support.fill(support.parse(text, name=name), {"event": {"data": data}})


def page(body: str, **more: Any) -> Page:
    return Page(support.render(filled(body, **more)))


def sentence(body: str, **more: Any) -> str:
    return page(body, **more).text.partition("A <b>title</b>")[2].strip()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("Acme & Söhne <GmbH>", "Acme & Söhne <GmbH>"),
        (120000, "120000"),
        (120000.5, "120000.5"),
        (True, "yes"),
        (Decimal("0.10"), "0.10"),
        (dt.datetime(2026, 3, 2, 9, 30, tzinfo=dt.UTC), "2026-03-02 09:30 UTC"),
        (dt.date(2026, 3, 2), "2026-03-02"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Tier.GOLD, "gold"),
        (["a", 2, None, {"b": 1}], "a, 2"),
        ("  two\n\nlines\t", "two lines"),
        ("a\u202eb\0c\ue0000\ue001", "abc0"),
        ("\ud800x", "x"),
        ("x" * 600, "x" * 499 + "…"),
        (None, "not given"),
        ("", "not given"),
        (" \n", "not given"),
        ({"a": 1}, "not given"),
        (float("nan"), "not given"),
        (object(), "not given"),
    ],
)
def test_how_a_fact_is_shown(value: object, shown: str) -> None:
    assert sentence("{{ event.data.x }}", x=value) == shown


@pytest.mark.parametrize(
    ("template", "value", "shown"),
    [
        ("number", 120000, "120,000"),
        ("number", 1234.5, "1,234.50"),
        ("number", "9876543", "9,876,543"),
        ("number", "a lot", "a lot"),
        ("number", Decimal("1e999999"), "1E+999999"),
        ("number", True, "yes"),
        ("number", None, "not given"),
        ("date", "2026-03-02T09:30:00Z", "2026-03-02 09:30 UTC"),
        ("date", "2026-03-02T09:30:00+02:00", "2026-03-02 09:30 UTC+02:00"),
        ("date", "2026-03-02", "2026-03-02"),
        ("date", "Thursday", "Thursday"),
        ("date", None, "not given"),
        ('default("the customer")', None, "the customer"),
        ('default("the customer")', " ", "the customer"),
        ('default("the customer")', 0, "0"),
        ('date | default("today")', None, "today"),
    ],
)
def test_filters(template: str, value: object, shown: str) -> None:
    assert sentence("{{ event.data.x | " + template + " }}", x=value) == shown


def test_missing_facts_are_visible_and_named() -> None:
    body = '{{ event.data.a.b[3].c }}, {{ person.name }}, {{ event.data.d | default("d") }}, {{ event.data.e }}'
    result = filled(body, e="here")
    shown = Page(support.render(result))
    assert [attributes["class"] for attributes in shown.all("em")] == ["support-missing"] * 2
    assert "not given, not given, d, here" in shown.text
    assert result.missing == ("event.data.a.b[3].c", "person.name")
    assert "unbekannt" in sentence("{{ event.data.x }}", extra="not-given: unbekannt\n")


@pytest.mark.parametrize(
    "facts", [{}, {"event": None}, {"event": {"data": None}}, {"event": {"data": [1]}}, {"event": 5}]
)
def test_a_record_without_facts_never_fails(facts: dict[str, Any]) -> None:
    text = "---\ntitle: t\nkind: guide\n---\n{% if event.data.a == 1 %}x{% endif %}{{ event.data.customer }}"
    assert "not given" in support.render(support.fill(support.parse(text, name="x"), facts))


def test_a_fact_may_have_the_name_of_a_method() -> None:
    assert sentence("{{ event.data.items }} {{ event.data.title }} {{ event.data.get }}", items="3", title="T") == (
        "3 T not given"
    )


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({"tier": "gold"}, "top"),
        ({"tier": "silver"}, "middle"),
        ({"tier": "iron", "old": True}, "old"),
        ({"tier": 7}, "plain"),
        ({}, "plain"),
    ],
)
def test_branches(data: dict[str, Any], shown: str) -> None:
    body = """\
        {% if event.data.tier == "gold" %}
        top
        {% elif event.data.tier in ["silver", "bronze"] and not event.data.old %}
        middle
        {% elif event.data.old and event.data.tier != "gold" or event.data.never %}
        old
        {% else %}
        plain
        {% endif %}
        """
    assert sentence(body, **data) == shown


ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</p></article><iframe src='https://evil.example'>",
    "[click](javascript:alert(1))",
    "[click](https://evil.example)",
    "![pixel](https://evil.example/p.png)",
    "<https://evil.example>",
    "https://evil.example",
    "**bold** _it_ `code`",
    "# Heading",
    "\n\n# Heading\n\n- [ ] step\n\n1. one",
    "- [ ] step",
    "```\ncode",
    "| a | b |\n|---|---|",
    "{{ 7 * 7 }}{% for i in range(9) %}x{% endfor %}{# c #}",
    '" onmouseover="alert(1)',
    "&lt;b&gt; &amp; &#106;avascript:",
    "\ue0000\ue001\ue002",
    "\\",
    "`",
    "*",
    "~~~",
    "<!--",
    "]]>",
]
EVERYWHERE = """\
    ## Heading {{ event.data.x }}

    Text {{ event.data.x }} and **{{ event.data.x }}** and `{{ event.data.x }}` and [{{ event.data.x }}](https://e.org/a).

    > {{ event.data.x }}

    | {{ event.data.x }} | b |
    |---|---|
    | a | {{ event.data.x }} |

    ```{{ event.data.x }}
    {{ event.data.x }}
    ```

    - {{ event.data.x }}

    {{ event.data.x }}
    """


def shape(markup: str) -> list[tuple[str, tuple[tuple[str, str | None], ...]]]:
    return [(tag, tuple(attributes.items())) for tag, attributes in Page(markup).elements]


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_value_is_only_ever_text(attack: str) -> None:
    harmless = support.render(filled(EVERYWHERE, x="harmless"))
    attacked = support.render(filled(EVERYWHERE, x=attack))
    assert shape(attacked) == shape(harmless)
    assert Page(attacked).text.count(support.fill(filled("{{ event.data.x }}").support, {}).support.not_given) == 0
    expected = " ".join(attack.replace("\ue000", "").replace("\ue001", "").replace("\ue002", "").split())
    assert Page(attacked).text == Page(harmless).text.replace("harmless", expected)


@given(st.text(st.characters(), max_size=80))
def test_no_text_changes_the_shape_of_a_page(value: str) -> None:
    result = filled(EVERYWHERE, x="x" + value)
    assert shape(support.render(result)) == shape(support.render(filled(EVERYWHERE, x="x")))


PARTS = st.sampled_from(
    [
        *("## ", "### ", "- ", "- [ ] ", "1. ", "> ", "    ", "\n", "\n\n", "| a | b |\n|---|---|\n", "```", "`", "**"),
        *("[a](#b)", "[a](https://e.org/", ")", "](", "![", "<https://e.org>", "<b>", "&amp;", "\\", "a", "b c", "\t"),
        *("{{ event.a }}", "{{ person.b | date }}", "{{ event }}", "{% if event.a %}", "{% else %}", "{% endif %}"),
        *(
            "{% if event.a == 'b' %}",
            "{% elif prompt %}",
            "{{",
            "}}",
            "{%",
            "%}",
            "{#",
            "#}",
            "é",
            "\u2028",
            "\r",
            "---\n",
        ),
    ]
)


@given(
    st.text(st.characters(exclude_characters="\0"), max_size=200) | st.lists(PARTS, max_size=30).map("".join),
    st.sampled_from(["guide", "checklist", "sop", "decision-tree"]),
)
def test_any_text_is_read_or_refused(body: str, kind: str) -> None:
    try:
        piece = support.parse(f"---\ntitle: t\nkind: {kind}\n---\n{body}", name="x.md")
    except support.SupportError as refused:
        assert refused.line >= 1
        return
    for known in (dict[str, Any](), {"event": {"a": "b"}}):
        result = support.fill(piece, known)
        markup = support.render(result)
        assert markup.startswith("<article") and "\ue000" not in markup and "\ue002" not in markup
        assert len(Page(markup).all("input")) == (len(result.steps) if kind == "checklist" else 0)


def test_html_of_the_author_is_text_too() -> None:
    shown = page("<script>alert(1)</script> <b onclick=x>bold</b>\n\n[a](javascript:alert(1)) [b](data:text/html,x)")
    assert {tag for tag, _ in shown.elements} == {"article", "h1", "p"}
    assert "<script>alert(1)</script>" in shown.text


def test_the_title_is_text() -> None:
    assert '<h1 id="piece-title">A &lt;b&gt;title&lt;/b&gt;</h1>' in support.render(filled("Text"))


def test_links_open_beside_the_record_and_carry_facts() -> None:
    body = "[ticket](https://desk.example.org/t/{{ event.data.ticket }}?by=%20me) [mail](mailto:{{ event.data.mail }})"
    links = page(body, ticket="a/../b?x=1&y#z", mail="ann@example.org").all("a")
    assert [link["href"] for link in links] == [
        "https://desk.example.org/t/a%2F..%2Fb%3Fx%3D1%26y%23z?by=%20me",
        "mailto:ann@example.org",
    ]
    assert all(link["target"] == "_blank" and link["rel"] == "noopener noreferrer" for link in links)


def test_a_link_with_a_missing_fact_leads_nowhere() -> None:
    shown = page("[ticket](https://desk.example.org/t/{{ event.data.ticket }})")
    assert [link.get("href") for link in shown.all("a")] == [None]
    assert "ticket" in shown.text


def test_a_checklist_is_a_form_of_labelled_boxes() -> None:
    result = filled(
        "- [ ] Ask **who** signs\n- [ ] Call {{ event.data.who }}\n", kind="checklist", who="Ann", name="Big deal.md"
    )
    first, second = result.steps
    shown = Page(support.render(result, ticked={second.id}))
    boxes = shown.all("input")
    assert [(box["type"], box["name"], box["value"], box["data-step"]) for box in boxes] == [
        ("checkbox", "step", step.id, step.id) for step in (first, second)
    ]
    assert ["checked" in box for box in boxes] == [False, True]
    assert [label["for"] for label in shown.all("label")] == [box["id"] for box in boxes]
    assert all(str(box["id"]).startswith("big-deal-") for box in boxes)
    assert "Ask who signs" in shown.text and "Call Ann" in shown.text and "[ ]" not in shown.text


def test_ids_of_steps_do_not_depend_on_the_facts() -> None:
    body = "- [ ] Call {{ event.data.who }}\n"
    assert filled(body, kind="checklist", who="Ann").steps == filled(body, kind="checklist").steps
    assert filled(body, kind="checklist").steps == filled(body, kind="checklist").support.steps


def test_a_record_calls_for_the_steps_of_its_branch() -> None:
    gold = "{% if event.data.gold %}\n- [ ] For gold\n{% else %}\n- [ ] For others\n{% endif %}\n"
    body = f"- [ ] Always\n{gold}- [ ] Last\n"
    result = filled(body, kind="checklist", gold=True)
    assert [step.text for step in result.steps] == ["Always", "For gold", "Last"]
    assert [step.text for step in result.support.steps] == ["Always", "For gold", "For others", "Last"]
    assert len(Page(support.render(result)).all("input")) == 3


def test_a_procedure_numbers_its_steps() -> None:
    result = filled("1. First\n\n   With a remark\n2. Second {{ event.data.x }}\n", kind="sop", x="<x>")
    shown = Page(support.render(result))
    assert len(shown.all("ol")) == 1
    assert [item["data-step"] for item in shown.all("li")] == [step.id for step in result.steps]


TREE = """\
    Where to begin.

    ## Is {{ event.data.product }} down?

    - [Yes, for everybody](#call-the-duty-manager)
    - [Only for one person](#restart)

    ## Call the duty manager

    Phone, do not write.

    ## Restart

    - [Did it help? No](#call-the-duty-manager)
    """


def test_every_answer_of_a_decision_tree_leads_to_its_node() -> None:
    shown = page(TREE, kind="decision-tree", name="outage.md", product="Flow")
    sections = shown.all("section")
    assert [section["id"] for section in sections] == [
        "outage-is-down",
        "outage-call-the-duty-manager",
        "outage-restart",
    ]
    ids = {attributes["id"] for _, attributes in shown.elements if "id" in attributes}
    assert {str(link["href"])[1:] for link in shown.all("a")} <= ids
    assert all(section["aria-labelledby"] in ids and section["tabindex"] == "-1" for section in sections)
    assert all("target" not in link for link in shown.all("a"))


def test_every_element_of_a_decision_tree_is_closed() -> None:
    markup = support.render(filled(TREE, kind="decision-tree"))
    for tag in ("section", "article", "ul", "h2"):
        assert markup.count(f"<{tag}") == markup.count(f"</{tag}>")


def test_an_answer_to_a_node_that_this_record_lacks_leads_nowhere() -> None:
    body = "## A\n\n- [b](#b)\n- [c](#c)\n\n{% if event.data.x %}\n## B\n{% endif %}\n\n## C\n"
    assert [link.get("href") for link in page(body, kind="decision-tree").all("a")] == [None, "#piece-c"]


@pytest.mark.parametrize(("level", "tags"), [(1, ["h1", "h2", "h3"]), (2, ["h2", "h3", "h4"]), (4, ["h4", "h5", "h6"])])
def test_headings_fit_under_the_page(level: int, tags: list[str]) -> None:
    markup = support.render(filled("## One\n\n### Two\n"), level=level)
    assert [tag for tag, _ in Page(markup).elements if tag[0] == "h"] == tags
    assert f"</{tags[-1]}>" in markup


def test_the_article_is_named_and_has_its_language() -> None:
    (article,) = page("Text", extra="language: de\n").all("article")
    assert article == {"id": "piece", "class": "support support-guide", "lang": "de", "aria-labelledby": "piece-title"}


def test_quotes_in_a_piece_survive() -> None:
    assert '"We are *not* sure", she said & left' in html.unescape(sentence('"We are \\*not\\* sure", she said & left'))
