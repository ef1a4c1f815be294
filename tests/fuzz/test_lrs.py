"""Whatever is sent to the LRS: never a fault of ours, refusals in words, and what was refused changed nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from hypothesis import given
from hypothesis import strategies as st

from bridge.flows import identity
from bridge.flows.runtime import Runtime
from tests.fuzz.answers import NO_WORDS, check, kept, some
from tests.fuzz.strategies import (
    agents,
    encoded,
    ids,
    iris,
    junk,
    odd_texts,
    spoiled,
    statements,
    texts,
    times,
    torn,
    words,
)

VERSIONS = st.sampled_from(["1.0.3", "2.0.0"])
#: Header values as they can be on the wire.
HEADERS = st.binary(max_size=20).map(lambda value: value.translate(None, b"\r\n\0").strip())
RESOURCES = ("/activities/state", "/activities/profile", "/agents/profile", "/agents", "/activities", "/statements")


class Lrs:
    """The LRS as a program with all rights meets it; every answer is looked at."""

    def __init__(self, server: TestClient, bridge: Runtime) -> None:
        self.server, self.bridge = server, bridge
        key, secret = identity.create_credential(bridge, "fuzz", ["all"])
        self.authorization = b"Basic " + base64.b64encode(f"{key}:{secret}".encode())

    def ask(self, method: str, path: str, query: str = "", body: bytes = b"", **headers: str | bytes) -> Response:
        said = {"Authorization": self.authorization, "X-Experience-API-Version": "1.0.3", **headers}
        before = kept(self.bridge)
        raw = [(name.replace("_", "-").encode(), as_bytes(value)) for name, value in said.items()]
        answer = self.server.request(method, f"/xapi{path}?{query}", content=body, headers=raw)
        refused = answer.status_code >= 400
        check(answer.status_code, answer.json() if refused and method != "HEAD" else NO_WORDS)
        assert kept(self.bridge) == before or not refused
        return answer

    def post(self, body: bytes, kind: str | bytes = "application/json", version: str = "1.0.3") -> Response:
        return self.ask("POST", "/statements", body=body, Content_Type=kind, X_Experience_API_Version=version)


def as_bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1")


def query(parameters: dict[str, Any]) -> str:
    return "&".join(f"{escaped(name)}={escaped(value)}" for name, value in parameters.items())


def escaped(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


@pytest.fixture(scope="module")
def lrs(server: TestClient, bridge: Runtime) -> Lrs:
    return Lrs(server, bridge)


@some
@given(statement=statements, version=VERSIONS)
def test_what_is_valid_is_stored_and_comes_back(lrs: Lrs, statement: dict[str, Any], version: str) -> None:
    statement = {**statement, "id": str(uuid.uuid4())}  # examples can be the same statement twice
    answer = lrs.post(encoded(statement), version=version)
    assert (answer.status_code, answer.json()) == (200, [statement["id"]])
    back = lrs.ask("GET", "/statements", f"statementId={statement['id']}").json()
    assert {name: back[name] for name in statement} == statement
    assert lrs.post(encoded([statement]), version=version).status_code == 200


@some
@given(whole=spoiled(), version=VERSIONS, alone=st.booleans())
def test_a_statement_with_something_wrong(lrs: Lrs, whole: dict[str, Any], version: str, alone: bool) -> None:
    values = list(whole.values())
    lrs.post(encoded(values[0] if alone else values), version=version)


@some
@given(body=torn() | st.binary(max_size=60) | junk.map(encoded))
def test_a_body_that_is_no_statement(lrs: Lrs, body: bytes) -> None:
    lrs.post(body)


PARAMETERS: dict[str, st.SearchStrategy[Any]] = {
    "statementId": ids,
    "voidedStatementId": ids,
    "agent": agents,
    "verb": iris,
    "activity": iris,
    "activityId": iris,
    "registration": ids,
    "stateId": words,
    "profileId": words,
    "since": times,
    "until": times,
    "limit": st.integers(-1, 10**6),
    "ascending": st.booleans(),
    "related_agents": st.booleans(),
    "related_activities": st.booleans(),
    "attachments": st.booleans(),
    "format": st.sampled_from(["ids", "exact", "canonical"]),
    "more": st.binary(max_size=30).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
    | junk.map(lambda value: base64.urlsafe_b64encode(encoded(value)).decode()),
    "method": st.sampled_from(["GET", "PUT", "DELETE", "BREW"]),
}


@st.composite
def queries(draw: st.DrawFn) -> str:
    """Parameters that exist, mostly with values that they can have, now and then with others or of another name."""
    names = draw(st.lists(st.sampled_from(list(PARAMETERS)), max_size=5, unique=True))
    asked = {name: draw(st.one_of(PARAMETERS[name], PARAMETERS[name], texts, junk)) for name in names}
    if draw(st.integers(0, 9)) == 0:
        asked[draw(texts)] = draw(texts)
    return query(asked) + draw(st.sampled_from(["", "", "", "&", "&a=%ff%00", "&agent=%7B", "&since"]))


@some
@given(path=st.sampled_from(RESOURCES), asked=queries(), version=VERSIONS, head=st.booleans())
def test_a_query_of_any_parameters(lrs: Lrs, path: str, asked: str, version: str, head: bool) -> None:
    lrs.ask("HEAD" if head else "GET", path, asked, X_Experience_API_Version=version)


@some
@given(
    path=st.sampled_from((*RESOURCES, "/about", "/nowhere")),
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"]),
    headers=st.dictionaries(
        st.sampled_from(
            [
                "Authorization",
                "X_Experience_API_Version",
                "Content_Type",
                "If_Match",
                "If_None_Match",
                "Accept_Language",
                "Accept",
            ]
        ),
        HEADERS
        | st.sampled_from([b"*", b'"a"', b"Basic ", b"Basic Og==", b"Bearer x", b"text/html", b"multipart/mixed"]),
    ),
)
def test_any_headers(lrs: Lrs, path: str, method: str, headers: dict[str, bytes]) -> None:
    lrs.ask(method, path, body=b"{}", **headers)


CONDITIONS = st.sampled_from([b"*", b'W/"a", "b"', b"application/json", b"application/json; a=\xe9", b"\xff/\x80"])


@st.composite
def changes(draw: st.DrawFn) -> dict[str, Any]:
    """A change of a document: method, body and headers."""
    body = junk.map(encoded) | st.binary(max_size=30) | st.dictionaries(texts, junk, max_size=3).map(encoded)
    names = st.sampled_from(["If_Match", "If_None_Match", "Content_Type"])
    headers = draw(st.dictionaries(names, CONDITIONS | HEADERS, max_size=2))
    return {"method": draw(st.sampled_from(["PUT", "POST", "DELETE"])), "body": draw(body), **headers}


@some
@given(
    path=st.sampled_from(RESOURCES[:3]), name=st.sampled_from(["a", "b"]) | texts, change=changes(), version=VERSIONS
)
def test_a_document_of_any_content(lrs: Lrs, path: str, name: str, change: dict[str, Any], version: str) -> None:
    belongs_to = {"activityId": "http://x.test/a"} if "activities" in path else {}
    if path != "/activities/profile":
        belongs_to["agent"] = '{"mbox": "mailto:a@x.test"}'
    asked = query({**belongs_to, "stateId" if path == "/activities/state" else "profileId": name})
    stored = lrs.ask(path=path, query=asked, X_Experience_API_Version=version, **change)
    back = lrs.ask("GET", path, asked, X_Experience_API_Version=version)
    if stored.status_code == 204 and change["method"] == "PUT":
        assert (back.status_code, back.content) == (200, change["body"])
    lrs.ask("GET", path, query(belongs_to), X_Experience_API_Version=version)


@st.composite
def multiparts(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A Content-Type and a body of parts, which hold together more or less."""
    boundary = draw(st.sampled_from([b"abc", b"a b", b"=_'()", b"", b"x" * 80]))
    content = draw(st.binary(max_size=20))
    sha2 = hashlib.sha256(content).hexdigest() if draw(st.booleans()) else draw(st.sampled_from(["", "0" * 64, "é"]))
    usage = draw(st.sampled_from(["http://adlnet.gov/expapi/attachments/signature", "http://x.test/u"]))
    attachment = {"usageType": usage, "display": {"en": "x"}, "contentType": "application/octet-stream"}
    statement = {**draw(statements), "id": str(uuid.uuid4())}
    statement["attachments"] = [
        {**attachment, "length": draw(st.sampled_from([len(content), 0, 10**30])), "sha2": sha2}
    ]
    first = draw(st.sampled_from([encoded(statement), encoded([statement]), b"", b"\xff"]))
    lines = [b"Content-Type: application/json", b"Content-Type: text/plain", b"X", b"", b"\xff: \x00", b"a: b\r\n c: d"]
    headers = [b"Content-Transfer-Encoding: binary", b"X-Experience-API-Hash: " + sha2.encode()]
    parts = [(draw(st.lists(st.sampled_from(lines), max_size=2)), first)]
    parts += [(draw(st.permutations([*headers, draw(st.sampled_from(lines))])), content)] * draw(st.integers(0, 3))
    pieces = [
        b"--" + boundary + b"\r\n" + b"".join(line + b"\r\n" for line in head) + b"\r\n" + of for head, of in parts
    ]
    end = draw(st.sampled_from([b"\r\n--" + boundary + b"--\r\n", b"\r\n--" + boundary, b""]))
    quoted = draw(st.sampled_from([b'"' + boundary + b'"', boundary, boundary + b"; charset=x"]))
    return b"multipart/mixed; boundary=" + quoted, b"\r\n".join(pieces) + end


@some
@given(sent=multiparts(), version=VERSIONS)
def test_parts_that_do_not_hold_together(lrs: Lrs, sent: tuple[bytes, bytes], version: str) -> None:
    kind, body = sent
    lrs.post(body, kind, version)


@some
@given(
    path=st.sampled_from(RESOURCES),
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD", ""]),
    fields=st.dictionaries(
        st.sampled_from(
            [*PARAMETERS, "content", "Authorization", "Content-Type", "If-Match", "X-Experience-API-Version"]
        ),
        st.one_of(words, odd_texts, agents, iris, statements),
        max_size=5,
    ),
    tail=st.sampled_from(["", "&%ff=%ff", "&" * 2000, "&content=%00%ff"]),
)
def test_a_form_in_place_of_a_request(lrs: Lrs, path: str, method: str, fields: dict[str, Any], tail: str) -> None:
    form = (query(fields) + tail).encode()
    lrs.ask("POST", path, f"method={method}", form, Content_Type="application/x-www-form-urlencoded")
