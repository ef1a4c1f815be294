"""The statement validator: against recorded verdicts of a conformant LRS, rule by rule, and under arbitrary change."""

from __future__ import annotations

import copy
import json
import math
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.xapi.validation import InvalidStatement, Version, validate, validate_batch
from tests.xapi.validating import (
    ACTIVITY,
    AGENT,
    ATTACHMENT,
    BASE,
    BOTH,
    GROUP,
    ID,
    RECORDED,
    REF,
    REMOVED,
    SUB,
    V1,
    V2,
    VOIDED,
    changed,
    places,
    refusal,
)

ELSEWHERE = {
    Version.V1_0_3: {836: "a PUT whose query lacks statementId: the statement itself is valid"},
    Version.V2_0_0: {5: "a PUT whose query lacks statementId: the statement itself is valid"},
}


# The recorded verdicts


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded verdicts are not beside this checkout")
@BOTH
def test_agrees_with_the_recorded_verdicts(version: Version) -> None:
    lines = (RECORDED / f"verdicts-{version}.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == {V1: 850, V2: 876}[version]
    differing = set()
    for number, line in enumerate(lines, start=1):
        recorded = json.loads(line)
        try:
            accepted = bool(validate_batch(recorded["statement_or_batch"], version))
        except InvalidStatement:
            accepted = False
        if accepted != recorded["accept"]:
            differing.add(number)
    assert differing == ELSEWHERE[version].keys()


# What is accepted


@BOTH
@pytest.mark.parametrize("statement", [BASE, SUB], ids=["every property", "sub-statement"])
def test_accepts_and_leaves_untouched(statement: dict[str, Any], version: Version) -> None:
    before = copy.deepcopy(statement)
    validate(statement, version)
    assert statement == before


@BOTH
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("id", ID.upper()),
        ("id", "01890a5d-ac96-774b-bcce-b302099a8057"),
        ("actor", GROUP),
        ("actor", {"objectType": "Group", "mbox": "mailto:team@example.com", "member": []}),
        ("actor", {"mbox": "mailto:o'brien+x%20y@sub.example.co.uk"}),
        ("actor", {"mbox": "mailto:jörg@bücher.example"}),
        ("verb/display", {}),
        ("verb/display", {"en": ""}),
        ("object", {"objectType": "Group", "account": {"homePage": "https://idp.example.com", "name": "shift"}}),
        ("result/score", {"raw": -3.5}),
        ("result/score", {"scaled": -1}),
        ("result/score", {"raw": 10**400, "min": 10**399}),
        ("context/contextActivities/other", []),
        ("authority", {"objectType": "Group", "member": [AGENT, {"account": {"homePage": "urn:x:y", "name": "k"}}]}),
        ("attachments/0/fileUrl", "https://example.com/c.pdf"),
        ("attachments/0/contentType", 'text/plain; charset="utf-8"; format=flowed'),
        ("version", "1.0"),
        ("version", "1.0.9"),
    ],
)
def test_accepts(path: str, value: object, version: Version) -> None:
    base = BASE if path != "object" else changed("context", REMOVED)
    validate(changed(path, value, base), version)


# What is refused, and where the fault is said to be


@BOTH
@pytest.mark.parametrize("value", [None, "x", 1, True, []], ids=repr)
def test_a_statement_is_an_object(value: object, version: Version) -> None:
    assert refusal(value, version).path == ""


@BOTH
@pytest.mark.parametrize("name", ["actor", "verb", "object"])
def test_requires(name: str, version: Version) -> None:
    assert refusal(changed(name, REMOVED), version).path == name
    assert refusal(changed(f"object/{name}", REMOVED, SUB), version).path == f"object.{name}"


@BOTH
@pytest.mark.parametrize("wrong", [None, 1.5, [[]], {"": {}}], ids=["null", "number", "list", "object"])
@pytest.mark.parametrize("place", [place for place in places(BASE) if "score/" not in place])
def test_every_property_has_its_type_and_none_is_null(place: str, wrong: object, version: Version) -> None:
    fault = refusal(changed(place, wrong), version)
    named = fault.path.replace(".", "/").replace("[", "/").replace("]", "").replace('"', "")
    assert place.startswith(named) or named.startswith(place)


@BOTH
@pytest.mark.parametrize("stray", ["surprise", "Id", "ID", "objecttype"])
@pytest.mark.parametrize("place", ["", "actor", "actor/account", "verb", "object", "object/definition", "result"])
def test_refuses_unknown_properties(place: str, stray: str, version: Version) -> None:
    path = f"{place}/{stray}".lstrip("/")
    assert refusal(changed(path, "x"), version).path == path.replace("/", ".")


