"""Where tools send what an admin chose in them (Deep Linking 2.0 section 4.5)."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from bridge.flows import choose_content
from bridge.lti.errors import LtiError
from bridge.observe import logger
from bridge.web import pages
from bridge.web.auth import TheRuntime, Visitor, session_token
from bridge.web.lti.wire import REPOSTED, Body, Route, form_of, form_page

router = APIRouter(route_class=Route)


@router.post("/lti/deeplink/return", operation_id="lti_deep_link_return")
def chosen(request: Request, runtime: TheRuntime, visitor: Visitor, body: Body) -> Response:
    """The tool's answer. A post from another site brings no session, so that the browser sends it again from here."""
    try:
        form = form_of(request, body)
        if not form.get("JWT"):
            raise LtiError("response_missing", "the tool sent no answer; choose the content again from the console")
        if visitor is None and REPOSTED not in form:
            fields = {"JWT": form["JWT"], REPOSTED: "1"}
            return form_page("Taking what you chose", "/lti/deeplink/return", fields, form_action="'self'")
        if visitor is None:
            raise LtiError("session_missing", "you are not signed in to flowbridge any more; sign in and choose again")
        selection = choose_content.receive(runtime, form["JWT"], session_token(request))
    except LtiError as error:
        logger("lti").info("choice refused", code=error.code)
        return pages.problem(request, error.status, error.code, str(error))
    return RedirectResponse(f"/console/content/{selection}", 303)
