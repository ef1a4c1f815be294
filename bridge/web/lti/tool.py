"""The tool's endpoints: an LMS begins a login, posts its launch, and the person goes on in the bridge."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute

from bridge.flows import enter
from bridge.flows.errors import FlowError, Refused
from bridge.flows.runtime import Runtime
from bridge.lti.errors import LtiError
from bridge.lti.tool import cookies, launches, logins
from bridge.lti.tool.launches import Launched
from bridge.observe import logger
from bridge.web import pages
from bridge.web.auth import FRAMED_COOKIE, SESSION_COOKIE, TheRuntime, keep_framed_session, keep_session
from bridge.web.lti import platform
from bridge.web.lti.wire import Body, form_of, pairs_of

#: Pages on the way know nobody and change nothing: any LMS may show them in its frame, registered or not.
_ANYWHERE = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none';"
    " form-action 'self'"
)
_FRAMES = ("iframe", "frame")
_SHOWN = 500


class _Page(APIRoute):
    """Answers a refusal with a page and a reference, under which the log tells its code."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                return await handle(request)
            except (LtiError, FlowError) as error:
                return _refused(request, error)

        return guarded


router = APIRouter(route_class=_Page)
router.add_api_route("/lti/tool/jwks", platform.jwks, methods=["GET"], operation_id="lti_tool_jwks")


def _noted(error: LtiError | FlowError) -> tuple[int, str]:
    """The status of a refusal, and the reference under which it is in the log."""
    status, reference = error.status if isinstance(error, LtiError) else 403, secrets.token_hex(4)
    logger("lti").info("launch by an LMS refused", code=error.code, status=status, reference=reference)
    return status, reference


def _refused(request: Request, error: LtiError | FlowError) -> Response:
    status, reference = _noted(error)
    response = pages.problem(request, status, error.code, f"{error} (Reference: {reference})")
    if status == 429:
        response.headers["Retry-After"] = "60"
    return _shown_anywhere(response)


def _shown_anywhere(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _ANYWHERE
    return response


@router.get("/lti/tool/login", operation_id="lti_tool_login")
def login(request: Request, runtime: TheRuntime) -> Response:
    """A login that an LMS begins, by redirect."""
    return _login(request, runtime, pairs_of(request.url.query))


@router.post("/lti/tool/login", operation_id="lti_tool_login_by_post")
def login_by_post(request: Request, runtime: TheRuntime, body: Body) -> Response:
    """A login that an LMS begins, by form."""
    return _login(request, runtime, form_of(request, body))


def _login(request: Request, runtime: Runtime, params: Mapping[str, str]) -> Response:
    started = logins.begin(runtime, params, request.client.host if request.client else "")
    response: Response = RedirectResponse(started.url, 302, {"Cache-Control": "no-store"})
    if started.note is not None:
        response = _shown_anywhere(pages.page(request, "lti_storage.html", note=started.note, url=started.url))
    seconds = int(logins.LIFE.total_seconds())
    crosses = cookies.cross_sites(runtime.settings.issuer)
    cookie = cookies.header(started.state, path="/lti/tool", seconds=seconds, crosses=crosses)
    response.headers.append("set-cookie", cookie)
    return response


@router.get("/lti/tool/launch", include_in_schema=False)
def launch_by_get(request: Request) -> Response:
    """Somebody reloads, or opens the address itself: a launch is a form, and nothing in an address is one."""
    error = LtiError("launch_by_get", "This address opens from your LMS. Go there and open it again.", status=405)
    response = _refused(request, error)
    response.headers["Allow"] = "POST"
    return response


@router.post("/lti/tool/launch", operation_id="lti_tool_launch")
def launch(request: Request, runtime: TheRuntime, body: Body) -> Response:
    """The launch itself; the person goes on by redirect, so that a reload posts nothing again."""
    params = form_of(request, body)
    if "error" in params:
        said = ": ".join(params[name] for name in ("error", "error_description") if params.get(name))
        raise LtiError("lms_refused", f"Your LMS did not open it. It says: {said[:_SHOWN]}")
    try:
        launched = launches.launch(runtime, params, request.cookies)
    except logins.Unproved as unproved:
        return _prove(request, params, unproved)
    entered = enter.enter(runtime, launched)
    logger("lti").info("launched by an LMS", platform=launched.platform.name, message=launched.message_type)
    response = RedirectResponse(f"/lti/tool/continue?{urlencode({'code': entered.onward})}", 303)
    # A frame of another site keeps the one, a frame of the same site the other: there it has to replace an older one.
    keep_session(response, runtime, entered.token)
    if _in_frame(request, launched):
        keep_framed_session(response, runtime, entered.token)
    return response


def _in_frame(request: Request, launched: Launched) -> bool:
    where = request.headers.get("sec-fetch-dest") or launched.text("launch_presentation", "document_target")
    return where in _FRAMES


def _prove(request: Request, params: Mapping[str, str], unproved: logins.Unproved) -> Response:
    """Ask the LMS's frame for the proof, or offer a window of its own, where cookies are kept."""
    if unproved.note is not None:
        fields = {**params, logins.PROOF: "none"}
        return _shown_anywhere(pages.page(request, "lti_storage.html", note=unproved.note, fields=fields))
    status, reference = _noted(unproved)
    again = f"/lti/tool/login?{urlencode(unproved.again)}"
    shown = pages.page(request, "lti_window.html", status=status, problem=unproved, again=again, reference=reference)
    return _shown_anywhere(shown)


@router.get("/lti/tool/continue", operation_id="lti_tool_continue")
def go_on(request: Request, runtime: TheRuntime, code: str = "") -> Response:
    """Go on with the session that the launch has opened; where the browser keeps none in a frame, in its own window."""
    onward = enter.read_pass(runtime, code)
    if onward.token in (request.cookies.get(SESSION_COOKIE), request.cookies.get(FRAMED_COOKIE)):
        enter.use(runtime, onward)
        return RedirectResponse(onward.path, 303)
    request.state.framed_by = onward.visitor.framed_by
    return pages.page(request, "lti_continue.html", code=code, who=onward.visitor.name)


@router.post("/lti/tool/continue", operation_id="lti_tool_continue_in_window")
def go_on_in_window(request: Request, runtime: TheRuntime, code: Annotated[str, Form()] = "") -> Response:
    """Take the session to a window of its own, once."""
    # Another site could sign somebody in as somebody else by sending its own pass.
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise Refused("This step is taken from flowbridge's own page. Open it again from your LMS.", code="wrong_form")
    onward = enter.use_elsewhere(runtime, code)
    response = RedirectResponse(onward.path, 303)
    keep_session(response, runtime, onward.token)
    return response
