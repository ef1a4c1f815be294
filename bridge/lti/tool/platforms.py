"""Platforms: each LMS that launches the bridge is a connection of the connector ``lti_platform``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from sqlalchemy import select
from sqlalchemy.orm import Session

from bridge.lti import settings
from bridge.store.tables import Connection

CONNECTOR = "lti_platform"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A registered LMS: one (issuer, client_id), with as many deployments as it has.

    ``trusted_network`` says that an admin typed its addresses in by hand, so that they may be on a private network.
    """

    connection_id: int
    name: str
    issuer: str
    client_id: str
    auth_login_url: str
    auth_token_url: str
    auth_audience: str
    jwks_uri: str
    jwks: Mapping[str, Any] | None
    deployment_ids: tuple[str, ...]
    match_people: str
    console_for: str
    trusted_network: bool

    @classmethod
    def of(cls, row: Connection) -> Self:
        """Read the connection of an LMS, its addresses letter by letter; raises ConfigError naming what is wrong."""
        config = settings.read(CONNECTOR, row.name, row.config)
        return cls(
            connection_id=row.id,
            name=row.name,
            issuer=config["issuer"],
            client_id=config["client_id"],
            auth_login_url=config["auth_login_url"],
            auth_token_url=config["auth_token_url"] or "",
            auth_audience=config["auth_audience"] or config["auth_token_url"] or "",
            jwks_uri=config["jwks_uri"] or "",
            jwks=config["jwks"],
            deployment_ids=tuple(config["deployment_ids"]),
            match_people=config["match_people"],
            console_for=config["console_for"],
            trusted_network=not row.options.get("self_registered"),
        )


def of_issuer(session: Session, issuer: str, client_id: str = "") -> list[Platform]:
    """The switched-on registrations of an issuer, or the one with that client id: one is needed to go on."""
    if "\x00" in issuer + client_id:
        return []
    query = _platforms().where(Connection.config["issuer"].as_string() == issuer)
    if client_id:
        query = query.where(Connection.config["client_id"].as_string() == client_id)
    return [Platform.of(row) for row in session.scalars(query)]


def by_connection(session: Session, connection_id: int) -> Platform | None:
    """The platform of a connection, or None when it is switched off or gone."""
    row = session.scalar(_platforms().where(Connection.id == connection_id))
    return Platform.of(row) if row is not None else None


def _platforms() -> Any:
    return select(Connection).where(Connection.connector == CONNECTOR, Connection.enabled)
