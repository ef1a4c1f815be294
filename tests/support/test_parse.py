"""Reading a file: what it gives, and what the author is told about a mistake."""

import textwrap
from pathlib import Path

import pytest

from bridge import support
from bridge.domain.assets import AssetKind
from bridge.support import SupportError

CONTENT = Path(support.__file__).parents[1] / "demo" / "content"


def a_file(body: str, *, kind: str = "guide", extra: str = "") -> str:
    return f"---\ntitle: A title\nkind: {kind}\n{extra}---\n{textwrap.dedent(body)}"


def refusal(text: str) -> SupportError:
    with pytest.raises(SupportError) as refused:
        support.parse(text, name="piece.md")
    return refused.value


def test_a_file_gives_its_fields() -> None:
    piece = support.parse(
        "\ufeff---\r\ntitle: 'Prices: how'\r\nkind: guide # a comment\r\nduration: PT1M30S\r\nlanguage: no\r\n"
        "summary: One sentence.\r\ntags: [pricing, 2026]\r\nnot-given: ukjent\r\n---\r\nFor {{ event.data.customer }}",
        name="prices.md",
    )
    assert (piece.title, piece.kind, piece.duration_seconds) == ("Prices: how", AssetKind.GUIDE, 90)
    assert (piece.language, piece.summary, piece.tags) == ("no", "One sentence.", ("pricing", "2026"))
    assert (piece.not_given, piece.facts, piece.steps) == ("ukjent", ("event.data.customer",), ())


@pytest.mark.parametrize(
    ("duration", "seconds"), [("PT90S", 90), ("PT2M", 120), ("PT1H30M", 5400), ("P1D", 86400), ("P1DT1S", 86401)]
)
def test_durations(duration: str, seconds: int) -> None:
    assert support.parse(a_file("Text", extra=f"duration: {duration}\n"), name="x").duration_seconds == seconds


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("Just text", 1, "must begin with front matter"),
        ("---\ntitle: x\nkind: guide\n", 1, "must begin with front matter"),
        ("---\nkind: guide\n---\nText", 1, "there is no 'title'"),
        ("---\ntitle: x\n---\nText", 1, "allowed: guide, checklist, sop, decision-tree"),
        ("---\ntitle: x\nkind: video\n---\nText", 3, "there is no kind 'video'; allowed: guide, checklist, sop"),
        ("---\ntitle: x\nkind: guide\ntag: [a]\n---\nText", 4, "no field 'tag', did you mean 'tags'? Allowed: title,"),
        ("---\ntitle: x\nkind: guide\nkind: sop\n---\nText", 4, "'kind' is there twice"),
        ("---\ntitle: x\nkind: guide\nduration: 90 seconds\n---\nText", 4, "write PT90S, PT5M or PT1H30M"),
        ("---\ntitle: x\nkind: guide\nduration: PT\n---\nText", 4, "write PT90S, PT5M or PT1H30M"),
        ("---\ntitle: x\nkind: guide\nlanguage: English (UK)\n---\nText", 4, "write en, de or pt-BR"),
        ("---\ntitle: x\nkind: guide\ntags: pricing\n---\nText", 4, "must be a list: [pricing, enterprise]"),
        ("---\ntitle: x\nkind: guide\ntags: [[a]]\n---\nText", 4, "must be a list: [pricing, enterprise]"),
        ("---\nkind: guide\ntitle: For {{ event.data.customer }}\n---\nText", 3, "'title' holds no facts"),
        ("---\nkind: guide\ntitle: [a, b]\n---\nText", 3, "'title' must be text"),
        ("---\nkind: guide\ntitle: " + "x" * 301 + "\n---\nText", 3, "longer than 300 characters"),
        ("---\ntitle: x\nkind: guide\nsummary: a: b\n---\nText", 4, "this is not YAML"),
        ("---\n" + "[" * 3000 + "\n---\nText", 2, "this is not YAML"),
        ("---\ntitle: !!python/object:os.system x\nkind: nope\n---\nText", 3, "there is no kind 'nope'"),
        ("---\n- title\n---\nText", 2, "here the fields are expected"),
        ("---\ntitle: x\nkind: guide\n---\n\n", 5, "there is no text"),
        ("---\ntitle: x\nkind: guide\n---\none\ntw\ue000o", 6, "U+E000 is not allowed"),
        ("---\ntitle: x\nkind: guide\n---\n\ud800", 5, "U+D800 is not allowed"),
        ("---\ntitle: x\nkind: guide\n---\n" + "x" * 50_000, 1, "longer than 50,000 characters"),
    ],
)
def test_the_author_is_told_what_is_wrong_in_the_front_matter(text: str, line: int, says: str) -> None:
    refused = refusal(text)
    assert refused.line == line
    assert str(refused).startswith(f"piece.md, line {line}: ") and says in str(refused)


