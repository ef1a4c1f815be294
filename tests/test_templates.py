"""What a prompt says: a sentence with facts, checked when it is saved, harmless whatever an event holds."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from bridge import templates
from bridge.templates import TemplateError

EVENT: dict[str, Any] = {
    "id": "e1",
    "time": dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
    "data": {"customer": "Hooli", "amount": 120_000.5, "items": 3, "lines": ["a", "b"], "note": None, "tier": "gold"},
    "people": {"owner": {"name": "Sam"}},
}
PERSON = {"name": "Sam Seller", "attributes": {"team": "emea"}}
ASSET = {"title": "Pricing", "kind": "guide", "summary": ""}


def say(text: str, **event: Any) -> str:
    return templates.render(text, event={**EVENT, **event}, person=PERSON, asset=ASSET)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Read this.", "Read this."),
        ("{{ event.data.customer }}, {{ person.name }}: {{ asset.title }}", "Hooli, Sam Seller: Pricing"),
        ("{{ event.data['customer']|upper }}", "HOOLI"),
        ("{{ event.data.lines[1] }}", "b"),
        ("{{ event.data.discount|default('none') }}", "none"),
        ("{{ event.data.note|default('none') }}", "none"),
        ("{{ event.data.amount|int }}", "120000"),
        ("{% if event.data.tier == 'gold' and event.data.items > 2 %}Gold{% else %}Plain{% endif %}.", "Gold."),
        ("{{ 'Big' if event.data.amount > 100000 else 'Small' }}", "Big"),
        ("two\n  lines", "two lines"),
    ],
)
def test_a_sentence_with_facts(text: str, said: str) -> None:
    assert say(text) == said


@pytest.mark.parametrize("key", ["items", "keys", "get", "copy", "__class__", "update"])
def test_a_fact_that_is_called_like_a_method_is_the_fact(key: str) -> None:
    assert say(f"{{{{ event.data.{key} }}}}", data={key: "seven"}) == "seven"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ event.data.nobody }}", "there is no 'nobody' here"),
        ("{{ event.data.note }}", "there is no 'note' here"),
        ("{{ event.data.lines[7] }}", "there is no '7' here"),
        ("{{ event.data.customer.upper }}", "there is no 'upper' here"),
        ("{% if event.data.nobody %}x{% endif %}", "there is no 'nobody' here"),
    ],
)
def test_a_fact_that_is_missing_is_named(text: str, words: str) -> None:
    templates.check(text)
    with pytest.raises(TemplateError) as missing:
        say(text)
    assert words in str(missing.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ event.data.customer", "line 1: unexpected end of template"),
        ("one\n{% if %}", "line 2"),
        ("{% for x in event.data %}{{ x }}{% endfor %}", "'For' is not allowed"),
        ("{% set x = 1 %}", "'Assign' is not allowed"),
        ("{% include 'x' %}", "'Include' is not allowed"),
        ("{% macro m() %}{% endmacro %}", "'Macro' is not allowed"),
        ("{{ event.data.items() }}", "'Call' is not allowed"),
        ("{{ 9 ** 9 ** 9 }}", "'Pow' is not allowed"),
        ("{{ 'a' * 999999999 }}", "'Mul' is not allowed"),
        ("{{ 'a' ~ 'b' }}", "'Concat' is not allowed"),
        ("{{ [1] }}", "'List' is not allowed"),
        ("{{ event.data|attr('x') }}", "there is no filter 'attr'; there are capitalize"),
        ("{{ event.data|format }}", "there is no filter 'format'"),
        ("{{ customer }}", "'customer' is not known; the names are event, person, asset"),
        ("{{ self }}", "'self' is not known"),
        ("{{ range }}", "'range' is not known"),
        ("{{ event.customer }}", "'event.customer' is not known; there are event.id"),
        ("{{ event.__class__.__mro__ }}", "'event.__class__' is not known"),
        ("x" * 1001, "longer than 1000 characters"),
        ("{{ " + "(" * 400 + "event.id" + ")" * 400 + " }}", "nested too deeply"),
    ],
)
def test_what_is_not_a_sentence_with_facts_is_refused_when_it_is_saved(text: str, words: str) -> None:
    with pytest.raises(TemplateError) as refused:
        templates.check(text)
    assert words in str(refused.value).replace("'end of template'", "end of template")


@pytest.mark.parametrize(
    "text",
    [
        "{{ event.data['__class__'] }}",
        "{{ person.name['__class__']['__mro__'] }}",
        "{{ event.data.customer['format'] }}",
        "{{ event['__init__']['__globals__'] }}",
        "{{ event.time['__class__'] }}",
    ],
)
def test_no_way_leads_out_of_the_facts(text: str) -> None:
    with pytest.raises(TemplateError, match="there is no '"):
        say(text)


def test_a_fact_is_never_read_as_a_template_and_never_breaks_the_line() -> None:
    hostile = "{{ event.id }}{% for %}\r\n\x1b[2J\u202eevil\x00 <b>x</b>"
    assert say("For {{ event.data.customer }}.", data={"customer": hostile}) == (
        "For {{ event.id }}{% for %} [2Jevil <b>x</b>."
    )


def test_a_very_long_fact_is_cut() -> None:
    assert len(say("{{ event.data.customer }}", data={"customer": "x" * 100_000})) == 2000
