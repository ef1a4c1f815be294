"""The document resources: State, Activity Profile and Agent Profile (xAPI-Communication 2.3, 2.6, 2.7)."""

from __future__ import annotations

import email.utils
import functools
import json
from collections.abc import Callable

from fastapi import APIRouter, Depends, Request, Response

from bridge.flows import documents
from bridge.flows.documents import Asked, Content, Resource
from bridge.web.lrs.frame import Call, answer, as_json, body_of

router = APIRouter()
_METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE"]
#: A document is data, and no page of this server: a browser that is shown one runs nothing in it.
_INERT = {"Content-Security-Policy": "default-src 'none'; sandbox"}


@router.api_route("/activities/state", methods=_METHODS)
def state(request: Request, body: bytes = Depends(body_of)) -> Response:
    """What an activity keeps of an agent."""
    return _answer(request, body, documents.STATE)


@router.api_route("/activities/profile", methods=_METHODS)
def activity_profile(request: Request, body: bytes = Depends(body_of)) -> Response:
    """What is kept of an activity."""
    return _answer(request, body, documents.ACTIVITY_PROFILE)


@router.api_route("/agents/profile", methods=_METHODS)
def agent_profile(request: Request, body: bytes = Depends(body_of)) -> Response:
    """What is kept of an agent."""
    return _answer(request, body, documents.AGENT_PROFILE)


def _answer(request: Request, body: bytes, resource: Resource) -> Response:
    work: dict[str, Callable[[Call, Asked], Response]] = {
        "GET": _get,
        "PUT": functools.partial(_write, documents.put),
        "POST": functools.partial(_write, documents.post),
        "DELETE": _delete,
    }

    def bound(handler: Callable[[Call, Asked], Response]) -> Callable[[Call], Response]:
        return lambda call: handler(call, _asked(resource, call))

    return answer(request, body, {method: bound(handler) for method, handler in work.items()})


def _asked(resource: Resource, call: Call) -> Asked:
    conditions = (call.headers.get(name) for name in ("If-Match", "If-None-Match"))
    return Asked(resource, call.version, call.parameters, *conditions)


def _get(call: Call, asked: Asked) -> Response:
    if asked.names_one:
        found = documents.get(call.runtime, call.caller, asked)
        said = {"ETag": f'"{found.etag}"', "Last-Modified": email.utils.format_datetime(found.updated_at, usegmt=True)}
        return Response(found.content, headers={**said, **_INERT, "Content-Type": found.content_type})
    ids, modified = documents.identifiers(call.runtime, call.caller, asked)
    newest = {"Last-Modified": email.utils.format_datetime(modified, usegmt=True)} if modified else {}
    return as_json(200, json.dumps(ids), newest)


def _write(write: Callable[..., None], call: Call, asked: Asked) -> Response:
    write(call.runtime, call.caller, asked, Content(call.body, call.content_type or "application/octet-stream"))
    return Response(status_code=204)


def _delete(call: Call, asked: Asked) -> Response:
    documents.remove(call.runtime, call.caller, asked)
    return Response(status_code=204)
