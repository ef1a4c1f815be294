"""The Activities Resource (xAPI-Communication 2.5)."""

from __future__ import annotations

import json

from fastapi import APIRouter, Depends, Request, Response

from bridge.flows import known
from bridge.web.lrs.frame import Call, answer, as_json, body_of

router = APIRouter()


@router.api_route("/activities", methods=["GET", "HEAD", "POST"])
def activities(request: Request, body: bytes = Depends(body_of)) -> Response:
    """What is known of an activity."""
    return answer(request, body, {"GET": _get})


def _get(call: Call) -> Response:
    return as_json(200, json.dumps(known.activity(call.runtime, call.caller, call.parameters)))