@BOTH
@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        # ids
        ("id", "", "id"),
        ("id", ID[:-1], "id"),
        ("id", ID + "0", "id"),
        ("id", ID.replace("-", ""), "id"),
        ("id", "{" + ID + "}", "id"),
        ("id", "urn:uuid:" + ID, "id"),
        ("id", "g" + ID[1:], "id"),
        ("id", ID + "\n", "id"),
        ("context/registration", "attempt 1", "context.registration"),
        ("context/statement/objectType", REMOVED, "context.statement.objectType"),
        # actors
        ("actor", {}, "actor"),
        ("actor", {"name": "Ann"}, "actor"),
        ("actor", {**AGENT, "openid": "https://id.example.com/ann"}, "actor"),
        ("actor", {**AGENT, "account": {"homePage": "urn:a:b", "name": "x"}}, "actor"),
        ("actor", {**AGENT, "member": []}, "actor.member"),
        ("actor", {**AGENT, "objectType": "agent"}, "actor.objectType"),
        ("actor", {**AGENT, "objectType": "Person"}, "actor.objectType"),
        ("actor", {**AGENT, "objectType": {}}, "actor.objectType"),
        ("actor", {"mbox_sha1sum": "cd9b"}, "actor.mbox_sha1sum"),
        ("actor", {"account": {"homePage": "https://idp.example.com"}}, "actor.account.name"),
        ("actor", {"account": {"homePage": "idp", "name": "x"}}, "actor.account.homePage"),
        ("actor", {"objectType": "Group"}, "actor.member"),
        ("actor", {"objectType": "Group", "member": []}, "actor.member"),
        ("actor", {"objectType": "Group", "member": [AGENT, GROUP]}, "actor.member[1].objectType"),
        ("actor", {"objectType": "Group", **AGENT, "openid": "urn:a:b"}, "actor"),
        ("context/team", AGENT, "context.team.objectType"),
        ("authority", {**GROUP, "member": [AGENT]}, "authority.member"),
        ("authority", {**GROUP, "member": [AGENT] * 3}, "authority.member"),
        ("authority", {"objectType": "Group", **AGENT, "member": [AGENT] * 2}, "authority"),
        # verb, object
        ("verb/display/en-US", None, 'verb.display["en-US"]'),
        ("verb/id", REMOVED, "verb.id"),
        ("verb/id", VOIDED, "object"),
        ("object", {"id": ID}, "object.id"),
        ("object", AGENT, "object.mbox"),
        ("object", {"objectType": "activity", **ACTIVITY}, "object.objectType"),
        ("object", {"objectType": "StatementRef"}, "object.id"),
        ("object", {"objectType": "StatementRef", "id": "https://example.com"}, "object.id"),
        ("object", REF, "context.revision"),
        ("object/definition/type", "meeting", "object.definition.type"),
        ("object/definition/extensions", {"note": 1}, "object.definition.extensions.note"),
        # interactions
        ("object/definition/interactionType", REMOVED, "object.definition.interactionType"),
        ("object/definition/interactionType", "Choice", "object.definition.interactionType"),
        ("object/definition/interactionType", "likert", "object.definition.choices"),
        ("object/definition/interactionType", "other", "object.definition.choices"),
        ("object/definition/scale", [{"id": "a"}], "object.definition.scale"),
        ("object/definition/choices", {"id": "a"}, "object.definition.choices"),
        ("object/definition/choices", [{"id": "a"}, {"id": "a"}], "object.definition.choices"),
        ("object/definition/choices/1/id", REMOVED, "object.definition.choices[1].id"),
        ("object/definition/choices/1/id", 2, "object.definition.choices[1].id"),
        ("object/definition/correctResponsesPattern", "a", "object.definition.correctResponsesPattern"),
        ("object/definition/correctResponsesPattern", ["a", 1], "object.definition.correctResponsesPattern[1]"),
        # result
        ("result/score/scaled", 1.0001, "result.score.scaled"),
        ("result/score/scaled", -2, "result.score.scaled"),
        ("result/score/scaled", math.nan, "result.score.scaled"),
        ("result/score/scaled", True, "result.score.scaled"),
        ("result/score/raw", 101, "result.score.raw"),
        ("result/score/raw", -1, "result.score.raw"),
        ("result/score/raw", "90", "result.score.raw"),
        ("result/score/raw", False, "result.score.raw"),
        ("result/score/max", 0, "result.score.min"),
        ("result/score/max", math.inf, "result.score.max"),
        ("result/score/percent", 90, "result.score.percent"),
        ("result/success", 1, "result.success"),
        ("result/completion", "true", "result.completion"),
        ("result/extensions", {"a b:c": 1}, 'result.extensions["a b:c"]'),
        # context
        ("context/contextActivities/consequence", [], "context.contextActivities.consequence"),
        ("context/contextActivities/parent", [{}], "context.contextActivities.parent[0].id"),
        ("context/contextActivities/parent/0/id", "7", "context.contextActivities.parent[0].id"),
        ("context/contextActivities/other", [AGENT], "context.contextActivities.other[0].mbox"),
        (
            "context/contextActivities/other",
            {**ACTIVITY, "objectType": "Agent"},
            "context.contextActivities.other.objectType",
        ),
        # attachments
        ("attachments/0/length", -1, "attachments[0].length"),
        ("attachments/0/length", 1.0, "attachments[0].length"),
        ("attachments/0/length", True, "attachments[0].length"),
        ("attachments/0/sha2", "0f" * 20, "attachments[0].sha2"),
        ("attachments/0/sha2", REMOVED, "attachments[0].sha2"),
        ("attachments/0/display", REMOVED, "attachments[0].display"),
        ("attachments/0/contentType", "pdf", "attachments[0].contentType"),
        ("attachments/0/usageType", "http://adlnet.gov/expapi/attachments/signature", "attachments[0].contentType"),
        ("version", "1.1.0", "version"),
        ("version", "0.9.9", "version"),
        ("version", "1.0.x", "version"),
        ("version", 1.0, "version"),
    ],
)
def test_refuses(path: str, value: object, fault: str, version: Version) -> None:
    found = refusal(changed(path, value), version)
    assert found.path == fault
    assert "xAPI-Data" in found.rule or "IEEE" in found.rule