@pytest.mark.parametrize(
    ("kind", "body", "line", "says"),
    [
        ("guide", "Hello {{ customer }}", 1, "'customer' is not known; facts begin with event, person, prompt"),
        ("guide", "one\n{{ ''.__class__ }}", 2, "none begins with _"),
        ("guide", "one\n{{ ''.upper }}", 2, "'getattr' is not a fact; a fact is a path such as event.data.customer"),
        ("guide", "{{ event.__class__ }}", 1, "none begins with _"),
        ("guide", "{{ event['__class__'] }}", 1, "none begins with _"),
        ("guide", "{{ event.data.x() }}", 1, "'call' is not a fact"),
        ("guide", "{{ event.data.x ~ 'y' }}", 1, "'concat' is not a fact"),
        ("guide", "{{ 7 * 7 }}", 1, "'mul' is not a fact"),
        ("guide", "{{ 'text' }}", 1, "'const' is not a fact"),
        ("guide", "{{ event.data[1:2] }}", 1, "is not a fact"),
        ("guide", "{{ event.data" + ".a" * 8 + " }}", 1, "a path has at most 8 steps"),
        ("guide", "{{ event.data.x | safe }}", 1, "there are default, number, date"),
        ("guide", "{{ event.data.x | _put_mark('y') }}", 1, "there are default, number, date"),
        ("guide", "{{ event.data.x | default }}", 1, "the filter is written as: default(text)"),
        ("guide", "{{ event.data.x | default(person) }}", 1, "the filter is written as: default(text)"),
        (
            "guide",
            "{% for i in event.data.x %}a{% endfor %}",
            1,
            "'for' is not allowed; the only statement is {% if %}",
        ),
        ("guide", "{% set a = 1 %}", 1, "'assign' is not allowed"),
        ("guide", "a\n\n{% macro m() %}{% endmacro %}", 3, "'macro' is not allowed"),
        ("guide", "{% include 'x' %}", 1, "'include' is not allowed"),
        ("guide", "{% import 'x' as x %}", 1, "'import' is not allowed"),
        ("guide", "{% if event.data.x > 5 %}a{% endif %}", 1, 'written as: fact == "text"'),
        ("guide", "{% if event.data.x in person.y %}a{% endif %}", 1, 'written as: fact == "text"'),
        ("guide", "{% if other %}a{% endif %}", 1, "'other' is not known"),
        ("guide", "a\n{% if event %}\nb", 3, "allowed are {{ facts }} and {% if %}"),
        ("guide", "{% if event %}" * 4 + "{% endif %}" * 4, 1, "at most 3 ifs"),
        ("guide", "{{ " + "(" * 5000 + "event" + ")" * 5000 + " }}", 1, "an expression in it is too long"),
        ("guide", "{{ event.data.x", 1, "allowed are {{ facts }}"),
        ("guide", "# Title", 1, "headings in the text begin with ##"),
        ("guide", "## One\n\n#### Three", 3, "skips a level; write ### here"),
        ("guide", "![a](https://example.org/a.png)", 1, "pictures are not supported"),
        ("guide", "- [ ] tick me", 1, "only a checklist has items to tick; this is a guide"),
        ("guide", "[a](page.html)", 1, "must begin with https://, mailto: or tel:"),
        ("guide", "a\n\n[a](#b)", 3, "must begin with https://, mailto: or tel:"),
        ("guide", "[a]({{ event.data.url }})", 1, "the link to '{{ ... }}' must begin with https://"),
        ("guide", "[a](https://{{ event.data.host }}/x)", 1, "and a place of its own"),
        ("guide", "[a](https://crm.example.org{{ event.data.host }}/x)", 1, "and a place of its own"),
        ("guide", "<ftp://example.org/>", 1, "must begin with https://, mailto: or tel:"),
        ("checklist", "Nothing to tick", 1, "a checklist needs steps, written as: - [ ] what to do"),
        ("checklist", "- [x] done", 1, "cannot be ticked in advance"),
        ("checklist", "- [ ] same\n- [ ]  Same ", 2, "'Same' is there twice"),
        ("checklist", "- [ ] Call {{ event.id }}\n- [ ] Call {{ event.type }}", 2, "'Call …' is there twice"),
        ("checklist", "- [ ] Call{% if event.id %} now{% endif %}", 1, "an if within a step"),
        ("checklist", "".join(f"- [ ] step {n}\n" for n in range(101)), 101, "more than 100 steps"),
        ("sop", "- not numbered", 1, "needs numbered steps"),
        ("sop", "1. one\n2.\n3. three", 2, "this step has no words"),
        ("decision-tree", "## Only one", 1, "at least two nodes"),
        ("decision-tree", "## A\n\n- [go](#c)\n\n## B", 3, "there is no node #c; there are #a, #b"),
        ("decision-tree", "## A\n\n- [go](#a)\n\n## B\n\n- [go](#a)", 5, "no answer leads to the node 'B' (#b)"),
        ("decision-tree", "## A\n\n- [go](#b)\n\n## B\n\n## a", 7, "'a' is there twice"),
    ],
)
def test_the_author_is_told_what_is_wrong_in_the_text(kind: str, body: str, line: int, says: str) -> None:
    refused = refusal(f"---\ntitle: A title\nkind: {kind}\n---\n{body}")
    assert says in str(refused)
    assert refused.line == 4 + line


