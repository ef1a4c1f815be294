"""Attachments and signatures: requests and answers of several parts."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from base64 import b64encode
from email.parser import BytesParser
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from fastapi.testclient import TestClient
from httpx2 import Response

from bridge.flows.runtime import Runtime
from tests.xapi.program import Program, statement

CONTENT = b"\x00\r\n--not the boundary\r\n\xff\n"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def attachment(content: bytes, **parts: Any) -> dict[str, Any]:
    whole = {
        "usageType": "https://x.test/certificate",
        "display": {"en": "Certificate"},
        "contentType": "application/pdf",
        "length": len(content),
        "sha2": hashlib.sha256(content).hexdigest(),
    }
    return {**whole, **parts}


def send(
    program: Program, sent: Any, *contents: bytes, part: dict[str, str] | None = None, end: str = "--"
) -> Response:
    head = {"Content-Type": "application/pdf", "Content-Transfer-Encoding": "binary", **(part or {})}
    pieces = [b"--edge\r\nContent-Type: application/json\r\n\r\n" + json.dumps(sent).encode()]
    for content in contents:
        told = {"X-Experience-API-Hash": hashlib.sha256(content).hexdigest(), **head}
        lines = "".join(f"{name}: {value}\r\n" for name, value in told.items() if value)
        pieces.append(b"\r\n--edge\r\n" + lines.encode() + b"\r\n" + content)
    body = b"".join([*pieces, f"\r\n--edge{end}\r\n".encode()])
    return program.send("POST", "/statements", body=body, Content_Type='multipart/mixed; boundary="edge"')


def test_what_is_attached_comes_back_byte_for_byte(server: TestClient, bridge: Runtime) -> None:
    program = Program(server, bridge)
    first, second = statement(attachments=[attachment(CONTENT)]), statement(attachments=[attachment(CONTENT)])
    assert send(program, [first, second], CONTENT).status_code == 200
    for asked in ({"attachments": True}, {"attachments": True, "statementId": first["id"]}):
        answer = program.send("GET", "/statements", asked)
        head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
        told, attached = BytesParser().parsebytes(head + answer.content).get_payload()
        assert (told.get_content_type(), first["id"] in told.get_payload()) == ("application/json", True)
        assert attached["X-Experience-API-Hash"] == hashlib.sha256(CONTENT).hexdigest()
        assert (attached.get_content_type(), attached["Content-Transfer-Encoding"]) == ("application/pdf", "binary")
        assert b"\r\n\r\n" + CONTENT + b"\r\n--" in answer.content
    assert program.send("GET", "/statements").headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("part", "end", "field"),
    [
        ({"Content-Transfer-Encoding": "base64"}, "--", "parts[1].Content-Transfer-Encoding"),
        ({"X-Experience-API-Hash": "0f" * 32}, "--", "parts[1].X-Experience-API-Hash"),
        ({"X-Experience-API-Hash": ""}, "--", "parts[1].X-Experience-API-Hash"),
        ({}, "", None),
    ],
)
def test_a_part_that_is_wrong_is_named(
    part: dict[str, str], end: str, field: str | None, runtime: Runtime, client: TestClient
) -> None:
    program = Program(client, runtime)
    answer = send(program, [statement(attachments=[attachment(CONTENT)])], CONTENT, part=part, end=end)
    assert (answer.status_code, answer.json()["error"].get("field")) == (400, field)
    assert program.send("GET", "/statements").json()["statements"] == []


def test_every_part_belongs_to_a_statement_and_every_attachment_is_there(runtime: Runtime, client: TestClient) -> None:
    program = Program(client, runtime)
    stray = send(program, [statement()], CONTENT)
    assert (stray.status_code, stray.json()["error"]["field"]) == (400, "parts[1]")
    missing = send(program, [statement(attachments=[attachment(b"a"), attachment(b"b")])], b"a")
    assert (missing.status_code, missing.json()["error"]["field"]) == (400, "[0].attachments[1].fileUrl")


def certificate() -> str:
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sender")]), dt.datetime.now(dt.UTC)
    made = x509.CertificateBuilder(name, name, KEY.public_key(), 1, now, now + dt.timedelta(days=1))
    return b64encode(made.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)).decode()


def signed(of: dict[str, Any], *, algorithm: str = "RS256", key: Any = KEY, headers: Any = None) -> bytes:
    token = jwt.PyJWS().encode(json.dumps(of).encode(), key, algorithm=algorithm, headers=headers)
    return token.encode()


def send_signed(
    program: Program, sent: dict[str, Any], signature: bytes, kind: str = "application/octet-stream"
) -> int:
    usage = "http://adlnet.gov/expapi/attachments/signature"
    described = attachment(signature, usageType=usage, contentType=kind)
    return send(program, {**sent, "attachments": [described]}, signature, part={"Content-Type": kind}).status_code


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512"])
def test_a_signed_statement_is_taken(algorithm: str, runtime: Runtime, client: TestClient) -> None:
    program, sent, bare = Program(client, runtime), statement(), statement()
    assert send_signed(program, sent, signed(sent, algorithm=algorithm, headers={"x5c": [certificate()]})) == 200
    assert send_signed(program, bare, signed(bare, algorithm=algorithm)) == 200


def test_a_signature_that_is_none_of_this_statement_is_refused(runtime: Runtime, client: TestClient) -> None:
    program, sent = Program(client, runtime), statement()
    other = {**sent, "object": {"id": "https://lms.test/other"}}
    wrong = [
        b"no JWS",
        signed(other),
        signed({"actor": 1, "verb": 2, "object": 3}),
        signed(sent, algorithm="HS256", key="s" * 32),
        signed(sent, key=OTHER_KEY, headers={"x5c": [certificate()]}),
        signed(sent, headers={"x5c": ["AAAA"]}),
        signed(sent, headers={"x5c": []}),
    ]
    assert [send_signed(program, sent, signature) for signature in wrong] == [400] * len(wrong)
    assert send_signed(program, sent, signed(sent), kind="application/jose") == 400
    assert program.send("GET", "/statements").json()["statements"] == []


@pytest.mark.parametrize("boundary", ["boundary*=undefined''x", "boundary*=raw_unicode_escape''%5Cud800", "boundary="])
def test_a_boundary_that_can_not_be_read_is_refused(runtime: Runtime, client: TestClient, boundary: str) -> None:
    answer = Program(client, runtime).send("POST", "/statements", body=b"", Content_Type=f"multipart/mixed; {boundary}")
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "Content-Type")


def test_more_statements_than_are_taken_at_once_are_refused(runtime: Runtime, client: TestClient) -> None:
    answer = Program(client, runtime).send("POST", "/statements", body=[{}] * 10_001)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_many")
    assert "at most 10000" in answer.json()["error"]["message"]


def test_what_takes_long_to_take_apart_is_refused(runtime: Runtime, client: TestClient) -> None:
    program = Program(client, runtime)
    head = b"--x\r\nContent-Type: application/json\r\n"
    long = [
        (head + b"A: b\r\n" * 1_000 + b"\r\n{}\r\n--x--", "multipart/mixed; boundary=x", "parts[0]"),
        (head + b"\r\n{}" + b"\r\n--x\r\n\r\n" * 20_000 + b"\r\n--x--", "multipart/mixed; boundary=x", None),
        (b"", f'multipart/mixed; a="{";" * 1_000}"; boundary=x', "Content-Type"),
    ]
    for body, kind, field in long:
        answer = program.send("POST", "/statements", body=body, Content_Type=kind)
        assert (answer.status_code, answer.json()["error"].get("field")) == (400, field), answer.text
        assert "at most" in answer.json()["error"]["message"]
