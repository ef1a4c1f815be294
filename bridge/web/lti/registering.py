"""The page on which the bridge registers itself at an LMS: opened by the LMS, in a window or a frame of its own.

Nobody is signed in there. The ticket in the address, which an admin made, is the proof; the page asks before anything
happens, because a link alone must not attach an LMS.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from bridge.flows import register_at_platform
from bridge.lti.errors import LtiError
from bridge.observe import logger
from bridge.web import pages
from bridge.web.auth import TheRuntime
from bridge.web.lti.wire import Body, Route, form_of

router = APIRouter(route_class=Route, include_in_schema=False)

#: The origin that a web address begins with; anything stranger is shown in no frame.
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?(?=[/?]|$)", re.IGNORECASE)
_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'self'"
)
Text = Annotated[str, Query(max_length=4096)]


@router.get("/lti/tool/register")
def ask(
    request: Request,
    runtime: TheRuntime,
    openid_configuration: Text = "",
    registration_token: Text = "",
    ticket: Text = "",
) -> Response:
    """Say which LMS it is and what is asked of it; the form does it."""
    fields = {
        "ticket": ticket,
        "openid_configuration": openid_configuration,
        "registration_token": registration_token,
    }
    try:
        lms = register_at_platform.look(runtime, ticket, openid_configuration)
    except LtiError as error:
        return _problem(request, error, openid_configuration)
    return _page(request, "lti/register.html", lms.issuer, lms=lms, fields=fields)


@router.post("/lti/tool/register")
def register(request: Request, runtime: TheRuntime, body: Body) -> Response:
    """Register, and let the LMS's page close the window."""
    where = ""
    try:
        form = form_of(request, body)
        where = form.get("openid_configuration", "")
        done = register_at_platform.register(runtime, form.get("ticket", ""), where, form.get("registration_token", ""))
    except LtiError as error:
        return _problem(request, error, where)
    return _page(request, "lti/registered.html", done.issuer, done=done)


def _page(request: Request, name: str, framed_by: str, **values: Any) -> Response:
    return _for_frame(pages.page(request, name, **values), framed_by)


def _problem(request: Request, error: LtiError, framed_by: str) -> Response:
    logger("lti").info("registration refused", code=error.code)
    return _for_frame(pages.problem(request, error.status, error.code, str(error)), framed_by)


def _for_frame(response: Response, url: str) -> Response:
    """Let the LMS that opens the page show it in a frame."""
    lms = _ORIGIN.match(url)
    response.headers["Content-Security-Policy"] = _POLICY + (f" {lms[0]}" if lms else "")
    return response
