"""Where tools register themselves (LTI Dynamic Registration 1.0 section 3.5)."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from bridge.flows import register_tool
from bridge.web.auth import TheRuntime
from bridge.web.lti.wire import NO_STORE, Body, Route

router = APIRouter(route_class=Route)


@router.post("/lti/register", operation_id="lti_register")
def register(request: Request, runtime: TheRuntime, body: Body) -> Response:
    """Register a tool. The answer is 200 and not 201: Moodle counts only 200 as success."""
    answer = register_tool.register(runtime, request.headers.get("authorization"), body)
    return JSONResponse(answer, headers=NO_STORE)
