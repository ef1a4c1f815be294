"""Where an LMS's author picks what of the catalogue is placed in a course."""

from __future__ import annotations

import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request, Response

from bridge.flows import place_content
from bridge.flows.errors import Invalid, Refused
from bridge.flows.identity import SignedIn
from bridge.flows.runtime import Runtime
from bridge.web.auth import FormSender, TheRuntime, Visitor, session_token
from bridge.web.lti.wire import form_page, onward
from bridge.web.pages import page

router = APIRouter()

_PATH = "/lti/tool/deeplink/{code}"


@router.get(_PATH, operation_id="lti_tool_deep_link")
def pick(code: str, request: Request, runtime: TheRuntime, visitor: Visitor) -> Response:
    """The catalogue, to pick from."""
    if visitor is None:
        raise Refused("Your sign-in has ended. Choose content from your LMS again.", code="sign_in_needed")
    return _shelf(request, runtime, visitor, code)


@router.post(_PATH, operation_id="lti_tool_deep_link_form")
def picked(
    code: str,
    request: Request,
    runtime: TheRuntime,
    person: FormSender,
    do: Annotated[Literal["search", "place", "nothing"], Form()] = "search",
    q: Annotated[str, Form(max_length=200)] = "",
    asset: Annotated[list[uuid.UUID] | None, Form()] = None,
) -> Response:
    """Search with what is ticked kept, place what is ticked, or tell the LMS that nothing is placed."""
    ticked = asset or []
    if do == "search":
        return _shelf(request, runtime, person, code, q=q, ticked=ticked)
    if do == "place" and not ticked:
        return _shelf(request, runtime, person, code, q=q, problem="Choose what to place first.")
    try:
        answer = place_content.place(runtime, code, session_token(request), ticked if do == "place" else [])
    except Invalid as error:
        return _shelf(request, runtime, person, code, q=q, ticked=ticked, problem=str(error))
    title = "Placing it in your course" if answer.count else "Back to your course"
    return form_page(title, answer.url, {"JWT": answer.jwt}, form_action=onward(answer.url))


def _shelf(
    request: Request,
    runtime: Runtime,
    person: SignedIn,
    code: str,
    *,
    q: str = "",
    ticked: list[uuid.UUID] | None = None,
    problem: str = "",
) -> Response:
    shelf = place_content.look(runtime, code, session_token(request), search=q.replace("\x00", ""), ticked=ticked or [])
    status = 400 if problem else 200
    values = {"shelf": shelf, "q": q.strip(), "problem": problem, "most": place_content.MOST}
    return page(request, "lti_placing.html", person, status=status, path=request.url.path, **values)
