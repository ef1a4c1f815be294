"""Synchronise a catalogue: page by page, resumable after a kill, unchanged assets cost no write."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Select, delete, select, update
from sqlalchemy.orm import Session

from bridge import registry, support
from bridge.connect import Asset, AssetPage, CatalogSource, ConfigError, ConnectorError, Opening, Unsupported
from bridge.domain import ids
from bridge.domain.assets import How
from bridge.flows.connection_problem import forget_problem, note_problem
from bridge.flows.errors import Refused
from bridge.flows.identity import find_connection
from bridge.flows.runtime import Runtime
from bridge.observe import logger
from bridge.store import now, tables

#: A walk that wrote no page for so long is not being walked any more, and may be resumed by another worker.
_STALE = dt.timedelta(minutes=2)


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How far a walk is; ``total`` where the system tells it."""

    pages: int
    seen: int
    changed: int
    retired: int
    total: int | None
    resumed: bool


def _quiet(_progress: Progress) -> None:
    """Nobody is watching."""


def sync(
    runtime: Runtime, connection_name: str, *, full: bool = False, progress: Callable[[Progress], None] = _quiet
) -> Progress:
    """Walk a catalogue and keep what it shows; what it shows no more is retired, not deleted.

    Goes on where an unfinished walk stopped; ``full`` begins again. A failing page keeps what came before it, and the
    error (a ConnectorError) names system and call.
    """
    with runtime.db.read() as session:
        connection = find_connection(session, connection_name)
    try:
        connector = runtime.connector(connection)
    except ConfigError as error:
        note_problem(runtime, connection.id, str(error))
        raise
    if not isinstance(connector, CatalogSource):
        raise Unsupported(f"the connection '{connection_name}' ({connection.connector}) has no catalogue")
    with runtime.db.write() as session:
        run, since = _begin(session, connection, full=full)
        resumed = run.pages > 0
    try:
        for page in connector.pages(since):
            with runtime.db.write() as session:
                run = _still_ours(session, run)
                _keep(session, connection, run, page)
            progress(_progress(run, resumed))
    except ConnectorError as error:
        _problem(runtime, connection, run, error)
        raise
    with runtime.db.write() as session:
        run = _still_ours(session, run)
        _finish(session, connection, run)
    forget_problem(runtime, connection)
    return _progress(run, resumed)


def _still_ours(session: Session, run: tables.SyncRun) -> tables.SyncRun:
    """The run as it is now, locked; raises Refused where another process has walked on, or begun again, meanwhile."""
    found = session.get_one(tables.SyncRun, run.id, with_for_update=True)
    if found.finished_at is not None or found.pages != run.pages:
        raise Refused("another process synchronises this catalogue at the moment; let it finish", code="sync_under_way")
    return found


def sync_due(runtime: Runtime) -> int:
    """Synchronise every catalogue whose time has come; returns how many. A failing one does not stop the others."""
    horizon = now() - dt.timedelta(hours=runtime.settings.sync_hours)
    with runtime.db.read() as session:
        connections = session.scalars(select(tables.Connection).where(tables.Connection.enabled)).all()
        due = [c.name for c in connections if _has_catalogue(c) and _last(session, c) < horizon]
    for name in due:
        try:
            sync(runtime, name)
        except (ConnectorError, Refused):
            continue  # kept with its run: `flowbridge sync` and the console show it
        except Exception as error:
            # A connector's own fault must not keep the other catalogues from being walked.
            logger("sync").exception("a connector failed", connection=name)
            _failed(runtime, name, f"the connector failed ({type(error).__name__}); see the log")
    return len(due)


def _has_catalogue(connection: tables.Connection) -> bool:
    try:
        return issubclass(registry.find(connection.connector), CatalogSource)
    except ConfigError:
        return False


def _last(session: Session, connection: tables.Connection) -> dt.datetime:
    """When the newest walk ended, or last moved while it is still under way."""
    run = session.scalar(_runs(connection).limit(1))
    if run is None:
        return dt.datetime.min.replace(tzinfo=dt.UTC)
    if run.error is not None:
        return run.started_at
    return run.finished_at or (now() if run.moved_at > now() - _STALE else dt.datetime.min.replace(tzinfo=dt.UTC))


def _runs(connection: tables.Connection) -> Select[tables.SyncRun]:
    return (
        select(tables.SyncRun).where(tables.SyncRun.connection_id == connection.id).order_by(tables.SyncRun.id.desc())
    )


def _begin(
    session: Session, connection: tables.Connection, *, full: bool
) -> tuple[tables.SyncRun, Mapping[str, Any] | None]:
    last = session.scalar(_runs(connection).limit(1))
    if last is not None and last.finished_at is None and not full:
        last.error, last.started_at, last.moved_at = None, now(), now()
        return last, last.checkpoint
    if last is not None and last.finished_at is None:
        _forget_pages(session, last)
        last.finished_at, last.error = now(), "begun again"
    done = None if full else session.scalar(_runs(connection).where(tables.SyncRun.error.is_(None)).limit(1))
    run = tables.SyncRun(connection_id=connection.id, checkpoint=done.checkpoint if done and not done.swept else None)
    session.add(run)
    session.flush()
    return run, run.checkpoint


