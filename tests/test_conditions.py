"""Conditions in CEL: what is refused at save and how it is told, what events make of them, what can't run away."""

import datetime as dt
import enum
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import conditions
from bridge.conditions import ConditionError, Failed, Found, Matched, NotMatched

NOW = dt.datetime(2026, 3, 2, 9, 30, tzinfo=dt.UTC)
PERSON: dict[str, Any] = {
    "key": "p1",
    "name": "Ann",
    "email": None,
    "accounts": {"crm": "7"},
    "attributes": {},
}


class Stage(enum.Enum):
    WON = "won"


def an_event(**data: Any) -> dict[str, Any]:
    ann, bo = ({"id": name, "email": f"{name}@example.org", "name": ""} for name in ("ann", "bo"))
    people = {"owner": ann, "team": [ann, bo]}
    when = NOW - dt.timedelta(hours=1)
    names = {"id": "e1", "type": "deal.updated", "source": "crm", "subject": None, "time": when, "people": people}
    return {**names, "data": data}


def judge(text: str, **data: Any) -> Matched | NotMatched | Failed:
    return conditions.compile(text).evaluate(event=an_event(**data), person=PERSON, now=NOW)


def refusal(text: str) -> ConditionError:
    with pytest.raises(ConditionError) as refused:
        conditions.compile(text)
    return refused.value


@pytest.mark.parametrize(
    "text",
    [
        "event.data.amount > 100000",
        "event.data.amount == 120000.5",
        "event.data.stage == 'proposal' && event.data.amount >= 120000.5",
        "event.data['closing date'] == '2026-04-01'",
        "event.type == 'deal.updated' && event.source == 'crm' && event['id'] == 'e1'",
        "event.time > now - duration('24h')",
        "timestamp(event.data.due) < now + duration('48h')",
        "'vip' in event.data.tags && size(event.data.tags) == 2",
        "event.data.lines.exists(line, line.sku.startsWith('ENT-'))",
        "has(event.data.stage) && !has(event.data.lost) && has(event.subject)",
        "event.subject == null && person.email == null",
        "person.accounts.crm == '7' && !('erp' in person.accounts)",
        "event.people.owner.email.endsWith('@example.org')",
        "event.data.stage.matches('(?i)^PROPOSAL$')",
        "event.data.nothing == 1 || true",
        "event.data.urgent",
        "// a note: and, or\n 'event.nothing and \\'more\\'' != '' && true",
        "now.getDayOfWeek('Europe/Berlin') == 1",
    ],
)
def test_a_condition_that_holds(text: str) -> None:
    event = an_event(
        **{"amount": 120000.5, "stage": "proposal", "closing date": dt.date(2026, 4, 1), "tags": ["vip", "eu"]},
        **{
            "due": dt.datetime(2026, 3, 3, tzinfo=dt.UTC),
            "lines": [{"sku": "STD-1"}, {"sku": "ENT-2"}],
            "urgent": True,
        },
    )
    assert conditions.compile(text).evaluate(event=event, person=PERSON, now=NOW) == Matched()


def test_a_condition_that_does_not_hold() -> None:
    assert judge("event.data.amount > 100000", amount=100000) == NotMatched()


