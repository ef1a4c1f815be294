"""The console's pages for tools and LMSs that register themselves: begin it, follow it, decide about it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response

from bridge.flows import approve_peer, register_at_platform, register_tool
from bridge.flows import registration_tickets as tickets
from bridge.flows.errors import Invalid
from bridge.flows.identity import SignedIn
from bridge.flows.runtime import Runtime
from bridge.lti.tool.registration import Addresses
from bridge.web import pages
from bridge.web.auth import TheRuntime
from bridge.web.console.frame import Admin, AdminForm, page, to

router = APIRouter()
Field = Annotated[str, Form(max_length=2000)]


@router.get("/connect/tool")
def connect_tool(request: Request, runtime: TheRuntime, person: Admin) -> Response:
    return _form(request, runtime, person, "tool")


@router.get("/connect/lms")
def connect_lms(request: Request, runtime: TheRuntime, person: Admin) -> Response:
    return _form(request, runtime, person, "lms")


def _form(
    request: Request, runtime: Runtime, person: SignedIn, kind: str, *, status: int = 200, **values: Any
) -> Response:
    given = {"wanted": "", "url": "", "refusal": "", **values}
    response = page(request, runtime, person, "connect", kind=kind, **given)
    response.status_code = status
    return response


@router.post("/connect/tool")
def begin_tool(request: Request, runtime: TheRuntime, person: AdminForm, name: Field = "", url: Field = "") -> Response:
    """The page is the answer to the form: what is in it is shown once."""
    try:
        begun = register_tool.begin(runtime, name.strip(), url.strip(), person)
    except Invalid as error:
        return _form(request, runtime, person, "tool", status=400, wanted=name, url=url, refusal=str(error))
    return page(request, runtime, person, "connecting", kind="tool", begun=begun, wanted=name)


@router.post("/connect/lms")
def invite_lms(request: Request, runtime: TheRuntime, person: AdminForm, name: Field = "", url: Field = "") -> Response:
    try:
        begun = register_at_platform.invite(runtime, name.strip(), url.strip(), person)
    except Invalid as error:
        return _form(request, runtime, person, "lms", status=400, wanted=name, url=url, refusal=str(error))
    return page(request, runtime, person, "connecting", kind="lms", begun=begun, wanted=name)


@router.get("/registrations/{ticket_id}")
def see_registration(ticket_id: str, request: Request, runtime: TheRuntime, person: Admin) -> Response:
    """On to what has registered, or the word that nothing has yet."""
    name = tickets.came_of(runtime, ticket_id, person)
    if name:
        return to(f"peers/{name}")
    return page(request, runtime, person, "connecting", kind="", begun=None, ticket_id=ticket_id)


@router.get("/registrations/{ticket_id}/state")
def follow_registration(ticket_id: str, request: Request, runtime: TheRuntime, person: Admin) -> Response:
    """The part of the page that changes when something has registered."""
    name = tickets.came_of(runtime, ticket_id, person)
    return pages.page(request, "console/_registration.html", person, brought=name)


@router.get("/peers/{name}")
def see_peer(name: str, request: Request, runtime: TheRuntime, person: Admin) -> Response:
    shown = approve_peer.peer(runtime, name)
    ours = {"issuer": runtime.settings.issuer, "addresses": Addresses.of(runtime)}
    return page(request, runtime, person, "peer", shown=shown, **ours)


@router.post("/peers/{name}/approve")
def approve(
    name: str,
    runtime: TheRuntime,
    person: AdminForm,
    scope: Annotated[list[str] | None, Form()] = None,
    send_name: Annotated[bool, Form()] = False,
    send_email: Annotated[bool, Form()] = False,
) -> Response:
    approve_peer.approve(
        runtime, name, scopes=scope or (), send_name=send_name, send_email=send_email, actor=person.key
    )
    return to(f"connections/{name}", done="approved")


@router.post("/peers/{name}/reject")
def reject(name: str, runtime: TheRuntime, person: AdminForm) -> Response:
    approve_peer.reject(runtime, name, actor=person.key)
    return to("connections", done="rejected")


@router.post("/peers/{name}/trust")
def trust(name: str, runtime: TheRuntime, person: AdminForm, deployment: Field = "") -> Response:
    approve_peer.trust(runtime, name, deployment, actor=person.key)
    return to(f"peers/{name}", done="trusted")


@router.post("/peers/{name}/dismiss")
def dismiss(name: str, runtime: TheRuntime, person: AdminForm, deployment: Field = "") -> Response:
    approve_peer.dismiss(runtime, name, deployment, actor=person.key)
    return to(f"peers/{name}", done="dismissed")
