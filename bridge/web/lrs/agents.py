"""The Agents Resource (xAPI-Communication 2.4)."""

from __future__ import annotations

import json

from fastapi import APIRouter, Depends, Request, Response

from bridge.flows import known
from bridge.web.lrs.frame import Call, answer, as_json, body_of

router = APIRouter()


@router.api_route("/agents", methods=["GET", "HEAD", "POST"])
def agents(request: Request, body: bytes = Depends(body_of)) -> Response:
    """What is known of an agent, as a Person."""
    return answer(request, body, {"GET": _get})


def _get(call: Call) -> Response:
    return as_json(200, json.dumps(known.person(call.runtime, call.caller, call.parameters, call.version)))
