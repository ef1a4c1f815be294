"""Access tokens for the API and the LRS: OAuth 2 client credentials (RFC 6749 section 4.4)."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from bridge.flows import callers
from bridge.lti.errors import OAuthError
from bridge.web.auth import TheRuntime
from bridge.web.lti.wire import NO_STORE, Body, form_of, refusal

router = APIRouter(tags=["api"])


@router.post("/oauth/token")
def token(request: Request, runtime: TheRuntime, body: Body) -> Response:
    """A token for a program that names itself by key and secret; ``scope`` asks for less than the credential has."""
    try:
        granted = callers.grant(runtime, request.headers.get("authorization", ""), form_of(request, body))
    except OAuthError as error:
        response = refusal(error)
        if error.status == 401:
            response.headers["WWW-Authenticate"] = 'Basic realm="flowbridge", charset="UTF-8"'
        return response
    return JSONResponse(granted.to_json(), headers=NO_STORE)
