"""Every statement that the bridge can make follows its published profile, and uses no word that it lacks."""

from __future__ import annotations

import ast
import datetime as dt
import itertools
import json
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import tincan
from jsonschema import Draft7Validator

from bridge.domain.assets import AssetKind, How, Opening
from bridge.domain.ids import IRI
from bridge.secrets import Vault
from bridge.store import tables
from bridge.xapi import cmi5, profile, statements
from bridge.xapi.enrich import put_in
from bridge.xapi.profile.document import as_jsonld
from bridge.xapi.validation import Version, loads, validate
from tests.xapi.conftest import AT
from tests.xapi.following import broken, follows, matching

ROOT = Path(__file__).parents[2]
DOCUMENT = as_jsonld()
SCHEMAS = {
    concept["id"]: (concept["type"], Draft7Validator(json.loads(concept["inlineSchema"])))
    for concept in DOCUMENT["concepts"]
    if "inlineSchema" in concept
}
ISSUER = "https://bridge.test"
OPENINGS: dict[How, dict[str, Any]] = {
    How.INLINE: {"how": "inline", "text": "- [ ] Ask"},
    How.LINK: {"how": "link", "url": "https://lms.test/7"},
    How.LTI: {"how": "lti", "tool": "academy"},
    How.XAPI: {"how": "xapi", "url": "https://cdn.test/7"},
    How.CMI5: {"how": "cmi5", "url": "https://cdn.test/8", "custom": {"publisher_id": "https://cdn.test/au"}},
}
#: What can come of a launch with each verb; nothing for the launch itself.
OUTCOMES: dict[str, list[dict[str, Any]]] = {
    "launched": [],
    "progressed": [{"completed": False}, {"completed": False, "score": 0.4}],
    "completed": [{"completed": True}, {"completed": True, "score": 0.9}],
    "passed": [
        {"completed": True, "success": True, "score": 1.0},
        {"completed": False, "success": True, "score": 0.8},
        {"completed": True, "success": True},
    ],
    "failed": [
        {"completed": True, "success": False, "score": 0.0},
        {"completed": False, "success": False, "score": 0.2},
        {"completed": True, "success": False},
    ],
}
LaunchOf = Callable[..., tables.Launch]
OutcomeOf = Callable[..., tables.Outcome]


def check(payload: bytes) -> dict[str, Any]:
    """A statement of the bridge is valid, follows exactly one template, and says nothing that the profile lacks."""
    statement = loads(payload)
    assert isinstance(statement, dict)
    for version in Version:
        validate(statement, version)
    found = matching(statement, DOCUMENT)
    assert len(found) == 1, [template["id"] for template in found]
    assert not broken(statement, found[0])
    check_extensions(statement)
    tincan.Statement.from_json(payload.decode())
    return statement


def check_extensions(statement: dict[str, Any]) -> None:
    """Extensions under our prefix are concepts, stand where they may, and their values are as declared."""
    for kind, where in (("ContextExtension", "context"), ("ResultExtension", "result")):
        for iri, value in statement.get(where, {}).get("extensions", {}).items():
            if iri.startswith(IRI):
                declared, schema = SCHEMAS[iri]
                assert declared == kind
                assert not list(schema.iter_errors(value))


def made_of(launch: tables.Launch, verb: str, outcome: OutcomeOf, parts: dict[str, Any] | None = None) -> bytes:
    told = outcome(launch, verb, **parts) if parts is not None else None
    vault = Vault("a key of the tests")
    return orjson.dumps(statements.for_launch(launch, verb, at=AT, issuer=ISSUER, vault=vault, outcome=told))


def test_the_cases_are_all_that_there_are() -> None:
    assert OUTCOMES.keys() == profile.VERBS.keys()
    assert OPENINGS.keys() == set(How)


@pytest.mark.parametrize("verb", profile.VERBS)
def test_a_statement_about_a_launch_follows_the_profile(verb: str, launch_of: LaunchOf, outcome: OutcomeOf) -> None:
    progress: tuple[list[str], ...] = ([], ["ask", "list"])
    for kind, (how, opening), steps, parts in itertools.product(
        AssetKind, OPENINGS.items(), progress, OUTCOMES[verb] or [None]
    ):
        launch = launch_of(kind=kind.value, opening=opening)
        launch.progress = steps
        assert launch.how == how
        check(made_of(launch, verb, outcome, parts))


@pytest.mark.parametrize("language", ["", "de_AT", "no such tag"])
@pytest.mark.parametrize("title", ["", "Rücksendung"])
def test_so_does_one_with_little_in_it(language: str, title: str, launch_of: LaunchOf, outcome: OutcomeOf) -> None:
    launch = launch_of(language=language, title=title, activity_id="https://lms.test/course/7")
    launch.prompt.event.subject, launch.prompt.event.type = "", "created"
    statement = check(made_of(launch, "launched", outcome))
    assert profile.RECORD not in statement["context"]["extensions"]


def test_so_does_the_launch_of_each_sitting_of_cmi5_content(launch_of: LaunchOf, outcome: OutcomeOf) -> None:
    custom = {"publisher_id": "https://cdn.test/au", "mastery_score": "0.8", "launch_parameters": "slow"}
    opening = Opening.cmi5("https://cdn.test/8", **custom)
    launch = launch_of(kind="course", opening=opening.to_json())
    said = cmi5.Session(uuid.uuid4(), opening).launched()
    statement = check(put_in(made_of(launch, "launched", outcome), said))
    assert cmi5.SESSION_ID in statement["context"]["extensions"]
    assert follows([statement, statement], DOCUMENT), "a second sitting has the registration of the first"


