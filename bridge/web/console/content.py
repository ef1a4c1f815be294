"""The console's pages for content that is chosen in a tool."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response

from bridge.domain.assets import AssetKind
from bridge.flows import choose_content
from bridge.lti.errors import LtiError
from bridge.web import pages
from bridge.web.auth import TheRuntime, session_token
from bridge.web.console.frame import Admin, AdminForm, page, to
from bridge.web.lti import platform

router = APIRouter()


@router.post("/connections/{name}/choose")
def choose(
    name: str, request: Request, runtime: TheRuntime, person: AdminForm, one: Annotated[bool, Form()] = False
) -> Response:
    try:
        start = choose_content.begin(runtime, name, person, session_token(request), multiple=not one)
    except LtiError as error:
        return pages.problem(request, error.status, error.code, str(error))
    return platform.initiate(name, start)


@router.get("/content/{selection_id}")
def see_chosen(selection_id: uuid.UUID, request: Request, runtime: TheRuntime, person: Admin) -> Response:
    choice = choose_content.look(runtime, selection_id, session_token(request))
    kinds = list(AssetKind)
    return page(request, runtime, person, "content", choice=choice, selection_id=selection_id, kinds=kinds)


@router.post("/content/{selection_id}/add")
def add(
    selection_id: uuid.UUID,
    request: Request,
    runtime: TheRuntime,
    person: AdminForm,
    kind: Annotated[list[str] | None, Form()] = None,
) -> Response:
    kinds = kind or []
    name = choose_content.add(runtime, selection_id, session_token(request), kinds, actor=person.key)
    return to(f"connections/{name}", done="chosen", n=len(kinds))


@router.post("/content/{selection_id}/discard")
def discard(selection_id: uuid.UUID, request: Request, runtime: TheRuntime, person: AdminForm) -> Response:
    name = choose_content.discard(runtime, selection_id, session_token(request))
    return to(f"connections/{name}", done="discarded")
