"""The document resources over HTTP: State, Activity Profile and Agent Profile."""

from __future__ import annotations

import gzip
import hashlib
import threading
import time
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from bridge.flows.runtime import Runtime
from tests.xapi.program import ANN, COURSE, Program, words

STATE, ACTIVITY, AGENT = "/activities/state", "/activities/profile", "/agents/profile"
REGISTRATION = "0000000a-0000-4000-8000-000000000000"
#: Of each resource: what a request names beside the document's id, and the name of that id.
PLACES: dict[str, tuple[dict[str, Any], str]] = {
    STATE: ({"activityId": COURSE, "agent": ANN}, "stateId"),
    ACTIVITY: ({"activityId": COURSE}, "profileId"),
    AGENT: ({"agent": ANN}, "profileId"),
}
VERSIONS = ("1.0.3", "2.0.0")


class Documents:
    """The documents of one place at one resource, as a program handles them."""

    def __init__(self, program: Program, resource: str, **place: Any) -> None:
        self.program, self.resource = program, resource
        known, self.name = PLACES[resource]
        self.place = {**known, **place}

    def send(self, method: str, document: str | None, body: Any = None, /, **headers: str) -> Response:
        named = self.place if document is None else {**self.place, self.name: document}
        return self.program.send(method, self.resource, named, body, **headers)

    def get(self, document: str, **headers: str) -> Response:
        return self.send("GET", document, **headers)

    def new(self, document: str, body: Any, **headers: str) -> None:
        answer = self.send("PUT", document, body, If_None_Match="*", **headers)
        assert (answer.status_code, answer.content) == (204, b""), answer.text

    def ids(self, **more: str) -> list[str]:
        answer = self.program.send("GET", self.resource, {**self.place, **more})
        assert answer.status_code == 200, answer.text
        listed: list[str] = answer.json()
        return listed


@pytest.fixture(params=PLACES)
def any_of(request: pytest.FixtureRequest, server: TestClient, bridge: Runtime) -> Documents:
    """Each of the three resources in turn."""
    return Documents(Program(server, bridge), request.param)


@pytest.fixture
def simple(runtime: Runtime, client: TestClient) -> Program:
    """A program whose test depends on no SQL of its own: one database is enough."""
    return Program(client, runtime)


def test_any_bytes_come_back_as_they_went_in(any_of: Documents) -> None:
    body = bytes(range(256)) + b" [1.50, 1e2]\n"
    for kind in ("application/json", "image/png", 'text/plain; charset="latin-1"', "x-odd/thing"):
        name = f"résumé / {kind}"
        any_of.new(name, body, Content_Type=kind)
        found = any_of.get(name)
        assert (found.status_code, found.content, found.headers["Content-Type"]) == (200, body, kind)
        assert found.headers["ETag"] == f'"{hashlib.sha1(body, usedforsecurity=False).hexdigest()}"'
        assert abs(parsedate_to_datetime(found.headers["Last-Modified"]).timestamp() - time.time()) < 60
        head = any_of.send("HEAD", name)
        assert (head.status_code, head.content, head.headers["ETag"]) == (200, b"", found.headers["ETag"])
        assert head.headers["Content-Length"] == str(len(body))


def test_bytes_without_a_content_type_are_just_bytes(any_of: Documents) -> None:
    any_of.new("a", b"\x00\x01")
    assert any_of.get("a").headers["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize("kind", ["text/plain; name=\xe9", "text/plain\x7f"])
def test_a_content_type_that_no_header_may_hold_is_refused(simple: Program, kind: str) -> None:
    sent = {**simple.headers, "If-None-Match": "*", "Content-Type": kind.encode("latin-1")}
    named = {"activityId": COURSE, "profileId": "a"}
    answer = simple.client.put(f"/xapi{ACTIVITY}", params=named, content=b"x", headers=sent)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "Content-Type")


def test_a_body_that_is_packed_is_refused(any_of: Documents) -> None:
    """Else the document would come back as bytes that nobody knows to be packed."""
    packed = gzip.compress(b"{}")
    answer = any_of.send("PUT", "a", packed, If_None_Match="*", Content_Encoding="gzip")
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "Content-Encoding")
    any_of.new("a", {}, Content_Encoding="identity")


def test_a_browser_runs_nothing_that_a_document_holds(any_of: Documents) -> None:
    any_of.new("a", b"<script>alert(1)</script>", Content_Type="text/html")
    found = any_of.get("a")
    assert "sandbox" in found.headers["Content-Security-Policy"]
    assert found.headers["X-Content-Type-Options"] == "nosniff"


