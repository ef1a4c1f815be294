"""Is it alive, is it ready, how much is waiting?"""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError

from bridge.store import migrate, tables
from bridge.web.auth import TheRuntime

router = APIRouter(tags=["operations"])


@router.get("/healthz")
def alive() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def ready(runtime: TheRuntime, response: Response) -> dict[str, str]:
    """The database answers and has this version's schema."""
    try:
        with runtime.db.read() as session:
            session.execute(text("select 1"))
        if migrate.current(runtime.db) == migrate.head(runtime.db):
            return {"status": "ready"}
        problem = "the database has another schema version; run `flowbridge db upgrade`"
    except SQLAlchemyError as error:
        problem = f"the database does not answer ({type(error).__name__})"
    response.status_code = 503
    return {"status": "not ready", "problem": problem}


@router.get("/metrics")
def metrics(runtime: TheRuntime) -> Response:
    """Work that waits, by queue, in Prometheus' text format; counted in the database, so any process may be asked."""
    registry = CollectorRegistry()
    waiting = Gauge("flowbridge_waiting", "Rows that wait for a worker", ["queue"], registry=registry)
    with runtime.db.read() as session:
        for name, table in (
            ("decide", tables.Event),
            ("deliver", tables.Delivery),
            ("write_back", tables.WriteBack),
            ("grades", tables.LmsGrade),
        ):
            due = select(func.count()).select_from(table).where(table.due_at.is_not(None))
            waiting.labels(name).set(session.scalar(due) or 0)
        waiting.labels("drain").set(session.scalar(select(func.count()).select_from(tables.Outbox)) or 0)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
