"""Where launched cmi5 content fetches its token (cmi5 section 8.2)."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from bridge.flows import xapi_launch
from bridge.flows.errors import FlowError
from bridge.web.auth import TheRuntime

router = APIRouter(prefix="/content", tags=["content"])
#: Content comes from its own origin. No cookie plays a part: the address itself is the secret, and it works once.
_HEADERS = {"Access-Control-Allow-Origin": "*", "Cache-Control": "no-store"}
_USED, _REFUSED = "1", "2"


@router.post("/fetch/{token}")
def fetch(token: str, runtime: TheRuntime) -> Response:
    """The token for the LRS, once; after that, and where there is none to have, why (cmi5 section 8.2.3)."""
    try:
        said = {"auth-token": xapi_launch.fetch(runtime, token)}
    except FlowError as error:
        code = _USED if isinstance(error, xapi_launch.Fetched) else _REFUSED
        said = {"error-code": code, "error-text": str(error)}
    return JSONResponse(said, headers=_HEADERS)


@router.options("/fetch/{token}", include_in_schema=False)
def preflight(token: str) -> Response:
    """What a page elsewhere may send."""
    allowed = {"Access-Control-Allow-Methods": "POST", "Access-Control-Allow-Headers": "content-type"}
    return Response(status_code=204, headers={**_HEADERS, **allowed})