def test_lines_are_right_below_an_if() -> None:
    body = "{% if event.data.x %}\none\n{% else %}\ntwo\n{% endif %}\n\n## Two\n\n#### Four\n"
    assert refusal(a_file(body)).line == 4 + 9


def test_steps_keep_their_ids_when_they_move() -> None:
    steps = ["- [ ] Ask **who signs**", "- [ ] Größe & Preis prüfen", "- [ ] 确认价格", "- [ ] See {{ event.data.x }}"]
    before = support.parse(a_file("\n".join(steps), kind="checklist"), name="x").steps
    after = support.parse(a_file("Intro\n\n" + "\n".join(reversed(steps)), kind="checklist"), name="y").steps
    assert tuple(reversed(after)) == before
    assert [step.text for step in before] == ["Ask who signs", "Größe & Preis prüfen", "确认价格", "See …"]
    assert all(step.id.isascii() and len(step.id) <= 50 for step in before)


def test_a_step_with_other_words_is_another_step() -> None:
    ids = {
        support.parse(a_file(f"- [ ] {text}", kind="checklist"), name="x").steps[0].id
        for text in ("Call the customer", "Call the customers", "Mail the customer")
    }
    assert len(ids) == 3


def test_only_numbered_items_that_are_not_inside_another_list_are_steps_of_a_procedure() -> None:
    body = "- a remark\n\n1. First\n   1. inside\n2. Second\n\n   > 1. quoted\n"
    assert [step.text for step in support.parse(a_file(body, kind="sop"), name="x").steps] == ["First", "Second"]


def test_the_nodes_of_a_decision_tree_are_its_steps() -> None:
    body = "Intro\n\n## Is it down?\n\n- [Yes](#call-us)\n- [No](#größer-als-5)\n\n## Call us\n\n## Größer als 5\n"
    steps = support.parse(a_file(body, kind="decision-tree"), name="x").steps
    assert [step.id for step in steps] == ["is-it-down", "call-us", "größer-als-5"]


def test_facts_are_named_in_the_order_of_their_first_use() -> None:
    body = '{{ event["line items"][0].price | number }} {% if person.name %}{{ event.id }}{% endif %} {{ person.name }}'
    facts = support.parse(a_file(body), name="x").facts
    assert facts == ("event['line items'][0].price", "person.name", "event.id")


@pytest.mark.parametrize("path", sorted(CONTENT.glob("*.md")), ids=lambda path: path.stem)
def test_the_pieces_of_the_demonstration_are_valid_and_as_short_as_they_say(path: Path) -> None:
    piece = support.parse(path.read_text(encoding="utf-8"), name=path.name)
    assert piece.summary and piece.language and piece.tags
    assert piece.duration_seconds is not None
    words = len(support.fill(piece, {}).markdown.split())
    assert words / piece.duration_seconds * 60 < 210, "nobody reads faster than this"