@BOTH
@pytest.mark.parametrize("name", ["id", "stored", "version", "authority"])
def test_a_sub_statement_has_no_life_of_its_own(name: str, version: Version) -> None:
    assert refusal(changed(f"object/{name}", BASE[name], SUB), version).path == f"object.{name}"


@BOTH
def test_a_sub_statement_obeys_the_rules_of_statements(version: Version) -> None:
    assert refusal(changed("object/object", SUB["object"], SUB), version).path == "object.object.objectType"
    assert refusal(changed("object/objectType", "substatement", SUB), version).path == "object.objectType"
    assert refusal(changed("object/context/platform", "x", SUB), version).path == "object.context.platform"
    assert refusal(changed("object/verb/id", VOIDED, SUB), version).path == "object.object"
    assert refusal(changed("object/result", {"success": 1}, SUB), version).path == "object.result.success"


@BOTH
def test_voids_by_reference_only(version: Version) -> None:
    validate({"actor": AGENT, "verb": {"id": VOIDED}, "object": REF}, version)
    assert refusal({"actor": AGENT, "verb": {"id": VOIDED}, "object": ACTIVITY}, version).path == "object"


PARTIES = [
    ("contextAgents", {"objectType": "contextAgent", "agent": AGENT, "relevantTypes": ["urn:a:player"]}, "agent"),
    ("contextGroups", {"objectType": "contextGroup", "group": GROUP, "relevantTypes": ["urn:a:team"]}, "group"),
]


@pytest.mark.parametrize(("name", "entry", "role"), PARTIES)
def test_context_agents_and_groups_are_2_0_only(name: str, entry: dict[str, Any], role: str) -> None:
    plain = {**entry, "relevantTypes": ["urn:a:b", "https://example.com/c"]}
    validate(changed(f"context/{name}", [entry, plain]), V2)
    validate(changed(f"context/{name}", [{key: entry[key] for key in ("objectType", role)}]), V2)
    assert refusal(changed(f"context/{name}", [entry]), V1).path == f"context.{name}"


@pytest.mark.parametrize(("name", "entry", "role"), PARTIES)
def test_refuses_malformed_context_agents_and_groups(name: str, entry: dict[str, Any], role: str) -> None:
    def fault(**changes: object) -> str:
        return refusal(changed(f"context/{name}", [{**entry, **changes}]), V2).path.removeprefix(f"context.{name}[0].")

    other = "Agent" if role == "group" else "Group"
    assert fault(objectType="Agent") == "objectType"
    assert fault(relevantTypes=[]) == "relevantTypes"
    assert fault(relevantTypes=["urn:a:b", "player"]) == "relevantTypes[1]"
    assert fault(relevantTypes="urn:a:b") == "relevantTypes"
    assert fault(**{role: {"objectType": other, **AGENT}}) == f"{role}.objectType"
    assert fault(**{role: None}) == role
    assert fault(member=[AGENT]) == "member"
    assert refusal(changed(f"context/{name}", entry), V2).path == f"context.{name}"
    for missing in ("objectType", role):
        incomplete = {key: value for key, value in entry.items() if key != missing}
        assert refusal(changed(f"context/{name}", [incomplete]), V2).path == f"context.{name}[0].{missing}"


