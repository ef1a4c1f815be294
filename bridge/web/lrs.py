"""The built-in LRS over HTTP, at /xapi: statements and about, for xAPI 1.0.3 and 2.0."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import email.utils
import json
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from bridge.flows import identity, receive_statements
from bridge.flows.errors import FlowError, Invalid, NotFound, Refused
from bridge.flows.identity import Caller
from bridge.flows.runtime import Runtime
from bridge.xapi import lrs
from bridge.xapi.validation import InvalidStatement, Version

router = APIRouter(prefix="/xapi", tags=["xapi"])


class _Unauthorized(FlowError):
    """No credential, or not a right one."""

    code = "unauthorized"


_STATUS: Mapping[type[FlowError], int] = {
    Invalid: 400,
    _Unauthorized: 401,
    Refused: 403,
    NotFound: 404,
    receive_statements.Conflict: 409,
}


@dataclasses.dataclass(frozen=True, slots=True)
class _Call:
    """A request by a known program in a known version."""

    runtime: Runtime
    caller: Caller
    version: Version
    parameters: Mapping[str, str]
    content_type: str
    body: bytes


async def _body(request: Request) -> bytes:
    return await request.body()


@router.api_route("/about", methods=["GET", "HEAD"])
def about() -> Response:
    """Which versions this LRS speaks (xAPI-Communication 2.8)."""
    versions = [Version.V2_0_0, Version.V1_0_3]
    return _response(200, json.dumps({"version": versions}), {"X-Experience-API-Version": Version.V2_0_0})


@router.api_route("/statements", methods=["GET", "HEAD", "PUT", "POST"])
def statements(request: Request, body: bytes = Depends(_body)) -> Response:
    """Store and find statements (xAPI-Communication 2.1)."""
    through = receive_statements.consistent_through(request.app.state.runtime)
    response = _answer(request, body, _STATEMENTS[request.method])
    response.headers["X-Experience-API-Consistent-Through"] = lrs.instant(through)
    return response


def _answer(request: Request, body: bytes, work: Callable[[_Call], Response]) -> Response:
    """Do what a request asks for, as the program that sent it; whatever is wrong with it is said in words."""
    runtime: Runtime = request.app.state.runtime
    headers: dict[str, str] = {"X-Experience-API-Version": Version.V2_0_0}
    try:
        caller = _caller(runtime, request.headers.get("Authorization", ""))
        headers["X-Experience-API-Version"] = version = _version(request)
        content_type = request.headers.get("Content-Type", "")
        response = work(_Call(runtime, caller, version, dict(request.query_params), content_type, body))
    except FlowError as error:
        response = _refusal(error)
    response.headers.update(headers)
    return response


def _caller(runtime: Runtime, authorization: str) -> Caller:
    scheme, _, encoded = authorization.partition(" ")
    try:
        key, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        scheme, colon, key, secret = "", "", "", ""
    well_formed = scheme.lower() == "basic" and colon and key.isprintable()
    caller = identity.check_credential(runtime, key, secret) if well_formed else None
    if caller is None:
        raise _Unauthorized(
            "send key and secret of a credential by HTTP Basic; `flowbridge credentials create` makes one"
        )
    return caller


def _version(request: Request) -> Version:
    try:
        return lrs.negotiated(request.headers.get("X-Experience-API-Version"))
    except InvalidStatement as fault:
        raise Invalid(fault.path, fault.rule) from None


def _refusal(error: FlowError) -> Response:
    said = {"code": error.code, "message": str(error)}
    if isinstance(error, Invalid) and error.field:
        said["field"] = error.field
    response = _response(_STATUS[type(error)], json.dumps({"error": said}), {})
    if isinstance(error, _Unauthorized):
        response.headers["WWW-Authenticate"] = 'Basic realm="xAPI", charset="UTF-8"'
    return response


def _response(status: int, content: str, headers: Mapping[str, str]) -> Response:
    return Response(content, status, headers, media_type="application/json")


def _get(call: _Call) -> Response:
    found = receive_statements.find(call.runtime, call.caller, call.parameters, call.version)
    stored = {"Last-Modified": email.utils.format_datetime(found.stored, usegmt=True)} if found.stored else {}
    return _response(200, found.content, stored)


def _put(call: _Call) -> Response:
    _receive(call, put=True)
    return Response(status_code=204)


def _post(call: _Call) -> Response:
    return _response(200, json.dumps(_receive(call)), {})


def _receive(call: _Call, **how: Any) -> list[str]:
    kind = call.content_type.partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Invalid("Content-Type", f"must be application/json and not '{kind[:60]}'; attachments need a fileUrl")
    return receive_statements.receive(call.runtime, call.caller, call.body, call.version, call.parameters, **how)


_STATEMENTS: Mapping[str, Callable[[_Call], Response]] = {"GET": _get, "HEAD": _get, "PUT": _put, "POST": _post}
