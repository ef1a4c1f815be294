"""The Statement Resource (xAPI-Communication 2.1)."""

from __future__ import annotations

import email.utils
import hashlib
import json

from fastapi import APIRouter, Depends, Request, Response

from bridge.flows import receive_statements
from bridge.flows.receive_statements import Sent
from bridge.web.lrs.frame import Call, answer, as_json, body_of
from bridge.xapi import lrs

router = APIRouter()


@router.api_route("/statements", methods=["GET", "HEAD", "PUT", "POST"])
def statements(request: Request, body: bytes = Depends(body_of)) -> Response:
    """Store and find statements."""
    through = receive_statements.consistent_through(request.app.state.runtime)
    response = answer(request, body, {"GET": _get, "PUT": _put, "POST": _post})
    response.headers["X-Experience-API-Consistent-Through"] = lrs.instant(through)
    return response


def _get(call: Call) -> Response:
    languages = call.headers.get("Accept-Language", "")
    found = receive_statements.find(call.runtime, call.caller, call.parameters, call.version, languages=languages)
    response = Response(found.content, media_type=found.content_type)
    if found.stored is not None:
        response.headers["Last-Modified"] = email.utils.format_datetime(found.stored, usegmt=True)
        # Statements never change, but their form is the reader's choice.
        response.headers["ETag"] = f'"{hashlib.sha256(found.content).hexdigest()}"'
    return response


def _put(call: Call) -> Response:
    _receive(call, put=True)
    return Response(status_code=204)


def _post(call: Call) -> Response:
    return as_json(200, json.dumps(_receive(call)))


def _receive(call: Call, *, put: bool = False) -> list[str]:
    sent = Sent(call.body, call.content_type, call.version, call.parameters)
    return receive_statements.receive(call.runtime, call.caller, sent, put=put)