def test_only_2_0_takes_statements_of_version_2_0() -> None:
    validate(changed("version", "2.0.0"), V2)
    assert refusal(changed("version", "2.0.0"), V1).path == "version"


# What an error shows


def test_an_error_reads_as_path_and_rule() -> None:
    fault = refusal(changed("context/contextActivities/parent/0/id", "course 7"))
    assert str(fault) == "context.contextActivities.parent[0].id: must be an IRI with a scheme (xAPI-Data 2.4.4.1)"
    assert str(pickle.loads(pickle.dumps(fault))) == str(fault)


def test_an_error_shortens_and_escapes_foreign_keys() -> None:
    shown = str(refusal(changed("context/extensions", {"\x1b[31m\n" + "k" * 5000: 1})))
    assert len(shown) < 200
    assert shown.isprintable()


@BOTH
@pytest.mark.parametrize("place", [place for place in places(BASE) if place.count("/") < 3])
def test_an_error_never_shows_a_value(place: str, version: Version) -> None:
    secret = "Bearer s3cr3t"
    for value in (secret, {"objectType": secret}, [secret]):
        try:
            validate(changed(place, value), version)
        except InvalidStatement as fault:
            assert secret not in f"{fault} {fault!r}"


# Batches


@BOTH
def test_a_batch_is_one_statement_or_a_list(version: Version) -> None:
    assert validate_batch(BASE, version) == [BASE]
    anonymous = changed("id", REMOVED)
    assert validate_batch([BASE, SUB, anonymous, anonymous], version) == [BASE, SUB, anonymous, anonymous]


@BOTH
@pytest.mark.parametrize("body", [[], None, "x", 7], ids=repr)
def test_a_batch_is_never_empty(body: object, version: Version) -> None:
    with pytest.raises(InvalidStatement, match="at least one"):
        validate_batch(body, version)


@BOTH
def test_a_batch_holds_no_id_twice(version: Version) -> None:
    with pytest.raises(InvalidStatement) as caught:
        validate_batch([BASE, SUB, changed("id", ID.upper())], version)
    assert caught.value.path == "[2].id"


@BOTH
def test_a_batch_says_which_statement_is_bad(version: Version) -> None:
    for bad, path in ((changed("verb/id", "x"), "[1].verb.id"), ([], "[1]")):
        with pytest.raises(InvalidStatement) as caught:
            validate_batch([SUB, bad], version)
        assert caught.value.path == path


# Anything at all

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["Agent", "Group", "Activity", "StatementRef", "SubStatement", VOIDED, ID, "en", "PT1S", "urn:a:b"]
    ),
)
NAMES = st.one_of(
    st.text(max_size=8),
    st.sampled_from(sorted({place.split("/")[-1] for place in [*places(BASE), *places(SUB)]})),
)
VALUES = st.one_of(
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)),
    st.sampled_from([AGENT, GROUP, REF, ACTIVITY, ATTACHMENT, SUB["object"], BASE["context"], BASE["result"]]),
)


def containers(value: Any) -> list[Any]:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    own = [value] if isinstance(value, dict | list) else []
    return own + [found for item in inner for found in containers(item)]


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    statement = copy.deepcopy(draw(st.sampled_from([BASE, SUB])))
    for _ in range(draw(st.integers(1, 4))):
        target = draw(st.sampled_from(containers(statement)))
        value = copy.deepcopy(draw(VALUES))
        if isinstance(target, list):
            target.insert(draw(st.integers(0, len(target))), value)
        else:
            name = draw(st.one_of(st.sampled_from(sorted(target)), NAMES) if target else NAMES)
            target[name] = value
            if draw(st.booleans()):
                del target[name]
    return statement


@settings(max_examples=500, deadline=None)
@given(statement=mutated(), version=st.sampled_from(Version))
def test_any_mutation_is_accepted_or_refused_and_nothing_else(statement: Any, version: Version) -> None:
    before = copy.deepcopy(statement)
    try:
        validate_batch(statement, version)
    except InvalidStatement as fault:
        assert str(fault).isprintable()
        assert len(str(fault)) < 1000
    assert repr(statement) == repr(before)


@settings(max_examples=200, deadline=None)
@given(value=VALUES, version=st.sampled_from(Version))
def test_any_json_value_is_accepted_or_refused_and_nothing_else(value: Any, version: Version) -> None:
    with pytest.raises(InvalidStatement):
        validate(value, version)
    with pytest.raises(InvalidStatement):
        validate_batch([value], version)