@pytest.mark.parametrize(("amount", "outcome"), [(100001, Matched()), (100000.5, Matched()), (99999.5, NotMatched())])
def test_whole_and_decimal_numbers_compare(amount: float, outcome: object) -> None:
    assert judge("event.data.amount > 100000", amount=amount) == outcome
    assert judge("event.data.amount > 100000.0", amount=amount) == outcome


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("evnt.data.amount > 1", "evnt.data.amount is not known"),
        ("stage == 'won'", "Allowed: event.id, event.type, event.source, event.subject, event.time, event.data"),
        ("event.dat.amount > 1", "event.dat is not known, did you mean event.data?"),
        ("person['mail'] == 'x'", "person.mail is not known, did you mean person.email?"),
        ("event.data.name.upper() == 'A'", "upper is not known"),
        ("event.data.amount + 1", "This gives a whole number, not true or false"),
        ("'won'", "This gives text, not true or false"),
        ("now", "This gives a time, not true or false"),
        ("[1, 2]", "This gives a list, not true or false"),
        ("event.id > 3", "> does not work on text and a whole number"),
        ("event.time < '2026-01-01'", "read a time out of text with timestamp(...)"),
        ("1 == 1.0", "write 2.0 for 2"),
        ("event.data.amount >", "something is missing at the end"),
        ("event.data.stage = 'won'", "write == to compare"),
        ("event.data.urgent and true", "write && for and"),
        ("event.data.amount > 100,000", "numbers take no thousands separator"),
        ("event.data.stage == “won”", "use straight quotes"),
        ("event.data.stage == 'won", "this quote is never closed"),
        ("event.data['line items'].exists(l, true) && event.data.a['b'].exists(l, true)", "dyn("),
        (" ", "Write true to match every event"),
        ("true\0 || nonsense", "a character here that is not text"),
        ("'\ud800' == ''", "a character here that is not text"),
        ("'" + "x" * 2000 + "' == ''", "2,008 characters long; at most 2,000"),
        ("(" * 40 + "true" + ")" * 40, "nested too deeply"),
        ("event.data" + ".a" * 60 + " == 1", "nested too deeply"),
        ("[1].all(a, " * 5 + "true" + ")" * 5, "5 loops"),
        ("1" + " + 1" * 9 + " > 1", "9 additions"),
    ],
)
def test_the_admin_is_told_what_is_wrong(text: str, says: str) -> None:
    assert says in str(refusal(text))


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("event.data.a > 1 &&\n  wrong == 1", 2, 3),
        ("event.data.a > 1 &&\n\tperson.wrong == 1", 2, 9),
        ("'😀' == wrong", 1, 8),
        ("event.data.a >\n", 2, 1),
    ],
)
def test_the_place_is_shown_with_a_caret(text: str, line: int, column: int) -> None:
    refused = refusal(text)
    assert (refused.line, refused.column) == (line, column)
    heading, source, caret = str(refused).split("\n")
    assert heading.startswith(f"Line {line}, column {column}: ")
    assert source == text.split("\n")[line - 1]
    assert caret.index("^") == column - 1 and len(caret) == column


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("event.data.amount > 1", "event.data.amount is not there"),
        ("event.data.stage == 'x' && event.data.deal.owner == 'x'", "event.data.deal.owner is not there"),
        ("event.data['no such'] == 1", "event.data['no such'] is not there"),
        ("event.data.lines[0].price > 1", "event.data.lines[0].price is not there"),
        ("event.data.lines.exists(line, line.price > 1)", "price is not there"),
        ("event.data.nothing.name == 'x'", "event.data.nothing is null and has no name"),
        ("event.data.nothing > 1", "> does not work on null and a whole number (event.data.nothing is null)"),
        ("event.data.stage > 1", "> does not work on text and a whole number (event.data.stage is text)"),
        ("event.data.stage && true", "&& does not work on these values (event.data.stage is text)"),
        ("event.data.stage.x == 1", "event.data.stage is text and has no x"),
        ("event.data.stage", "it gives text, not true or false"),
        ("event.data.lines[7] == 1", "there is no element [7] in a list of 1"),
        ("1 / event.data.zero == 1", "divide by zero"),
        ("timestamp(event.data.stage) < now", "String to Timestamp conversion failed"),
    ],
)
def test_a_condition_that_cannot_be_judged_says_why(text: str, reason: str) -> None:
    given_data: dict[str, Any] = {"stage": "x", "deal": {}, "nothing": None, "lines": [{"sku": 1}], "zero": 0}
    failed = judge(text, **given_data)
    assert isinstance(failed, Failed)
    assert failed.reason == reason


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("event.data.amount * 2 > 1", "write 2.0 for 2, or wrap the whole number in double(...)"),
        ("event.data.due < now", "read a time out of text with timestamp(...)"),
    ],
)
def test_a_failure_says_what_to_write_instead(text: str, hint: str) -> None:
    failed = judge(text, amount=1.5, due=NOW)
    assert isinstance(failed, Failed) and hint in failed.reason


