"""The API for programs: events in; prompts, assets, connections and reports out."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from bridge.connect.cloudevents import parse_cloudevents
from bridge.flows import accept_event, report, trace
from bridge.flows.callers import Caller
from bridge.flows.errors import Invalid, Refused
from bridge.flows.overview import reconciliations
from bridge.web.auth import Requires, TheRuntime

router = APIRouter(prefix="/api/v1", tags=["api"])
Limit = Annotated[int, Query(ge=1, le=500, description="How many at most")]


@router.post("/events", status_code=202)
async def post_events(
    request: Request,
    runtime: TheRuntime,
    caller: Annotated[Caller, Depends(Requires("events:write"))],
    connection: Annotated[str, Query(description="The connection in whose name the events come")] = "",
) -> Response:
    """Take CloudEvents 1.0.2: structured, binary or batch; 202 when they are stored.

    A credential that is bound to a connection speaks in its name; another one says which with ``connection``.
    """
    name = await run_in_threadpool(_speaks_for, runtime, caller, connection)
    headers = {key.lower(): value for key, value in request.headers.items()}
    people = await run_in_threadpool(trace.people_paths, runtime, name)
    events = parse_cloudevents(headers, await request.body(), people)
    taken = await run_in_threadpool(accept_event.accept, runtime, name, events)
    return JSONResponse({"events": [{"id": str(a.id), "duplicate": a.duplicate} for a in taken]}, 202)


def _speaks_for(runtime: TheRuntime, caller: Caller, connection: str) -> str:
    bound = trace.connection_name(runtime, caller.connection_id) if caller.connection_id else ""
    if bound and connection not in ("", bound):
        raise Refused(f"The credential {caller.key} speaks for '{bound}' only.", code="other_connection")
    if not bound and not connection:
        raise Invalid("connection", "say which connection the events come from: ?connection=NAME")
    return bound or connection


@router.get("/events/{event_id}", dependencies=[Depends(Requires("prompts:read"))])
def get_event(event_id: uuid.UUID, runtime: TheRuntime) -> dict[str, Any]:
    """One event and everything that came of it: decisions, deliveries, launches, outcomes, statements, receipts."""
    return trace.event_chain(runtime, event_id)


@router.get("/prompts", dependencies=[Depends(Requires("prompts:read"))])
def get_prompts(
    runtime: TheRuntime,
    limit: Limit = 50,
    before: Annotated[dt.datetime | None, Query(description="Only decisions before this time: the next page")] = None,
    offered: Annotated[bool | None, Query(description="Only prompts (true) or only decisions against one")] = None,
) -> dict[str, Any]:
    """Decisions, newest first, each with its reason."""
    return {"prompts": trace.decisions(runtime, limit=limit, before=_aware(before), offered=offered)}


@router.get("/assets", dependencies=[Depends(Requires("assets:read"))])
def get_assets(
    runtime: TheRuntime,
    q: Annotated[str, Query(description="Words that must all be found")] = "",
    connection: str = "",
    retired: bool = False,
    limit: Limit = 100,
) -> dict[str, Any]:
    """Assets of the catalogue."""
    return {"assets": trace.assets(runtime, q=q, connection=connection, retired=retired, limit=limit)}


@router.get("/reports/completions", dependencies=[Depends(Requires("reports:read"))])
def get_completions(
    runtime: TheRuntime,
    since: Annotated[dt.datetime | None, Query(description="From this time on (inclusive)")] = None,
    until: Annotated[dt.datetime | None, Query(description="Up to this time (exclusive)")] = None,
    format: Literal["json", "csv"] = "json",  # noqa: A002 - the name that the CLI has too
) -> StreamingResponse:
    """Completions with the whole chain of ids, streamed."""
    rows: Iterator[report.CompletionRow] = report.completions(runtime, _aware(since), _aware(until))
    if format == "csv":
        head = {"Content-Disposition": 'attachment; filename="completions.csv"'}
        return StreamingResponse(report.as_csv(rows), media_type="text/csv; charset=utf-8", headers=head)
    return StreamingResponse(report.as_json(rows), media_type="application/json")


@router.get("/reconciliations", dependencies=[Depends(Requires("reports:read"))])
def get_reconciliations(runtime: TheRuntime, connection: str = "", limit: Limit = 50) -> dict[str, Any]:
    """Comparisons of LRSs with the ledger, newest first, as numbers of statements."""
    found = reconciliations.runs(runtime, connection, most=limit)
    return {"reconciliations": [{**dataclasses.asdict(run), "state": run.state} for run in found]}


@router.get("/reconciliations/{run_id}", dependencies=[Depends(Requires("reports:read"))])
def get_reconciliation(
    run_id: Annotated[int, Path(ge=1, lt=2**63)],
    runtime: TheRuntime,
    limit: Limit = 500,
    offset: Annotated[int, Query(ge=0, lt=2**31, description="How many differences to leave out before these")] = 0,
) -> dict[str, Any]:
    """One comparison, with statements that it found different on the two sides, in an order that stays."""
    run = reconciliations.run(runtime, run_id)
    found = reconciliations.gaps(runtime, run_id, most=limit, offset=offset)
    return {**dataclasses.asdict(run), "state": run.state, "differences": [dataclasses.asdict(gap) for gap in found]}


def _aware(value: dt.datetime | None) -> dt.datetime | None:
    """The time in UTC, which it is taken to be in where it names no zone."""
    if value is None:
        return None
    try:
        return value.astimezone(dt.UTC) if value.tzinfo else value.replace(tzinfo=dt.UTC)
    except OverflowError:
        raise Invalid("time", "lies beyond the years 1 to 9999") from None