def _keep(session: Session, connection: tables.Connection, run: tables.SyncRun, page: AssetPage) -> None:
    assets = {asset.external_id: _opened_by(connection, asset) for asset in page.assets}
    known = {
        row.external_id: row
        for row in session.execute(
            select(tables.Asset.external_id, tables.Asset.fingerprint, tables.Asset.retired_at).where(
                tables.Asset.connection_id == connection.id, tables.Asset.external_id.in_(assets)
            )
        )
    }
    changed = [
        asset
        for key, asset in assets.items()
        if key not in known or known[key].fingerprint != asset.fingerprint() or known[key].retired_at is not None
    ]
    for asset in changed:
        session.merge(_row(connection, asset))
    retired = _retire(session, connection, page.gone)
    session.add(tables.SyncPage(run_id=run.id, number=run.pages, external_ids=sorted(assets) if page.sweep else []))
    run.pages += 1
    run.moved_at = now()
    run.seen += len(assets)
    run.changed += len(changed)
    run.retired += retired
    run.total = page.total if page.total is not None else run.total
    run.checkpoint, run.swept = dict(page.checkpoint), page.sweep


def _opened_by(connection: tables.Connection, asset: Asset) -> Asset:
    """Where the admin says so, a catalogue's links are opened through an LTI tool, which gets the address to show."""
    opening = asset.opening
    if opening is None:
        return asset
    if opening.how is How.LTI and not opening.tool:
        return dataclasses.replace(asset, opening=dataclasses.replace(opening, tool=connection.name))
    player = connection.options.get("open_with")
    if player and (opening.how is How.LINK or opening.how.reports):
        custom = {"asset_url": opening.url, "asset_id": asset.external_id}
        return dataclasses.replace(asset, opening=Opening.lti(tool=player, custom=custom))
    return asset


def _row(connection: tables.Connection, asset: Asset) -> tables.Asset:
    return tables.Asset(
        id=ids.asset_id(connection.name, asset.external_id),
        connection_id=connection.id,
        external_id=asset.external_id,
        kind=str(asset.kind),
        title=asset.title,
        summary=asset.summary,
        language=asset.language,
        duration_seconds=asset.duration_seconds,
        tags=list(asset.tags),
        activity_id=asset.activity_id,
        opening=asset.opening.to_json() if asset.opening and _readable(connection, asset) else None,
        fingerprint=asset.fingerprint(),
        retired_at=None,
        updated_at=now(),
    )


def _readable(connection: tables.Connection, asset: Asset) -> bool:
    """Whether inline help can be shown; where it can't, the asset is listed, never offered, and the log says why."""
    if asset.opening is None or asset.opening.how is not How.INLINE:
        return True
    try:
        support.parse(asset.opening.text, name=asset.external_id)
    except support.SupportError as error:
        logger("sync").warning("help that can't be shown", connection=connection.name, problem=str(error))
        return False
    return True


def _retire(session: Session, connection: tables.Connection, external_ids: tuple[str, ...] | set[str]) -> int:
    gone = list(external_ids)
    count = 0
    for start in range(0, len(gone), 500):
        result = session.execute(
            update(tables.Asset)
            .where(
                tables.Asset.connection_id == connection.id,
                tables.Asset.external_id.in_(gone[start : start + 500]),
                tables.Asset.retired_at.is_(None),
            )
            .values(retired_at=now())
            .returning(tables.Asset.id)
        )
        count += len(result.all())
    return count


def _finish(session: Session, connection: tables.Connection, run: tables.SyncRun) -> None:
    # A walk from the start that showed no page showed an empty catalogue; a feed of changes merely had none.
    run.swept = run.swept and (run.pages > 0 or run.checkpoint is None)
    if run.swept:
        pages = session.scalars(select(tables.SyncPage.external_ids).where(tables.SyncPage.run_id == run.id))
        shown = {external_id for page in pages for external_id in page}
        kept = session.scalars(
            select(tables.Asset.external_id).where(
                tables.Asset.connection_id == connection.id, tables.Asset.retired_at.is_(None)
            )
        )
        run.retired += _retire(session, connection, set(kept) - shown)
    _forget_pages(session, run)
    run.finished_at, run.error = now(), None


def _forget_pages(session: Session, run: tables.SyncRun) -> None:
    session.execute(delete(tables.SyncPage).where(tables.SyncPage.run_id == run.id))


def _problem(runtime: Runtime, connection: tables.Connection, run: tables.SyncRun, error: ConnectorError) -> None:
    with runtime.db.write() as session:
        found = session.get_one(tables.SyncRun, run.id)
        if found.finished_at is None:
            found.error = str(error)
    if isinstance(error, ConfigError):
        note_problem(runtime, connection.id, str(error))


def _failed(runtime: Runtime, name: str, problem: str) -> None:
    with runtime.db.write() as session:
        run = session.scalar(_runs(find_connection(session, name)).limit(1))
        if run is not None and run.finished_at is None:
            run.error = problem


def _progress(run: tables.SyncRun, resumed: bool) -> Progress:
    return Progress(run.pages, run.seen, run.changed, run.retired, run.total, resumed)
