"""The bridge's own statements: golden files per verb, and what must hold for each of them."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import tincan

from bridge.secrets import Vault
from bridge.store import tables
from bridge.xapi import profile, statements
from bridge.xapi.validation import Version, loads, validate

GOLDEN = Path(__file__).parent / "golden"
AT = dt.datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=dt.UTC)
VAULT = Vault("a key of the tests")
ISSUER = "https://bridge.test"
OUTCOMES: dict[str, dict[str, Any]] = {
    "progressed": {"completed": False},
    "completed": {},
    "passed": {"success": True, "score": 0.875},
    "failed": {"completed": True, "success": False, "score": 0.1},
}
VERBS = pytest.mark.parametrize("verb", profile.VERBS)
Outcome = Callable[..., tables.Outcome]


def build(launch: tables.Launch, verb: str, outcome: Outcome | None = None, vault: Vault = VAULT) -> bytes:
    made = outcome(launch, verb, **OUTCOMES[verb]) if outcome and verb in OUTCOMES else None
    return orjson.dumps(statements.for_launch(launch, verb, at=AT, issuer=ISSUER, vault=vault, outcome=made))


@VERBS
def test_each_verb_is_stated_as_its_golden_file_says(verb: str, launch: tables.Launch, outcome: Outcome) -> None:
    launch.progress = ["ask", "list"]
    stated = json.loads(build(launch, verb, outcome))
    assert json.dumps(stated, indent=2, ensure_ascii=False) + "\n" == (GOLDEN / f"{verb}.json").read_text()


@VERBS
def test_every_statement_is_valid_and_compact(verb: str, launch: tables.Launch, outcome: Outcome) -> None:
    payload = build(launch, verb, outcome)
    for version in Version:
        validate(loads(payload), version)
    assert payload == json.dumps(json.loads(payload), separators=(",", ":"), ensure_ascii=False).encode()


@VERBS
def test_tincan_reads_back_what_was_stated(verb: str, launch: tables.Launch, outcome: Outcome) -> None:
    stated = json.loads(build(launch, verb, outcome))
    read = tincan.Statement.from_json(json.dumps(stated)).as_version()
    del read["version"]  # tincan adds one
    assert dt.datetime.fromisoformat(read.pop("timestamp")) == dt.datetime.fromisoformat(stated.pop("timestamp"))
    assert read == stated


@VERBS
def test_what_the_lrs_sets_is_left_to_it(verb: str, launch: tables.Launch, outcome: Outcome) -> None:
    assert not {"stored", "authority", "version"} & json.loads(build(launch, verb, outcome)).keys()


def test_a_person_is_an_account_without_a_name_and_a_record_is_a_hash(launch: tables.Launch) -> None:
    payload = build(launch, "launched").decode()
    assert not [word for word in ("Sam", "sam@", "jane.doe", "opportunity/42", "Hooli") if word in payload]


def test_the_hash_of_a_record_is_its_own_and_takes_the_key(launch: tables.Launch) -> None:
    def record(vault: Vault = VAULT) -> str:
        stated = json.loads(build(launch, "launched", vault=vault))
        return str(stated["context"]["extensions"][profile.RECORD])

    first = record()
    assert record() == first
    assert record(Vault("another key")) != first
    launch.prompt.event.subject = "opportunity/43"
    assert record() != first


def test_the_time_is_utc_with_milliseconds(launch: tables.Launch) -> None:
    at = dt.datetime(2026, 3, 4, 7, 6, 7, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    payload = orjson.dumps(statements.for_launch(launch, "launched", at=at, issuer=ISSUER, vault=VAULT))
    assert json.loads(payload)["timestamp"] == "2026-03-04T05:06:07.000Z"


def test_a_launch_is_one_statement_however_often_it_is_stated(launch: tables.Launch) -> None:
    first, again, other = build(launch, "launched"), build(launch, "launched"), build(launch, "completed")
    assert first == again
    assert json.loads(first)["id"] != json.loads(other)["id"]


def test_the_catalogues_own_activity_id_is_taken(launch_of: Callable[..., tables.Launch]) -> None:
    named = launch_of(activity_id="https://lms.test/course/7")
    assert json.loads(build(named, "launched"))["object"]["id"] == "https://lms.test/course/7"


@pytest.mark.parametrize(("language", "tag"), [("de_AT", "de-AT"), ("", "und"), ("no such tag", "und")])
def test_a_title_stands_under_its_language(language: str, tag: str, launch_of: Callable[..., tables.Launch]) -> None:
    stated = json.loads(build(launch_of(language=language), "launched"))
    assert list(stated["object"]["definition"]["name"]) == [tag]
    assert stated["context"].get("language", "und") == tag


def test_every_kind_of_asset_has_a_type(launch_of: Callable[..., tables.Launch]) -> None:
    for kind, iri in profile.ACTIVITY_TYPES.items():
        payload = build(launch_of(kind=kind.value), "launched")
        validate(loads(payload), Version.V1_0_3)
        assert json.loads(payload)["object"]["definition"]["type"] == iri


def test_time_spent_is_stated_only_where_the_bridge_saw_it(
    launch_of: Callable[..., tables.Launch], outcome: Outcome
) -> None:
    seen, unseen = launch_of(), launch_of(opening={"how": "lti"})
    assert json.loads(build(seen, "completed", outcome))["result"]["duration"] == "PT01M30S"
    assert "duration" not in json.loads(build(unseen, "completed", outcome))["result"]


def test_names_of_connections_and_types_make_valid_ids(launch: tables.Launch) -> None:
    launch.prompt.event.connection.name = "Büro / CRM 2"
    launch.prompt.event.type = "created"
    stated = json.loads(build(launch, "launched"))
    validate(stated, Version.V2_0_0)
    grouping = stated["context"]["contextActivities"]["grouping"]
    assert grouping[1]["id"] == f"{ISSUER}/activities/record-types/B%C3%BCro%20%2F%20CRM%202/created"


def test_what_came_of_a_launch_is_never_before_it(launch: tables.Launch, outcome: Outcome) -> None:
    before, after = launch.started_at - dt.timedelta(hours=1), launch.started_at + dt.timedelta(hours=1)
    for at, stated in ((before, "2026-03-04T05:04:37.891Z"), (after, "2026-03-04T06:04:37.890Z")):
        told = outcome(launch, "completed", occurred_at=at)
        made = statements.for_launch(launch, "completed", at=at, issuer=ISSUER, vault=VAULT, outcome=told)
        assert made["timestamp"] == stated


def test_an_outcome_has_the_id_of_its_statement(launch: tables.Launch, outcome: Outcome) -> None:
    assert json.loads(build(launch, "completed", outcome))["id"] == str(
        uuid.UUID("00000005-0000-4000-8000-000000000000")
    )