def test_what_is_not_there_is_not_found_and_deleted_already(any_of: Documents) -> None:
    assert (any_of.get("a").status_code, any_of.ids()) == (404, [])
    assert any_of.send("DELETE", "a").status_code == 204
    any_of.new("a", {"x": 1})
    assert any_of.send("DELETE", "a").status_code == 204
    assert (any_of.get("a").status_code, any_of.ids()) == (404, [])


def test_post_merges_top_level_properties_only(any_of: Documents) -> None:
    assert any_of.send("POST", "a", {"kept": 1, "deep": {"lost": 1}, "ü": "ä"}).status_code == 204
    assert any_of.send("POST", "a", {"deep": {"new": [1]}, "more": None}).status_code == 204
    assert any_of.get("a").json() == {"kept": 1, "deep": {"new": [1]}, "more": None, "ü": "ä"}


def test_post_keeps_numbers_as_they_were_written(any_of: Documents) -> None:
    any_of.new("a", b'{"n": [1.50, 12345678901234567890123, 0.1234567890123456789]}', Content_Type="application/json")
    assert any_of.send("POST", "a", b'{"m": 1E400}', Content_Type="application/json").status_code == 400
    assert any_of.send("POST", "a", b'{"m": 2.0}', Content_Type="application/json").status_code == 204
    merged = any_of.get("a").text
    assert "[1.50, 12345678901234567890123, 0.1234567890123456789]" in merged
    assert "2.0" in merged


@pytest.mark.parametrize(
    ("there", "there_as", "sent", "sent_as"),
    [
        (b"{}", "application/json", b"{}", "text/plain"),
        (b"{}", "text/plain", b"{}", "application/json"),
        (b"{}", "application/json", b"[1]", "application/json"),
        (b"[1]", "application/json", b"{}", "application/json"),
        (b"{}", "application/json", b'{"a": 1,}', "application/json"),
        (b"{}", "application/json", b'{"a": 1, "a": 2}', "application/json"),
        (b"\xff", "application/json", b"{}", "application/json; charset=utf-8"),
    ],
)
def test_what_can_not_be_merged_is_refused_and_changes_nothing(
    simple: Program, there: bytes, there_as: str, sent: bytes, sent_as: str
) -> None:
    state = Documents(simple, STATE)
    state.new("a", there, Content_Type=there_as)
    answer = state.send("POST", "a", sent, Content_Type=sent_as)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid"), answer.text
    assert "JSON" in words(answer)
    assert (state.get("a").content, state.get("a").headers["Content-Type"]) == (there, there_as)


def test_post_stores_what_is_new_whatever_it_is(any_of: Documents) -> None:
    assert any_of.send("POST", "a", b"words", Content_Type="text/plain").status_code == 204
    assert any_of.get("a").content == b"words"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_condition_that_does_not_hold_changes_nothing(any_of: Documents, version: str) -> None:
    any_of.program.headers["X-Experience-API-Version"] = version
    for document, method in enumerate(("PUT", "POST", "DELETE")):
        name = str(document)
        missing = any_of.send(method, name, {"x": 2}, If_Match="*")
        any_of.new(name, {"x": 1})
        stale = any_of.send(method, name, {"x": 2}, If_Match='"1234", W/"5678"')
        taken = any_of.send(method, name, {"x": 2}, If_None_Match="*")
        same = any_of.send(method, name, {"x": 2}, If_None_Match=any_of.get(name).headers["ETag"])
        for refused in (missing, stale, taken, same):
            assert (refused.status_code, refused.json()["error"]["code"]) == (412, "precondition_failed")
        assert any_of.get(name).headers["ETag"] in words(stale)
        assert any_of.get(name).json() == {"x": 1}


def test_the_right_etag_lets_a_change_through(any_of: Documents) -> None:
    for form in ("{}", "W/{}", '"0000", {}'):
        any_of.new("a", {"x": 1})
        for method, body in (("PUT", {"x": 2}), ("POST", {"y": 3}), ("DELETE", None)):
            tag = form.format(any_of.get("a").headers["ETag"])
            assert any_of.send(method, "a", body, If_Match=tag).status_code == 204
        assert any_of.get("a").status_code == 404


@pytest.mark.parametrize("condition", ["", "abc", '"abc', "* , *", '"a" "b"'])
def test_a_condition_that_is_no_etag_is_refused(simple: Program, condition: str) -> None:
    answer = Documents(simple, STATE).send("PUT", "a", {"x": 1}, If_Match=condition)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "If-Match")


