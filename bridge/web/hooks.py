"""Webhooks of business systems."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from bridge.connect import InboundRequest, Reply
from bridge.flows import accept_event
from bridge.web.auth import TheRuntime

router = APIRouter(tags=["events"])


@router.api_route("/hooks/{connection}", methods=["GET", "OPTIONS"], include_in_schema=False)  # vendors' handshakes
@router.post("/hooks/{connection}", operation_id="hook", status_code=202)
async def hook(connection: str, request: Request, runtime: TheRuntime) -> Response:
    """Take a webhook: 202 when its events are stored, 401 for a wrong signature, 400 naming a malformed field."""
    inbound = InboundRequest(
        headers={name.lower(): value for name, value in request.headers.items()},
        body=await request.body(),
        query=dict(request.query_params),
        method=request.method,
    )
    taken = await run_in_threadpool(accept_event.accept_hook, runtime, connection, inbound)
    if isinstance(taken, Reply):
        return Response(taken.body, taken.status, dict(taken.headers))
    return JSONResponse({"events": [{"id": str(a.id), "duplicate": a.duplicate} for a in taken]}, 202)
