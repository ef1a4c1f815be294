"""Launch links: from ``/go/{ticket}`` to the help itself.

A GET shows what the link leads to and changes nothing, so link previews do no harm; opening is a form that the page
sends, by itself when the right person is signed in.
"""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from bridge.flows import identity, open_launch, record_outcome
from bridge.flows.identity import SignedIn
from bridge.flows.runtime import Runtime
from bridge.web.auth import (
    FormSender,
    TheRuntime,
    Visitor,
    keep_session,
    runtime_of,
    same_site_form,
    session_token,
    visitor_of,
)
from bridge.web.lti import frames
from bridge.web.lti import platform as lti
from bridge.web.pages import page, to_sign_in

router = APIRouter(tags=["launch"])


@router.head("/go/{ticket}", include_in_schema=False)
@router.get("/go/{ticket}", operation_id="look_at_launch")
def look(ticket: str, request: Request, runtime: TheRuntime, visitor: Visitor) -> Response:
    """What the link leads to. Changes nothing: previews may look."""
    landing = open_launch.look(runtime, ticket)
    if visitor is not None and visitor.must_change:
        return RedirectResponse("/password", 303)
    mine = visitor is not None and visitor.person_id == landing.person_id
    return page(request, "landing.html", visitor, landing=landing, ticket=ticket, mine=mine)


@router.post("/go/{ticket}")
def go(
    ticket: str,
    request: Request,
    runtime: TheRuntime,
    visitor: Visitor,
    csrf: Annotated[str, Form()] = "",
    handoff: Annotated[str, Form()] = "",
    frame: Annotated[bool, Form()] = False,
) -> Response:
    """Open it: by the signed-in person's own form, or by the widget's one-time handoff, which also signs them in.

    With ``frame``, which needs a handoff, an LTI tool opens in the widget's frame, and nobody is signed in.
    """
    if frame:
        return frames.play(request, runtime, ticket, handoff)
    token = session_token(request)
    person, response_token = _person(request, runtime, visitor, ticket, csrf=csrf, handoff=handoff)
    token = response_token or token
    opened = open_launch.open_ticket(runtime, ticket, person.person_id, session_hash=identity.token_hash(token))
    response = _onward(request, runtime, opened, person, token)
    if response_token:
        keep_session(response, runtime, response_token)
    return response


def _person(
    request: Request, runtime: Runtime, visitor: SignedIn | None, ticket: str, *, csrf: str, handoff: str
) -> tuple[SignedIn, str]:
    if not handoff:
        return same_site_form(request, visitor, csrf), ""
    landing = open_launch.look(runtime, ticket)
    person_id = identity.redeem_handoff(runtime, handoff, str(landing.prompt_id))
    if visitor is not None and visitor.person_id == person_id:
        return visitor, ""
    token, person = identity.open_session(runtime, person_id, via="handoff")
    return person, token


def _onward(request: Request, runtime: Runtime, opened: open_launch.Opened, person: SignedIn, token: str) -> Response:
    if opened.url:
        # A page and not a redirect: browsers apply the form's own policy to where its answer redirects.
        return page(request, "onward.html", person, opened=opened)
    if opened.start is not None:
        return lti.initiate(opened.title, opened.start)
    if opened.how == "lti":
        return lti.begin(request, runtime, opened.launch_id, token)
    return RedirectResponse(f"/launches/{opened.launch_id}", 303)


@router.post("/prompts/{prompt_id}/open")
def open_own(prompt_id: uuid.UUID, request: Request, csrf: Annotated[str, Form()] = "") -> Response:
    """Open one's own prompt from the start page."""
    # Who it is is asked for here: as a dependency it would cost this request the way to a thread and back.
    runtime, token = runtime_of(request), session_token(request)
    person = same_site_form(request, visitor_of(request, runtime), csrf)
    opened = open_launch.open_prompt(runtime, prompt_id, person.person_id, session_hash=identity.token_hash(token))
    return _onward(request, runtime, opened, person, token)


@router.get("/launches/{launch_id}")
def show(launch_id: uuid.UUID, request: Request, runtime: TheRuntime, visitor: Visitor) -> Response:
    """The help itself: a guide, a checklist, an SOP filled with the facts of the record."""
    if visitor is None:
        return to_sign_in(request)
    opened = open_launch.launch_page(runtime, launch_id, visitor.person_id)
    if opened.how != "inline":
        return RedirectResponse("/", 303)  # it is shown elsewhere, and opened from its prompt
    return page(request, "support.html", visitor, opened=opened)


@router.get("/launches/{launch_id}/open")
def go_on(launch_id: uuid.UUID, request: Request, runtime: TheRuntime, visitor: Visitor) -> Response:
    """Where a launch by an LMS goes on: the help here, or the content elsewhere."""
    if visitor is None:
        return to_sign_in(request)
    opened = open_launch.reopen(runtime, launch_id, visitor.person_id)
    return _onward(request, runtime, opened, visitor, session_token(request))


@router.post("/launches/{launch_id}/steps/{step}")
def tick(
    launch_id: uuid.UUID, step: str, runtime: TheRuntime, person: FormSender, done: Annotated[bool, Form()]
) -> Response:
    """Tick a step, or take the tick back."""
    opened = record_outcome.tick(runtime, launch_id, person.person_id, step, done=done)
    return JSONResponse({"done": sum(s.done for s in opened.steps), "of": len(opened.steps)})


@router.post("/launches/{launch_id}/finish")
def finish(launch_id: uuid.UUID, runtime: TheRuntime, person: FormSender) -> Response:
    """Read it, or did it."""
    record_outcome.finish(runtime, launch_id, person.person_id)
    return RedirectResponse(f"/launches/{launch_id}", 303)