@pytest.mark.parametrize(
    ("version", "resource", "new", "again"),
    [
        ("1.0.3", STATE, 204, 204),
        ("1.0.3", ACTIVITY, 400, 409),
        ("1.0.3", AGENT, 400, 409),
        ("2.0.0", STATE, 204, 409),
        ("2.0.0", ACTIVITY, 204, 409),
        ("2.0.0", AGENT, 204, 409),
    ],
)
def test_a_put_without_a_condition(simple: Program, version: str, resource: str, new: int, again: int) -> None:
    simple.headers["X-Experience-API-Version"] = version
    documents = Documents(simple, resource)
    assert documents.send("PUT", "a", {"x": 1}).status_code == new
    if new != 204:
        documents.new("a", {"x": 1})
    answer = documents.send("PUT", "a", {"x": 2})
    assert answer.status_code == again, answer.text
    assert documents.get("a").json() == ({"x": 2} if again == 204 else {"x": 1})
    if again == 409:
        assert answer.json()["error"]["code"] == "conflict"
        assert "If-Match" in words(answer)


def test_a_list_names_what_changed_since(any_of: Documents) -> None:
    for name in ("a", "b"):
        any_of.new(name, {"x": name})
    assert sorted(any_of.ids()) == ["a", "b"]
    newest = parsedate_to_datetime(any_of.get("b").headers["Last-Modified"])
    listed = any_of.program.send("GET", any_of.resource, any_of.place)
    assert parsedate_to_datetime(listed.headers["Last-Modified"]) == newest
    assert sorted(any_of.ids(since="2020-01-01T00:00:00+01:00")) == ["a", "b"]
    assert any_of.ids(since="2999-01-01T00:00:00Z") == []


def test_an_agent_is_its_identifier_however_it_is_written(server: TestClient, bridge: Runtime) -> None:
    state = Documents(Program(server, bridge), STATE)
    state.new("a", {"x": 1})
    for same in (
        {"objectType": "Agent", "mbox": "mailto:ann@EXAMPLE.com", "name": "Ann"},
        {"objectType": "Group", "mbox": "mailto:ann@example.com", "member": [{"mbox": "mailto:bob@example.com"}]},
    ):
        assert Documents(state.program, STATE, agent=same).get("a").json() == {"x": 1}
    other = {"mbox": "mailto:Ann@example.com"}
    assert Documents(state.program, STATE, agent=other).get("a").status_code == 404


def test_long_names_are_told_apart(any_of: Documents) -> None:
    long = "ü" * 900
    any_of.new(f"{long}1", {"x": 1})
    any_of.new(f"{long}2", {"x": 2})
    assert (any_of.get(f"{long}1").json(), any_of.ids()) == ({"x": 1}, [f"{long}1", f"{long}2"])


def test_state_belongs_to_a_registration_or_to_none(server: TestClient, bridge: Runtime) -> None:
    program = Program(server, bridge)
    without, within = Documents(program, STATE), Documents(program, STATE, registration=REGISTRATION)
    without.new("a", {"x": 1})
    within.new("a", {"x": 2})
    within.new("b", {"x": 3})
    upper = Documents(program, STATE, registration=REGISTRATION.upper())
    assert (without.get("a").json(), upper.get("a").json()) == ({"x": 1}, {"x": 2})
    assert (without.get("b").status_code, within.ids(), without.ids()) == (404, ["a", "b"], ["a", "b"])
    assert within.send("DELETE", None).status_code == 204
    assert (within.ids(), without.ids()) == ([], ["a"])


def test_all_state_of_a_place_is_deleted_at_once(server: TestClient, bridge: Runtime) -> None:
    program = Program(server, bridge)
    here, elsewhere = Documents(program, STATE), Documents(program, STATE, activityId="https://lms.test/course/2")
    for documents in (here, elsewhere, Documents(program, STATE, registration=REGISTRATION)):
        documents.new("a", {"x": 1})
    refused = here.send("DELETE", None, If_Match="*")
    assert (refused.status_code, here.ids()) == (400, ["a"])
    assert here.send("DELETE", None).status_code == 204
    assert (here.ids(), elsewhere.ids()) == ([], ["a"])


@pytest.mark.parametrize("resource", [ACTIVITY, AGENT])
def test_profiles_are_deleted_one_by_one(simple: Program, resource: str) -> None:
    documents = Documents(simple, resource)
    documents.new("a", {"x": 1})
    assert documents.send("DELETE", None).status_code == 400
    assert documents.ids() == ["a"]


