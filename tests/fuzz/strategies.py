"""Statements that are valid by their making, and all that can be wrong with one."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

Json = dict[str, Any]

#: Text that programs break on: NUL, controls, half a surrogate pair, what changes with case or normal form, the long.
odd_texts = st.sampled_from(
    [
        "",
        " ",
        "\0",
        "a\0b",
        "\ud800",
        "\udfff\ud800",
        "\ufeff",
        "\u202e",
        "İ",
        "ǆ",
        "e\u0301",
        "\U0010ffff",
        "\x7f",
        "x" * 3000,
    ]
)
texts = st.one_of(st.text(max_size=20), odd_texts)
numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([10**400, -(10**30), 2**63, 2**64, 1e308, 5e-324, -0.0]),
)
junk = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)

iris = st.sampled_from(["http://x.test/a", "https://x.test/ü?q#f", "urn:x:1", "tag:x.test,2026:a", "mailto:a@x.test"])
words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
languages = st.dictionaries(st.sampled_from(["en", "de-CH", "zh-Hant", "und", "i-klingon"]), words, max_size=2)
ids = st.uuids().map(str) | st.uuids().map(lambda one: str(one).upper())
finite = st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False)
extensions = st.dictionaries(iris, st.one_of(st.none(), words, finite, st.lists(words, max_size=2)), max_size=2)
identifiers = st.one_of(
    st.sampled_from(["mailto:ann@example.com", "mailto:b+c@EXAMPLE.com"]).map(lambda mbox: {"mbox": mbox}),
    st.binary(min_size=20, max_size=20).map(lambda digest: {"mbox_sha1sum": digest.hex()}),
    iris.map(lambda openid: {"openid": openid}),
    st.builds(lambda page, name: {"account": {"homePage": page, "name": name}}, iris, words),
)


def shaped(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({}, optional=optional)


def both(*parts: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    return st.tuples(*parts).map(lambda all_parts: {name: value for part in all_parts for name, value in part.items()})


agents = both(identifiers, shaped(name=words, objectType=st.just("Agent")))
groups = both(
    st.just({"objectType": "Group"}),
    st.one_of(
        both(identifiers, shaped(member=st.lists(agents, max_size=2))),
        st.lists(agents, min_size=1, max_size=2).map(lambda members: {"member": members}),
    ),
)
actors = agents | groups
definitions = shaped(name=languages, description=languages, type=iris, moreInfo=iris, extensions=extensions)
activities = both(iris.map(lambda iri: {"id": iri}), shaped(definition=definitions, objectType=st.just("Activity")))
references = ids.map(lambda of: {"objectType": "StatementRef", "id": of})
times = st.datetimes().map(lambda at: at.isoformat(timespec="milliseconds") + "Z")
scores = (
    st.lists(finite, min_size=3, max_size=3, unique=True)
    .map(sorted)
    .map(lambda three: {"min": three[0], "raw": three[1], "max": three[2]})
)
results = shaped(
    score=scores,
    success=st.booleans(),
    completion=st.booleans(),
    response=words,
    duration=st.sampled_from(["PT0S", "P1DT2H3.004S", "P3W", "PT1H30M"]),
    extensions=extensions,
)
contexts = shaped(
    registration=ids,
    instructor=actors,
    team=groups,
    language=st.just("en-GB"),
    contextActivities=shaped(parent=st.lists(activities, max_size=2), grouping=st.lists(activities, max_size=1)),
    statement=references,
    extensions=extensions,
)
core = st.fixed_dictionaries(
    {"actor": actors, "verb": both(iris.map(lambda iri: {"id": iri}), shaped(display=languages))},
    optional={"result": results, "context": contexts, "timestamp": times},
)
told_of = st.one_of(activities, agents.map(lambda one: {**one, "objectType": "Agent"}), groups, references)
sub_statements = both(core, told_of.map(lambda thing: {"object": thing, "objectType": "SubStatement"}))
#: Statements that both versions take, each with an id of its own.
statements = both(
    core,
    st.one_of(told_of, sub_statements).map(lambda thing: {"object": thing}),
    st.uuids(version=4).map(lambda of: {"id": str(of)}),
)


@st.composite
def spoiled(draw: st.DrawFn) -> Json:
    """A statement with one to three changes anywhere in it: a value, a name, something more or less."""
    whole: Json = {"": copy.deepcopy(draw(statements))}
    for _ in range(draw(st.integers(1, 3))):
        holder, key = draw(st.sampled_from(list(_places(whole))))
        change = draw(st.sampled_from(["value", "value", "name", "more", "less", "list", "deep"]))
        if change == "value":
            holder[key] = draw(junk)
        elif change == "list":
            holder[key] = [holder[key]] * draw(st.integers(0, 3))
        elif change == "deep":
            for _ in range(draw(st.sampled_from([1, 90, 200]))):
                holder[key] = [holder[key]]
        elif isinstance(holder, dict):
            value = holder[key] if change == "more" or key == "" else holder.pop(key)
            if change != "less":
                holder[draw(texts)] = value
    return whole


def _places(value: Any) -> Any:
    """Every (holder, key) in a tree of JSON."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def encoded(value: Any) -> bytes:
    """JSON as a careless program writes it: with NaN, half surrogate pairs escaped, in whichever depth."""
    return json.dumps(value).encode()


@st.composite
def torn(draw: st.DrawFn) -> bytes:
    """The bytes of a batch with pieces cut out, doubled, or put in that are no UTF-8 or no JSON."""
    body = bytearray(encoded([draw(statements)]))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body)))
        end = min(len(body), at + draw(st.integers(0, 30)))
        more = draw(
            st.one_of(st.binary(max_size=4), st.sampled_from([b"\xff", b"\x00", b"[" * 5000, b'{"id":1,"id":1}']))
        )
        body[at:end] = draw(st.sampled_from([more, bytes(body[at:end]) * 2, b""]))
    return bytes(body)
