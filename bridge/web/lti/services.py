"""The platform's services for tools: assignments and grades (AGS 2.0), names and roles (NRPS 2.0)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from bridge.flows import receive_score
from bridge.flows.runtime import Runtime
from bridge.lti.platform import line_items, memberships, scores
from bridge.lti.platform.line_items import Gradebook
from bridge.lti.platform.memberships import Roster
from bridge.lti.platform.tokens import Access
from bridge.web.auth import TheRuntime
from bridge.web.lti.wire import Bearer, Body, Route

router = APIRouter(route_class=Route)

_ITEMS = "/lti/ags/{context}/lineitems"
_ITEM = _ITEMS + "/{item}"


def _reader(context: str, runtime: TheRuntime, access: Bearer) -> Iterator[Gradebook]:
    with runtime.db.read() as session:
        yield Gradebook(runtime, session, access, context)


Reader = Annotated[Gradebook, Depends(_reader)]


@contextlib.contextmanager
def _writer(runtime: Runtime, access: Access, context: str) -> Iterator[Gradebook]:
    """Not a dependency: those end after the answer was sent, and nobody may be told of what was not committed."""
    with runtime.db.write() as session:
        yield Gradebook(runtime, session, access, context)


@router.get(_ITEMS)
def list_line_items(request: Request, book: Reader) -> Response:
    """The tool's line items in a context."""
    return _container(*book.page(request.query_params), line_items.CONTAINER_TYPE)


@router.post(_ITEMS, status_code=201)
def create_line_item(context: str, runtime: TheRuntime, access: Bearer, body: Body) -> Response:
    """Add a line item."""
    with _writer(runtime, access, context) as book:
        made = book.create(body)
    return JSONResponse(made, 201, {"Location": made["id"]}, media_type=line_items.ITEM_TYPE)


@router.get(_ITEM)
def get_line_item(item: str, book: Reader) -> Response:
    """One line item."""
    return JSONResponse(book.read(item), media_type=line_items.ITEM_TYPE)


@router.put(_ITEM)
def put_line_item(context: str, item: str, runtime: TheRuntime, access: Bearer, body: Body) -> Response:
    """Replace a line item."""
    with _writer(runtime, access, context) as book:
        changed = book.change(item, body)
    return JSONResponse(changed, media_type=line_items.ITEM_TYPE)


@router.delete(_ITEM, status_code=204)
def delete_line_item(context: str, item: str, runtime: TheRuntime, access: Bearer) -> Response:
    """Delete a line item that the tool has made."""
    with _writer(runtime, access, context) as book:
        book.remove(item)
    return Response(status_code=204)


@router.post(_ITEM + "/scores")
def post_score(context: str, item: str, request: Request, runtime: TheRuntime, body: Body) -> Response:
    """Take a score. The answer is 200 and not 204: Moodle counts only 200 as success and sends again for ever."""
    receive_score.receive(runtime, request.headers.get("authorization"), context, item, body)
    return JSONResponse({})


@router.get(_ITEM + "/results")
def list_results(item: str, request: Request, book: Reader) -> Response:
    """The results of a line item."""
    return _container(*scores.results(book, item, request.query_params), scores.RESULTS_TYPE)


@router.get("/lti/nrps/{context}/memberships")
def list_members(context: str, request: Request, runtime: TheRuntime, access: Bearer) -> Response:
    """The people whom the tool knows in a context."""
    with runtime.db.read() as session:
        return _container(
            *Roster(runtime, session, access, context).page(request.query_params), memberships.CONTAINER_TYPE
        )


def _container(found: list[dict[str, Any]] | dict[str, Any], following: str | None, media_type: str) -> Response:
    headers = {"Link": f'<{following}>; rel="next"'} if following else {}
    return JSONResponse(found, headers=headers, media_type=media_type)
