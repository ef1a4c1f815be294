"""The published profile: is it one, by the specification, for JSON-LD processors, and is it up to date?"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft7Validator, Draft202012Validator
from pyld import jsonld

from bridge.xapi import profile
from bridge.xapi.profile.document import as_jsonld

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "docs" / "xapi-profile.jsonld"
PAGE = ROOT / "docs" / "xapi-profile.md"
GIVEN = Path(__file__).parent / "published"
#: The part of the specification's context that the profile uses, under its address.
CONTEXT = json.loads((GIVEN / "context.jsonld").read_text())
CONTEXT_URL = "https://w3id.org/xapi/profiles/context"
STRUCTURE = Draft202012Validator(
    json.loads((GIVEN / "profile.schema.json").read_text()), format_checker=Draft202012Validator.FORMAT_CHECKER
)
DOCUMENT = as_jsonld()


def test_the_published_document_is_not_stale() -> None:
    made = json.dumps(DOCUMENT, indent=2, ensure_ascii=False) + "\n"
    assert PUBLISHED.read_text(encoding="utf-8") == made, "run `make docs`"


def test_a_running_bridge_shows_it_to_any_page(client: TestClient) -> None:
    answer = client.get("/profiles/flowbridge")
    assert answer.headers["content-type"] == "application/ld+json"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.json() == DOCUMENT


# Structure (part two)


def test_the_structure_is_that_of_the_specification() -> None:
    Draft202012Validator.check_schema(STRUCTURE.schema)
    assert [f"{fault.json_path}: {fault.message}" for fault in STRUCTURE.iter_errors(DOCUMENT)] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("prefLabel", {}),
        ("prefLabel", {"en": ""}),
        ("@context", ["https://example.com/context"]),
        ("versions.0.generatedAtTime", "22 November 2026"),
        ("author.type", "Company"),
        ("concepts.0.definition", None),
        ("concepts.0.type", "Concept"),
        ("concepts.5.schema", "https://example.com/schema"),
        ("concepts.0.recommendedVerbs", ["https://example.com/verb"]),
        ("templates.0.rules.0", {"location": "$.id"}),
        ("templates.0.rules.0.presence", "needed"),
        ("templates.0.rules.0.location", "$.context[?(@.id)]"),
        ("templates.0.rules", []),
        ("templates.5.objectActivityType", "https://example.com/type"),
        ("patterns.0.oneOrMore", "https://example.com/template"),
        ("patterns.0.definition", None),
        ("patterns.2.alternates", ["https://example.com/template"]),
    ],
)
def test_the_schema_of_the_structure_finds_what_is_wrong(path: str, value: Any) -> None:
    document: Any = copy.deepcopy(DOCUMENT)
    at, *steps = document, *path.split(".")
    for step in steps[:-1]:
        at = at[int(step) if step.isdecimal() else step]
    last = int(steps[-1]) if steps[-1].isdecimal() else steps[-1]
    if value is None:
        del at[last]
    else:
        at[last] = value
    assert not STRUCTURE.is_valid(document)


def _of(kind: str) -> Iterator[dict[str, Any]]:
    return iter(DOCUMENT.get(kind, []))


def test_every_part_has_an_id_of_its_own_and_is_of_this_version() -> None:
    parts = [*_of("concepts"), *_of("templates"), *_of("patterns")]
    ids = [DOCUMENT["id"], *(version["id"] for version in DOCUMENT["versions"]), *(part["id"] for part in parts)]
    assert len(ids) == len(set(ids))
    assert {part["inScheme"] for part in parts} == {DOCUMENT["versions"][0]["id"]} == {profile.VERSION}


def test_templates_and_patterns_name_only_what_is_there() -> None:
    templates = {template["id"] for template in _of("templates")}
    patterns = {pattern["id"]: pattern for pattern in _of("patterns")}
    referred = {iri for template in _of("templates") for iri in template.get("objectStatementRefTemplate", ())}
    assert referred <= templates
    used: set[str] = set()
    for pattern in patterns.values():
        members = [
            *pattern.get("sequence", ()),
            *pattern.get("alternates", ()),
            *filter(None, [pattern.get("zeroOrMore")]),
        ]
        used |= set(members)
        assert set(members) <= templates | patterns.keys() - {pattern["id"]}
        loose = [
            iri for iri in pattern.get("alternates", ()) if {"optional", "zeroOrMore"} & patterns.get(iri, {}).keys()
        ]
        assert not loose, "neither may stand directly inside alternates (9.0)"
    assert templates <= used


def test_the_schemas_of_extensions_are_of_draft_7() -> None:
    for concept in _of("concepts"):
        if "inlineSchema" in concept:
            schema = json.loads(concept["inlineSchema"])
            assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
            Draft7Validator.check_schema(schema)


# JSON-LD (part two, 2.0 and 4.0)


def _load(url: str, _options: object) -> dict[str, Any]:
    assert url == CONTEXT_URL, f"{url} is nothing that a test may fetch"
    return {"contentType": "application/ld+json", "contextUrl": None, "documentUrl": url, "document": CONTEXT}


def test_a_processor_reads_every_property_and_writes_the_same_document_back() -> None:
    expanded = jsonld.expand(DOCUMENT, {"documentLoader": _load})
    keys = {key for key in _keys(expanded) if not key.startswith("@")}
    assert keys and not [key for key in keys if not key.startswith(("http://", "https://"))]
    compacted = jsonld.compact(expanded, DOCUMENT["@context"], {"documentLoader": _load})
    assert _plain(compacted) == _plain(DOCUMENT)


def test_a_processor_makes_triples_of_it() -> None:
    quads = jsonld.to_rdf(DOCUMENT, {"documentLoader": _load, "format": "application/n-quads"})
    label = f'<{profile.JOB_AID}> <http://www.w3.org/2004/02/skos/core#prefLabel> "job aid"@en .'
    assert label in quads
    assert f"<{profile.JOB_AID}> <http://www.w3.org/2004/02/skos/core#inScheme> <{profile.VERSION}> ." in quads
    assert '<http://www.w3.org/2004/02/skos/core#scopeNote> "The id of the launch."@en' in quads


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _keys(part)


def _plain(value: Any) -> Any:
    """What a document says, whatever the order of what has none."""
    if isinstance(value, dict):
        return {key: part if key in ("@context", "sequence") else _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return sorted((_plain(part) for part in value), key=lambda part: json.dumps(part, sort_keys=True))
    return value


# The page


def test_the_page_tells_every_part_and_no_other() -> None:
    page = PAGE.read_text(encoding="utf-8")
    parts = [*_of("concepts"), *_of("templates"), *_of("patterns")]
    told = {cell.split("`")[1] for line in page.splitlines() if line.startswith("| `http") for cell in [line]}
    assert told == {profile.PROFILE, profile.VERSION, *(part["id"] for part in parts)}