@pytest.mark.parametrize(
    ("method", "resource", "change", "field"),
    [
        *((method, STATE, {"activityId": None}, "activityId") for method in ("GET", "PUT", "POST", "DELETE")),
        *((method, AGENT, {"agent": None}, "agent") for method in ("GET", "PUT", "POST", "DELETE")),
        *((method, STATE, {"stateId": None}, "stateId") for method in ("PUT", "POST")),
        ("GET", STATE, {"stateId": ""}, "stateId"),
        ("DELETE", STATE, {"stateId": ""}, "stateId"),
        ("PUT", STATE, {"stateId": "a\0b"}, "stateId"),
        ("GET", STATE, {"activityId": "no IRI"}, "activityId"),
        ("GET", STATE, {"agent": "no JSON"}, "agent"),
        ("GET", STATE, {"agent": {"mbox": "ann@example.com"}}, "agent.mbox"),
        ("GET", STATE, {"agent": {"objectType": "Group", "member": [ANN]}}, "agent"),
        ("GET", STATE, {"agent": [ANN]}, "agent"),
        ("GET", STATE, {"registration": "not-a-uuid"}, "registration"),
        ("GET", STATE, {"stateid": "a"}, "stateid"),
        ("GET", STATE, {"since": "2026-01-01T00:00:00Z"}, "since"),
        ("GET", STATE, {"stateId": None, "since": "yesterday"}, "since"),
        ("GET", STATE, {"stateId": None, "since": "0001-01-01T00:00:00+14:00"}, "since"),
        ("PUT", STATE, {"since": "2026-01-01T00:00:00Z"}, "since"),
        ("GET", ACTIVITY, {"agent": ANN}, "agent"),
        ("GET", ACTIVITY, {"registration": REGISTRATION}, "registration"),
        ("GET", AGENT, {"activityId": COURSE}, "activityId"),
    ],
)
def test_parameters_are_read_strictly(
    simple: Program, method: str, resource: str, change: dict[str, Any], field: str
) -> None:
    place, name = PLACES[resource]
    asked = {name: value for name, value in {**place, name: "a", **change}.items() if value is not None}
    body = {"x": 1} if method in ("PUT", "POST") else None
    answer = simple.send(method, resource, asked, body, **({"If_None_Match": "*"} if body else {}))
    assert (answer.status_code, answer.json()["error"].get("field")) == (400, field), answer.text
    assert "xAPI-" in words(answer)
    assert Documents(simple, resource).ids() == []


@pytest.mark.parametrize(
    ("scope", "reads", "writes"),
    [
        ("state", {STATE}, {STATE}),
        ("profile", {ACTIVITY, AGENT}, {ACTIVITY, AGENT}),
        ("all/read", set(PLACES), set()),
        ("all", set(PLACES), set(PLACES)),
        ("statements/read", set(), set()),
        ("statements/write", set(), set()),
    ],
)
def test_a_scope_opens_only_its_own_documents(
    runtime: Runtime, client: TestClient, scope: str, reads: set[str], writes: set[str]
) -> None:
    program = Program(client, runtime, scope)
    for resource in PLACES:
        documents = Documents(program, resource)
        for method in ("PUT", "POST", "DELETE"):
            answer = documents.send(method, "a", {"x": 1}, **({"If_None_Match": "*"} if method == "PUT" else {}))
            assert answer.status_code == (204 if resource in writes else 403)
        assert documents.send("GET", None).status_code == (200 if resource in reads else 403)


def test_of_many_first_writers_at_once_one_wins(any_of: Documents) -> None:
    answers = _at_once([{"If_None_Match": "*"}] * 8, any_of)
    assert sorted(answers.values()) == [204, *[412] * 7]
    [winner] = [place for place, status in answers.items() if status == 204]
    assert any_of.get("a").json() == {"writer": winner}


def test_of_many_that_change_the_same_content_one_wins(any_of: Documents) -> None:
    any_of.new("a", {"writer": None})
    answers = _at_once([{"If_Match": any_of.get("a").headers["ETag"]}] * 8, any_of)
    assert sorted(answers.values()) == [204, *[412] * 7]
    [winner] = [place for place, status in answers.items() if status == 204]
    assert any_of.get("a").json() == {"writer": winner}


def test_of_many_blind_writers_in_2_0_one_wins(any_of: Documents) -> None:
    any_of.program.headers["X-Experience-API-Version"] = "2.0.0"
    answers = _at_once([{}] * 8, any_of)
    assert sorted(answers.values()) == [204, *[409] * 7]


def test_merges_at_the_same_time_are_all_kept(any_of: Documents) -> None:
    answers = _at_once([{}] * 8, any_of, method="POST", of=lambda place: {str(place): place})
    assert set(answers.values()) == {204}
    assert any_of.get("a").json() == {str(place): place for place in range(8)}


def _at_once(
    headers: list[dict[str, str]],
    documents: Documents,
    method: str = "PUT",
    of: Any = lambda place: {"writer": place},
) -> dict[int, int]:
    """The status that each of several writers of one document got, who began together."""
    gate, answers = threading.Barrier(len(headers)), {}

    def write(place: int, said: dict[str, str]) -> None:
        gate.wait(30)
        answers[place] = documents.send(method, "a", of(place), **said).status_code

    threads = [threading.Thread(target=write, args=pair) for pair in enumerate(headers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers
