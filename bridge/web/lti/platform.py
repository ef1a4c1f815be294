"""The platform's endpoints: configuration, keys, authentication, tokens, and the way back from a tool."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from bridge.flows import identity
from bridge.flows.runtime import Runtime
from bridge.lti import keys
from bridge.lti.errors import LtiError
from bridge.lti.platform import authorize as platform
from bridge.lti.platform import tokens
from bridge.lti.platform.authorize import FormPost, Initiation
from bridge.observe import logger
from bridge.store.tables import Launch
from bridge.web import pages, widget
from bridge.web.auth import TheRuntime, runtime_of, session_token
from bridge.web.lti import frames
from bridge.web.lti.wire import NO_STORE, REPOSTED, Body, Route, form_of, form_page, onward, pairs_of

router = APIRouter(route_class=Route)


@router.get("/.well-known/openid-configuration")
def configuration(runtime: TheRuntime) -> dict[str, Any]:
    """What a tool has to know of this platform."""
    return platform.configuration(runtime)


@router.get("/lti/jwks")
def jwks(runtime: TheRuntime) -> Response:
    """The public keys, the next one among them."""
    return JSONResponse(keys.key_set(runtime), headers={"Cache-Control": f"public, max-age={keys.CACHE_SECONDS}"})


def begin(request: Request, runtime: Runtime, launch_id: uuid.UUID, token: str) -> Response:
    """Send a person's browser on its way to the tool; ``token`` is that of the session they are signed in with."""
    try:
        with runtime.db.write() as session:
            launch = session.get_one(Launch, launch_id)
            title = launch.asset.title
            start = platform.begin(runtime, session.connection(), launch, identity.token_hash(token))
    except LtiError as error:
        return pages.problem(request, error.status, error.code, str(error))
    return initiate(title, start)


def initiate(title: str, start: Initiation) -> Response:
    """The page that sends a login initiation to the tool."""
    return form_page(f"Opening {title}", start.url, start.fields, form_action=f"{onward(start.url)} 'self'")


@router.get("/lti/authorize", operation_id="lti_authorize")
def authorize(request: Request) -> Response:
    """The authentication request of a tool, by redirect."""
    return _authorized(request, request.scope["query_string"].decode("latin-1"), is_form=False)


@router.post("/lti/authorize", operation_id="lti_authorize_by_post")
def authorize_by_post(request: Request, body: Body) -> Response:
    """The authentication request of a tool, by form."""
    return _authorized(request, body.decode("latin-1"), is_form=True)


def _authorized(request: Request, text: str, *, is_form: bool) -> Response:
    runtime, token = runtime_of(request), session_token(request)
    session_hash = identity.token_hash(token) if token else None
    try:
        params = pairs_of(text)
        reposted, key = params.pop(REPOSTED, "") != "" and is_form, params.pop(frames.KEY_FIELD, "")
        key_hash = identity.token_hash(key) if reposted and key else None
        request.state.framed_by = platform.framed_by(runtime, params.get("lti_message_hint", ""))
        answer = platform.authorize(runtime, params, session_hash=session_hash, reposted=reposted, key_hash=key_hash)
    except LtiError as error:
        logger("lti").info("launch refused", code=error.code)
        return pages.problem(request, error.status, error.code, str(error))
    if isinstance(answer, FormPost):
        return form_page("Opening your content", answer.url, answer.fields, form_action=onward(answer.url))
    fields = {**answer.fields, REPOSTED: "1"}
    if request.state.framed_by:
        return frames.ask_player(fields)
    return form_page("Checking your sign-in", "/lti/authorize", fields, form_action="'self'")


@router.get("/lti/return/{launch_id}", operation_id="lti_return")
def back(
    launch_id: uuid.UUID,
    request: Request,
    runtime: TheRuntime,
    message: Annotated[str, Query(alias="lti_msg", max_length=500)] = "",
    problem: Annotated[str, Query(alias="lti_errormsg", max_length=500)] = "",
) -> Response:
    """Where a tool sends a person who is done (LTI Core 1.3 section 5.4.4, launch presentation)."""
    logger("lti").info("back from the tool", launch=str(launch_id), problem=problem)
    # It may be the end of a launch in a frame, of any business app: the page knows nobody and changes nothing.
    request.state.framed_by = " ".join(sorted(frozenset().union(*widget.origins_of(runtime).values())))
    said = [text for text in (problem, message) if text]
    title = "The content reported a problem" if problem else "You are back"
    return form_page(title, "", {}, form_action="'none'", lines=[*said, "You can close this and go on with your work."])


@router.post("/lti/token", operation_id="lti_token")
def token(request: Request, runtime: TheRuntime, body: Body) -> Response:
    """A service token for a tool: client credentials, proved by a signed assertion."""
    return JSONResponse(tokens.grant(runtime, form_of(request, body)).to_json(), headers=NO_STORE)