def test_reasons_hold_no_values_of_the_event() -> None:
    texts = ["event.data.x.matches(event.data.x)", "event.data[event.data.x] == 1", "int(event.data.x) == 1"]
    texts += ["event.data.x > 1", "timestamp(event.data.x) > now", "duration(event.data.x) > now - now"]
    outcomes = [judge(text, x="(secret-7") for text in texts]
    assert all(isinstance(outcome, Failed) for outcome in outcomes)
    assert "secret-7" not in repr(outcomes)


def test_names_that_nobody_gave_are_failures() -> None:
    texts = {"person.email == 'x'": "the person is not known yet", "event.id == 'x'": "event.id is not there"}
    texts |= {"event.time < now": "event.time is not there", "event.data.x == 1": "event.data is not there"}
    for text, reason in texts.items():
        assert conditions.compile(text).evaluate(event={}, person=None, now=NOW) == Failed(reason)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (dt.datetime(2026, 3, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2))), "timestamp(x) < now"),
        (dt.datetime(2026, 3, 1, 12), "timestamp(x) == timestamp('2026-03-01T12:00:00Z')"),  # noqa: DTZ001
        (dt.date(2026, 3, 1), "timestamp(x + 'T00:00:00Z') < now"),
        (dt.timedelta(minutes=90), "duration(x) > duration('1h')"),
        (Decimal("120000.50"), "x > 100000 && x == 120000.5"),
        (Decimal("7"), "x + 1 == 8"),
        (Decimal("1e999999"), "x > 9223372036854775807"),
        (Decimal("NaN"), "x != x"),
        (uuid.UUID(int=7), "x.endsWith('-000000000007')"),
        (Stage.WON, "x == 'won'"),
        (None, "x == null"),
        ({"a": [{"b": (1, 2)}]}, "x.a[0].b[1] == 2"),
        ({1: "one"}, "x['1'] == 'one'"),
        ({"red"}, "'red' in x"),
        (b"ab", "size(x) == 2"),
        (2**63, "x > 9223372036854775807"),
        (2**64 - 1, "x == dyn(18446744073709551615u)"),
        (2**70, "x > 100000"),
        (-(2**70), "x < 100000"),
        pytest.param(10**400, "x > 1.0e308", id="googol"),
        (float("nan"), "x != x"),
        ("a\0b", "x != 'a' && size(x) == 3"),
        ("\ud800", "x == '?'"),
        ("Zürich 😀", "x.contains('ü') && size(x) == 8"),
    ],
)
def test_values_of_every_kind_can_be_read(value: object, text: str) -> None:
    assert judge(text.replace("x", "event.data.x"), x=value) == Matched()


def test_data_nested_in_itself_or_too_deep_is_a_failure() -> None:
    cyclic: dict[str, Any] = {}
    cyclic["again"] = cyclic
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    for value in (cyclic, deep):
        assert judge("event.data.x == 1", x=value) == Failed("the data is nested deeper than 32 levels")


def test_an_object_of_another_kind_is_a_failure() -> None:
    assert judge("event.data.x == 1", x=object()) == Failed("the data holds a object, which a condition cannot read")


def test_the_event_time_may_be_text() -> None:
    event = an_event() | {"time": "2026-03-02T09:00:00+00:00"}
    recent = conditions.compile("now - event.time == duration('30m')")
    assert recent.evaluate(event=event, person=None, now=NOW) == Matched()
    assert recent.evaluate(event=event | {"time": "soon"}, person=None, now=NOW) == Failed("event.time is not there")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("event.people.owner.email", "ann@example.org"),
        ("event.people.team.map(one, one.id)", ["ann", "bo"]),
        ("event.people.team.filter(one, one != event.people.owner).map(one, one.id)", ["bo"]),
        ("[event.people.owner.id, 'lead']", ["ann", "lead"]),
        ("event.people.owner", {"id": "ann", "email": "ann@example.org", "name": ""}),
        ("event.data.amount > 5 ? event.people.owner.id : 'desk'", "ann"),
    ],
)
def test_an_expression_finds_text_lists_and_maps(text: str, value: object) -> None:
    found = conditions.expression(text).evaluate(event=an_event(amount=7), person=PERSON, now=NOW)
    assert found == Found(value)  # type: ignore[arg-type]


