"""The catalogue as rules and people search it."""

from __future__ import annotations

from sqlalchemy import Select, Text, select
from sqlalchemy.orm import Session

from bridge.domain.rules import Offer
from bridge.store import tables


def choose(session: Session, offer: Offer) -> tables.Asset | None:
    """The asset that an offer means: a named one, retired or not, or the best openable match of a search."""
    if offer.asset:
        connection, _, external_id = offer.asset.partition("/")
        return session.scalar(
            select(tables.Asset)
            .join(tables.Connection)
            .where(tables.Connection.name == connection, tables.Asset.external_id == external_id)
        )
    found = search(session, offer)
    return found[0] if found else None


def search(session: Session, offer: Offer, *, limit: int = 20) -> list[tables.Asset]:
    """Openable assets in use that match every word, the best first: by title, tags, summary; short before long."""
    query = _matching(offer).where(tables.Asset.retired_at.is_(None), tables.Asset.opening.is_not(None))
    found = [asset for asset in session.scalars(query.limit(1000)) if set(offer.tags) <= set(asset.tags)]
    words = offer.search.lower().split()
    found.sort(key=lambda asset: (-_fit(asset, words), asset.duration_seconds or 3600, asset.title, asset.external_id))
    return found[:limit]


def listing(
    session: Session, offer: Offer, *, connection: str = "", retired: bool = False, limit: int = 100
) -> list[tables.Asset]:
    """The catalogue as an admin reads it: by title, with what can't be opened; retired ones only when asked for."""
    query = _matching(offer).where(
        tables.Asset.retired_at.is_not(None) if retired else tables.Asset.retired_at.is_(None)
    )
    if connection:
        query = query.join(tables.Connection).where(tables.Connection.name == connection)
    return list(session.scalars(query.order_by(tables.Asset.title, tables.Asset.external_id).limit(limit)))


def _matching(offer: Offer) -> Select[tables.Asset]:
    query = select(tables.Asset)
    if offer.kinds:
        query = query.where(tables.Asset.kind.in_(offer.kinds))
    if offer.language:
        query = query.where(tables.Asset.language.in_((offer.language, "")))
    for word in offer.search.lower().split():
        query = query.where(
            tables.Asset.title.icontains(word, autoescape=True)
            | tables.Asset.summary.icontains(word, autoescape=True)
            | tables.Asset.tags.cast(Text).icontains(word, autoescape=True)
        )
    return query


def _fit(asset: tables.Asset, words: list[str]) -> int:
    title, tags = asset.title.lower(), " ".join(asset.tags).lower()
    return sum(3 * (word in title) + 2 * (word in tags) + (word in asset.summary.lower()) for word in words)
