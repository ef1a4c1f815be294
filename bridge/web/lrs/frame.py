"""What all resources of the built-in LRS share: who asks, in which version, and how refusals are said."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import parse_qsl

from fastapi import Request, Response
from starlette.datastructures import Headers

from bridge.flows import callers, documents, receive_statements
from bridge.flows.callers import Caller
from bridge.flows.errors import FlowError, Invalid, NotFound, Refused
from bridge.flows.runtime import Runtime
from bridge.xapi import lrs
from bridge.xapi.validation import InvalidStatement, Version

#: What a request without a version is: up to 0.95 it needed none. To answer it as 1.0.3 would be wrong for readers of
#: 2.0, and as 2.0.0 for those of 1.0.3; each of them takes this one.
_UNVERSIONED = "0.95"


class Unauthorized(FlowError):
    """No credential, or not a right one."""

    code = "unauthorized"


_STATUS: Mapping[type[FlowError], int] = {
    Invalid: 400,
    Unauthorized: 401,
    Refused: 403,
    NotFound: 404,
    receive_statements.Conflict: 409,
    documents.Unconditional: 409,
    documents.Changed: 412,
    receive_statements.TooMany: 413,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """A request by a known program in a known version."""

    runtime: Runtime
    caller: Caller
    version: Version
    method: str
    parameters: Mapping[str, str]
    headers: Headers
    body: bytes

    @property
    def content_type(self) -> str:
        return self.headers.get("Content-Type", "")


async def body_of(request: Request) -> bytes:
    return await request.body()


@dataclasses.dataclass(frozen=True, slots=True)
class _Asked:
    """What a request asks for, whichever syntax it is in."""

    method: str
    parameters: Mapping[str, str]
    headers: Headers
    body: bytes
    alternate: bool = False


def answer(request: Request, body: bytes, work: Mapping[str, Callable[[Call], Response]]) -> Response:
    """Do what a request asks for, as the program that sent it; whatever is wrong with it is said in words.

    ``work`` has the handler of each method; HEAD is answered as GET.
    """
    runtime: Runtime = request.app.state.runtime
    said: dict[str, str] = {"X-Experience-API-Version": Version.V2_0_0}
    try:
        asked = _asked(request, body)
        caller = callers.authenticate(runtime, asked.headers.get("Authorization", ""))
        if caller is None:
            raise Unauthorized(
                "send key and secret of a credential by HTTP Basic, or a token of /oauth/token;"
                " `flowbridge credentials create` makes a credential"
            )
        if "X-Experience-API-Version" not in asked.headers:
            said["X-Experience-API-Version"] = _UNVERSIONED
        said["X-Experience-API-Version"] = version = _version(asked)
        if asked.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Invalid("Content-Encoding", "is not understood here: send the body as it is (RFC 9110 8.4)")
        if asked.method not in work:
            raise Invalid("method", f"must be one of {', '.join(work)} here")
        call = Call(runtime, caller, version, asked.method, asked.parameters, asked.headers, asked.body)
        response = work[asked.method](call)
    except FlowError as error:
        response = _refusal(error)
    response.headers.update(said)
    return response


def _asked(request: Request, body: bytes) -> _Asked:
    parameters = _once(request.query_params.multi_items())
    if request.method == "POST" and "method" in parameters:
        return _alternate(parameters, request.headers, body)
    method = "GET" if request.method == "HEAD" else request.method
    return _Asked(method, parameters, request.headers, body)


def _once(given: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Parameters by name; each must be given once, or two readers could understand two different requests."""
    parameters = dict(given)
    if len(parameters) < len(given):
        [(twice, _)] = Counter(name for name, _ in given).most_common(1)
        raise Invalid(twice, "must be given once")
    return parameters


_ALTERNATE = "(xAPI-Communication 1.3)"
_AS_HEADERS = (
    "Authorization",
    "X-Experience-API-Version",
    "Content-Type",
    "Content-Length",
    "If-Match",
    "If-None-Match",
)


def _alternate(parameters: Mapping[str, str], headers: Headers, body: bytes) -> _Asked:
    """The request that a form holds, as browsers of old had to send them (xAPI-Communication 1.3, of 1.0.3 only)."""
    if strays := parameters.keys() - {"method"}:
        raise Invalid(min(strays), f"must be in the form, beside method nothing is in the address {_ALTERNATE}")
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Invalid("Content-Type", f"must be application/x-www-form-urlencoded {_ALTERNATE}")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=100, errors="strict")
    except ValueError:
        raise Invalid("", f"the form must have at most 100 fields, in UTF-8 {_ALTERNATE}") from None
    form = _once(pairs)
    method = parameters["method"]
    if method in ("PUT", "POST") and "content" not in form:
        raise Invalid("content", f"must be in the form: it is the body of the request {_ALTERNATE}")
    outer = {name: value for name, value in headers.items() if name not in ("content-type", "content-length")}
    content = form.pop("content", "")
    inner = {name.lower(): form.pop(name).strip() for name in _AS_HEADERS if name in form}
    try:
        asked = Headers({"content-type": "application/json", **outer, **inner})
    except UnicodeEncodeError:
        raise Invalid("", f"{', '.join(inner)} must be Latin-1, as headers are {_ALTERNATE}") from None
    return _Asked(method, form, asked, content.encode(), alternate=True)


def _version(asked: _Asked) -> Version:
    try:
        version = lrs.negotiated(asked.headers.get("X-Experience-API-Version"))
    except InvalidStatement as fault:
        raise Invalid(fault.path, fault.rule) from None
    if asked.alternate and version is Version.V2_0_0:
        raise Invalid("method", "is no parameter in xAPI 2.0: it has no alternate request syntax")
    return version


def _refusal(error: FlowError) -> Response:
    said = {"code": error.code, "message": str(error)}
    if isinstance(error, Invalid) and error.field:
        said["field"] = error.field
    status = next(status for kind, status in _STATUS.items() if isinstance(error, kind))
    response = as_json(status, json.dumps({"error": said}))
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = 'Basic realm="xAPI", charset="UTF-8"'
    return response


def as_json(status: int, content: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(content, status, headers, media_type="application/json")