def test_what_launched_content_says_gets_declared_extensions_and_is_not_under_the_profile(
    launch: tables.Launch,
) -> None:
    context = statements.business_context(launch, ISSUER, Vault("a key of the tests"))
    said = {"actor": {"mbox": "mailto:x@example.com"}, "verb": {"id": "https://example.com/saw"}, "object": {"id": IRI}}
    statement = json.loads(put_in(orjson.dumps(said), {"context": context}))
    for version in Version:
        validate(statement, version)
    assert {iri for iri in statement["context"]["extensions"] if iri.startswith(IRI)} == {
        profile.RULE,
        profile.PROMPT,
        profile.EVENT_TYPE,
        profile.RECORD,
    }
    check_extensions(statement)
    assert not matching(statement, DOCUMENT)
    assert profile.VERSION not in json.dumps(statement)


def test_a_launch_and_what_came_of_it_follow_the_pattern_though_the_tools_clock_is_behind(
    launch: tables.Launch, outcome: OutcomeOf
) -> None:
    late = {"occurred_at": launch.started_at - dt.timedelta(minutes=3)}
    stated = [check(made_of(launch, "launched", outcome))]
    vault, begun = Vault("a key of the tests"), launch.started_at
    stated[0]["timestamp"] = begun.isoformat(timespec="milliseconds")
    for verb in ("progressed", "failed", "progressed", "passed", "completed"):
        told = outcome(launch, verb, id=uuid.uuid4(), **{**OUTCOMES[verb][0], **late})
        made = statements.for_launch(launch, verb, at=late["occurred_at"], issuer=ISSUER, vault=vault, outcome=told)
        stated.append(check(orjson.dumps(made)))
    in_order = sorted(stated, key=lambda statement: dt.datetime.fromisoformat(statement["timestamp"]))
    assert in_order == stated and len({statement["timestamp"] for statement in stated[:2]}) == 2
    assert follows(in_order, DOCUMENT)
    assert not follows(in_order[1:], DOCUMENT)


# The checks can fail


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda stated: stated["result"].update(completion=False), "$.result.completion has others"),
        (lambda stated: stated["context"].pop("registration"), "$.context.registration is missing"),
        (lambda stated: stated["actor"].update(name="Sam"), "is there"),
        (lambda stated: stated["object"]["definition"].update(type="https://example.com/t"), "has others than"),
        (lambda stated: stated["context"]["contextActivities"]["category"][0].update(id=IRI), "has none of"),
    ],
)
def test_a_rule_that_is_broken_is_found(
    change: Callable[[dict[str, Any]], Any], word: str, launch: tables.Launch, outcome: OutcomeOf
) -> None:
    stated = check(made_of(launch, "completed", outcome, {}))
    change(stated)
    (template,) = matching(stated, DOCUMENT)
    (fault,) = broken(stated, template)
    assert word in fault


# Nothing is said that the profile lacks


def _sources() -> Iterator[tuple[str, ast.Module]]:
    for package in ("bridge", "connectors", "workers"):
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def test_every_iri_of_our_own_is_made_in_one_place_and_published() -> None:
    written: set[str] = set()
    for name, tree in _sources():
        nodes = list(ast.walk(tree))
        literal = [node for node in nodes if isinstance(node, ast.Constant) and IRI in str(node.value)]
        named = [node for node in nodes if isinstance(node, ast.Name) and node.id in ("IRI", "PROFILE")]
        taken = [node for node in nodes if isinstance(node, ast.Attribute) and node.attr in ("IRI", "PROFILE")]
        if literal or named or taken:
            written.add(name)
    assert written == {"bridge/domain/ids.py", "bridge/xapi/profile/__init__.py", "bridge/xapi/profile/document.py"}
    parts = [*DOCUMENT["versions"], *DOCUMENT["concepts"], *DOCUMENT["templates"], DOCUMENT]
    own = {iri for iri in vars(profile).values() if isinstance(iri, str) and iri.startswith(IRI)}
    own |= {iri for iri in (*profile.VERBS.values(), *profile.ACTIVITY_TYPES.values()) if iri.startswith(IRI)}
    assert own <= {part["id"] for part in parts}


def test_every_verb_of_the_bridge_has_a_template() -> None:
    verbs = {template["verb"] for template in DOCUMENT["templates"]}
    assert verbs == {*profile.VERBS.values(), profile.VOIDED}


#: Who puts statements of the bridge's own into the ledger; a new one must be held against the profile, as these are
#: here and in ``tests/flows/test_void_statement.py``.
MAKERS = {
    "bridge/flows/open_launch.py",
    "bridge/flows/record_outcome.py",
    "bridge/flows/void_statement.py",
    "bridge/flows/xapi_launch.py",
}
#: What an admin has written anew is theirs to answer for.
EDITED = {"bridge/flows/dead_letters.py"}


def test_nobody_else_makes_statements() -> None:
    calls = re.compile(r"\bledger\.(?:report|add|insert)\(|\bfor_launch\(")
    made = {str(path.relative_to(ROOT)) for path in (ROOT / "bridge").rglob("*.py") if calls.search(path.read_text())}
    assert made - {"bridge/xapi/ledger.py", "bridge/xapi/statements.py"} - EDITED == MAKERS
