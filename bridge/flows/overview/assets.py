"""The catalogue as an admin reads it."""

from __future__ import annotations

import dataclasses
import datetime as dt

from bridge.domain.rules import Offer
from bridge.flows import catalogue
from bridge.flows.runtime import Runtime
from bridge.store import tables


@dataclasses.dataclass(frozen=True, slots=True)
class AssetRow:
    """One asset; ``how`` it is opened is inline, link, lti, or "" where it can't be."""

    connection: str
    external_id: str
    kind: str
    title: str
    summary: str
    duration_seconds: int | None
    tags: tuple[str, ...]
    how: str
    updated_at: dt.datetime
    retired_at: dt.datetime | None


def listing(
    runtime: Runtime, *, q: str = "", kind: str = "", connection: str = "", retired: bool = False, limit: int = 100
) -> list[AssetRow]:
    """Assets with every word of ``q`` in title, summary or tags, by title; retired ones only when asked for."""
    wanted = Offer(search=q, kinds=(kind,) if kind else ())
    with runtime.db.read() as session:
        found = catalogue.listing(session, wanted, connection=connection, retired=retired, limit=limit)
        return [_row(asset) for asset in found]


def _row(asset: tables.Asset) -> AssetRow:
    return AssetRow(
        connection=asset.connection.name,
        external_id=asset.external_id,
        kind=asset.kind,
        title=asset.title,
        summary=asset.summary,
        duration_seconds=asset.duration_seconds,
        tags=tuple(asset.tags),
        how=(asset.opening or {}).get("how", ""),
        updated_at=asset.updated_at,
        retired_at=asset.retired_at,
    )
