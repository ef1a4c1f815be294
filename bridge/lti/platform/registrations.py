"""Tools: each is a connection of the connector ``lti_tool``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlsplit

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Row, bindparam, select
from sqlalchemy.orm import Session

from bridge.lti import settings
from bridge.lti.errors import LtiError
from bridge.lti.vocabulary import SERVICE_SCOPES
from bridge.store.occasion import AnyAsset, System
from bridge.store.tables import Connection

CONNECTOR = "lti_tool"


#: Tools by the connection's id, with what was stored when they were read: checking a configuration takes longer than
#: comparing it.
_read: dict[int, tuple[tuple[Any, ...], Any]] = {}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A registered tool: what was agreed with it.

    ``trusted_network`` says that an admin typed its addresses in by hand, so that they may be on a private network.
    """

    connection_id: int
    name: str
    client_id: str
    deployment_id: str
    deployments: Mapping[str, tuple[str, ...]]
    initiate_login_uri: str
    redirect_uris: tuple[str, ...]
    target_link_uri: str
    deep_linking_uri: str
    jwks_uri: str
    jwks: Mapping[str, Any] | None
    scopes: tuple[str, ...]
    custom: Mapping[str, str]
    send_name: bool
    send_email: bool
    #: The line items that resources want, by the resource's id.
    line_items: Mapping[str, Mapping[str, Any]]
    trusted_network: bool

    @classmethod
    def of(cls, row: Connection | System | Row[*tuple[Any, ...]]) -> Self:
        """Read the connection of a tool, its addresses letter by letter; raises ConfigError naming what is wrong."""
        as_stored = (row.name, row.config, row.options)
        known = _read.get(row.id)
        if known is None or known[0] != as_stored:
            known = _read[row.id] = (as_stored, cls._of(row))
        return known[1]

    @classmethod
    def _of(cls, row: Connection | System | Row[*tuple[Any, ...]]) -> Self:
        config = settings.read(CONNECTOR, row.name, row.config)
        return cls(
            connection_id=row.id,
            name=row.name,
            client_id=config["client_id"],
            deployment_id=config["deployment_id"],
            deployments={id_: tuple(systems) for id_, systems in config["deployments"].items()},
            initiate_login_uri=config["initiate_login_uri"],
            redirect_uris=tuple(config["redirect_uris"]),
            target_link_uri=config["target_link_uri"],
            deep_linking_uri=config["deep_linking_uri"] or config["target_link_uri"],
            jwks_uri=config["jwks_uri"] or "",
            jwks=config["jwks"],
            scopes=tuple(scope for scope in SERVICE_SCOPES if scope in config["scopes"]),
            custom=config["custom"],
            send_name=config["send_name"],
            send_email=config["send_email"],
            line_items={one["id"]: one["line_item"] for one in config["resources"] if one["line_item"]},
            trusted_network=not row.options.get("self_registered"),
        )

    def deployment_of(self, system: str) -> str:
        """The deployment under which launches from a business system go out."""
        return next((id_ for id_, systems in self.deployments.items() if system in systems), self.deployment_id)

    def owns(self, url: str) -> bool:
        """Is the address on one of the tool's own origins?"""
        return origin(url) in self.origins

    @property
    def origins(self) -> frozenset[str]:
        """The origins of all of its registered addresses."""
        addresses = (self.target_link_uri, self.deep_linking_uri, self.initiate_login_uri, *self.redirect_uris)
        return frozenset(map(origin, addresses))


def origin(url: str) -> str:
    """Scheme, host and port of a URL, as a browser writes them."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def by_client_id(db: Session | SqlConnection, client_id: str) -> Tool | None:
    """The tool with that client id, or None: unknown, switched off, or claimed by two connections."""
    if not client_id or "\x00" in client_id:
        return None
    rows = db.execute(_BY_CLIENT_ID, {"client_id": client_id}).all()
    return Tool.of(rows[0]) if len(rows) == 1 else None


def awaits_approval(db: Session | SqlConnection, client_id: str) -> bool:
    """Did a tool register itself under that client id, which no admin has approved yet?"""
    if "\x00" in client_id:
        return False
    ours = (Connection.connector == CONNECTOR) & (Connection.config["client_id"].as_string() == client_id)
    return any(options.get("pending") for options in db.execute(select(Connection.options).where(ours)).scalars())


def by_connection(session: Session, connection_id: int) -> Tool | None:
    """The tool of a connection, or None when it is switched off or gone."""
    row = session.execute(_tools().where(Connection.id == connection_id)).first()
    return Tool.of(row) if row is not None else None


def framed(session: Session) -> frozenset[str]:
    """The names of the tools that open in a frame over the business app's page."""
    names = select(Connection.name).where(Connection.connector == CONNECTOR, Connection.enabled)
    return frozenset(session.scalars(names.where(Connection.config["open_in"].as_string() == "frame")))


def name_for(asset: AnyAsset) -> str:
    """The connection whose tool opens an asset: the one that its opening names, else its own."""
    return (asset.opening or {}).get("tool") or asset.connection.name


def of_asset(db: SqlConnection, asset: AnyAsset) -> Tool:
    """The tool that opens an asset; raises LtiError where it is switched off or gone."""
    name, own = name_for(asset), asset.connection
    if own.name == name and own.connector == CONNECTOR and own.enabled:
        return Tool.of(own)
    row = db.execute(_tools().where(Connection.name == name)).first()
    if row is None:
        raise LtiError(
            "tool_missing",
            f"'{asset.title}' is opened by the LTI tool '{name}', which is not connected or switched off;"
            " ask your LMS admin.",
            status=409,
        )
    return Tool.of(row)


def _tools() -> Any:
    columns = (Connection.id, Connection.name, Connection.config, Connection.options)
    return select(*columns).where(Connection.connector == CONNECTOR, Connection.enabled)


_BY_CLIENT_ID = _tools().where(Connection.config["client_id"].as_string() == bindparam("client_id"))