def test_an_expression_that_finds_nothing_says_why() -> None:
    reasons = {"event.people.boss": "event.people.boss is not there"}
    reasons |= {"event.data.amount": "it gives a whole number, not text, a list or a map"}
    for text, reason in reasons.items():
        failed = conditions.expression(text).evaluate(event=an_event(amount=7), person=None, now=NOW)
        assert failed == Failed(reason)


@pytest.mark.parametrize("text", ["1 + 1", "event.data.a == 1", "now"])
def test_an_expression_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(ConditionError, match="not text, a list or a map"):
        conditions.expression(text)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("event.data.x.matches('(a+)+$')", NotMatched()),
        ("event.data.x.matches('^(a|a)*$')", NotMatched()),
        ("event.data.x.matches('((a{0,50}){0,50}){0,50}')", Failed("invalid regular expression")),
        (
            "event.data.l.all(a, event.data.l.all(b, event.data.l.all(c, a + b + c >= 0)))",
            Failed("a loop in it takes more than 10,000 steps"),
        ),
        # Two equal values of 20^3 elements each: the largest that four loops can build and still compare.
        (f"[0].map(a, [{'a,' * 19}a]).map(b, [{'b,' * 19}b]).map(c, [{'c,' * 19}c]).all(d, d == d)", Matched()),
    ],
)
def test_nothing_runs_away(text: str, outcome: object) -> None:
    condition = conditions.compile(text)
    event = an_event(x="a" * 100_000 + "b", l=list(range(1000)))
    started = time.perf_counter()
    assert condition.evaluate(event=event, person=None, now=NOW) == outcome
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    "text",
    [
        "r'\\' == '' || [1].all(a, [1].all(b, [1].all(c, [1].all(d, [1].all(e, '' == '')))))",
        "[1]. all (a, [1] .all// )\n(b, [1].all(c, [1].all(d, [1].all(e, true)))))",
        "'''it's''' == '' || [1].all(a, [1].all(b, [1].all(c, [1].all(d, [1].all(e, '' == '')))))",
    ],
)
def test_quotes_and_comments_do_not_hide_loops(text: str) -> None:
    assert "5 loops" in str(refusal(text))


def test_one_condition_serves_many_threads() -> None:
    condition = conditions.compile("event.data.lines.exists(line, line == event.data.wanted)")

    def run(number: int) -> bool:
        event = an_event(lines=list(range(50)), wanted=number)
        outcomes = {condition.evaluate(event=event, person=PERSON, now=NOW) for _ in range(50)}
        return outcomes == {Matched() if number < 50 else NotMatched()}

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(run, range(100)))


def test_the_same_text_is_checked_once() -> None:
    assert conditions.compile("event.data.once == 1") is conditions.compile("event.data.once == 1")


TOKENS = st.sampled_from(
    [
        *("event", "person", "now", ".data", ".x", "['y']", ".exists(", ".all(a,", ".map(a,", "has(", "size(", "dyn("),
        *(
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            ",",
            ":",
            "?",
            "+",
            "-",
            "*",
            "/",
            "%",
            "!",
            "==",
            "<",
            "&&",
            "||",
            "in",
            "and",
        ),
        *("1", "2.5", "1u", "'a'", '"b"', "r'\\'", "b'c'", "'''", "//", "\n", "true", "null", "a", "@", "\\", "`"),
        *("timestamp(", "duration(", ".matches(", "\0", "\ud800", "😀"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)


@given(st.text(st.characters(), max_size=60) | st.lists(TOKENS, max_size=14).map(" ".join), JSON)
def test_any_text_compiles_or_is_refused_and_any_data_is_judged(text: str, value: object) -> None:
    try:
        condition = conditions.compile(text)
    except ConditionError as refused:
        assert str(refused)
    else:
        outcome = condition.evaluate(event=an_event(x=value, y=value), person=PERSON, now=NOW)
        assert isinstance(outcome, Matched | NotMatched | Failed)


@given(JSON)
def test_any_json_equals_itself(value: object) -> None:
    outcome = judge("event.data.x == event.data.y", x=value, y=value)
    assert outcome == (NotMatched() if "nan" in repr(value) else Matched())
