"""AGS 2.0 line items (https://www.imsglobal.org/spec/lti-ags/v2p0 section 3.2).

Each resource link has one that the platform makes at its first launch; a tool may add its own. A tool sees only its
own items, and only contexts in which it has been launched.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from bridge.lti import fields
from bridge.lti.errors import LtiError
from bridge.lti.host import Host
from bridge.lti.platform.messages import Place
from bridge.lti.platform.registrations import Tool
from bridge.lti.platform.tokens import Access
from bridge.lti.vocabulary import LINE_ITEM, LINE_ITEM_READ
from bridge.store.insert import insert_once
from bridge.store.occasion import AnyLaunch
from bridge.store.tables import ContextMember, LineItem, Score

CONTAINER_TYPE = "application/vnd.ims.lis.v2.lineitemcontainer+json"
ITEM_TYPE = "application/vnd.ims.lis.v2.lineitem+json"
#: The maximum of the items that the platform makes.
MAXIMUM = 100.0
_FILTERS = {"resource_link_id": LineItem.resource_link_id, "resource_id": LineItem.resource_id, "tag": LineItem.tag}
#: The line items of a link, and beside each whether somebody is a member of its context.
_PLACE = (
    select(LineItem.id, ContextMember.person_id)
    .outerjoin(
        ContextMember,
        (ContextMember.connection_id == LineItem.connection_id)
        & (ContextMember.context == LineItem.context)
        & (ContextMember.subject == bindparam("subject")),
    )
    .where(
        LineItem.connection_id == bindparam("connection_id"),
        LineItem.context == bindparam("context"),
        LineItem.resource_link_id == bindparam("link"),
    )
)


def collection_url(host: Host, context: str) -> str:
    """The line items of a context."""
    return f"{host.settings.issuer}/lti/ags/{context}/lineitems"


def url(host: Host, context: str, item_id: uuid.UUID) -> str:
    """The id of one line item; ``/scores`` and ``/results`` are below it."""
    return f"{collection_url(host, context)}/{item_id}"


def take_part(db: SqlConnection, tool: Tool, launch: AnyLaunch, place: Place, subject: str) -> uuid.UUID | None:
    """The one line item of the link, made where there is none, as the resource wants it; None when it has several.

    The person, whom the tool knows as ``subject``, is a member of the place's context from now on.
    """
    where = {"connection_id": tool.connection_id, "context": place.context}
    found = db.execute(_PLACE, {**where, "link": place.resource_link, "subject": subject}).all()
    if not found or found[0].person_id is None:
        insert_once(db, ContextMember, **where, subject=subject, person_id=launch.person.id)
    if not found:
        return _own(db, tool, launch, place)
    return found[0].id if len(found) == 1 else None


def _own(db: SqlConnection, tool: Tool, launch: AnyLaunch, place: Place) -> uuid.UUID:
    """The line item that the platform makes for a link."""
    own = _platforms(tool.connection_id, place.resource_link)
    is_tools = launch.asset.connection_id == tool.connection_id
    wanted = tool.line_items.get(launch.asset.external_id, {}) if is_tools else {}
    insert_once(
        db,
        LineItem,
        id=own,
        connection_id=tool.connection_id,
        context=place.context,
        resource_link_id=place.resource_link,
        asset_id=launch.asset.id,
        label=wanted.get("label") or launch.asset.title.strip(),
        score_maximum=wanted.get("score_maximum", MAXIMUM),
        resource_id=wanted.get("resource_id", ""),
        tag=wanted.get("tag", ""),
    )
    return own


def _platforms(connection_id: int, resource_link: str) -> uuid.UUID:
    return uuid.uuid5(uuid.UUID(resource_link), f"line-item/{connection_id}")


@dataclasses.dataclass(frozen=True, slots=True)
class Gradebook:
    """What one tool may see and do in one context, within the caller's transaction.

    Every refusal is a LtiError: 403 for a scope that was not granted, 404 for what is not there or is another tool's,
    400 naming the field that is wrong.
    """

    host: Host
    session: Session
    access: Access
    context: str

    def page(self, query: Mapping[str, str]) -> tuple[list[dict[str, Any]], str | None]:
        """One page of the line items, filtered as section 3.2.9 says, and the address of the next page."""
        self.access.require(LINE_ITEM, LINE_ITEM_READ)
        self._known()
        limit, filters = fields.limit(query), {name: query[name] for name in _FILTERS if query.get(name)}
        wanted = select(LineItem).where(self._mine()).order_by(LineItem.id).limit(limit + 1)
        for name, value in filters.items():
            wanted = wanted.where(_FILTERS[name] == fields.storable(value, name))
        if query.get("after"):
            wanted = wanted.where(LineItem.id > fields.identifier(query["after"], "page"))
        rows = self.session.scalars(wanted).all()
        following = None
        if len(rows) > limit:
            rest = urlencode({**filters, "limit": limit, "after": rows[limit - 1].id})
            following = f"{collection_url(self.host, self.context)}?{rest}"
        return [to_json(self.host, row) for row in rows[:limit]], following

    def create(self, body: bytes) -> dict[str, Any]:
        """Add a line item; a ``resourceLinkId`` must name a link of this tool in this context."""
        self.access.require(LINE_ITEM)
        self._known()
        given = _given(fields.json_object(body))
        link = given.pop("resource_link_id")
        row = LineItem(id=uuid.uuid4(), connection_id=self.access.tool.connection_id, context=self.context, **given)
        if link:
            row.resource_link_id, row.asset_id = link, self._asset_of(link)
        self.session.add(row)
        self.session.flush()
        return to_json(self.host, row)

    def read(self, item: str) -> dict[str, Any]:
        """One line item."""
        self.access.require(LINE_ITEM, LINE_ITEM_READ)
        return to_json(self.host, self.find(item))

    def change(self, item: str, body: bytes) -> dict[str, Any]:
        """Replace a line item; results are scaled to a new maximum. The link can't be changed."""
        self.access.require(LINE_ITEM)
        row, given = self.find(item, lock=True), _given(fields.json_object(body))
        if given.pop("resource_link_id") not in ("", row.resource_link_id):
            raise LtiError("resource_link_fixed", "resourceLinkId of a line item can't be changed; make another item")
        if given["score_maximum"] != row.score_maximum:
            scaled = Score.result * (given["score_maximum"] / row.score_maximum)
            self.session.execute(update(Score).where(Score.line_item_id == row.id).values(result=scaled))
        for name, value in given.items():
            setattr(row, name, value)
        self.session.flush()
        return to_json(self.host, row)

    def remove(self, item: str) -> None:
        """Delete a line item that the tool has made, with its scores; the link's own stays as long as the link."""
        self.access.require(LINE_ITEM)
        row = self.find(item, lock=True)
        if row.resource_link_id and row.id == _platforms(row.connection_id, row.resource_link_id):
            raise LtiError("line_item_of_platform", "this line item belongs to the resource link; it stays", status=403)
        self.session.delete(row)

    def find(self, item: str, *, lock: bool = False) -> LineItem:
        """A line item of the tool; locked, it is one writer's until the transaction ends."""
        query = select(LineItem).where(self._mine(), LineItem.id == fields.identifier(item, "line item"))
        row = self.session.scalar(query.with_for_update(key_share=True) if lock else query)
        if row is None:
            raise LtiError("line_item_unknown", "this tool has no such line item in this context", status=404)
        return row

    def _known(self) -> None:
        if self.session.scalar(select(LineItem.id).where(self._mine()).limit(1)) is None:
            raise LtiError("context_unknown", "this tool has not been launched in such a context", status=404)

    def _mine(self) -> Any:
        own = LineItem.connection_id == self.access.tool.connection_id
        return own & (LineItem.context == fields.storable(self.context, "context"))

    def _asset_of(self, link: str) -> uuid.UUID | None:
        coupled = select(LineItem).where(self._mine(), LineItem.resource_link_id == link).limit(1)
        row = self.session.scalar(coupled)
        if row is None:
            raise LtiError(
                "resource_link_unknown", "resourceLinkId names no link of this tool in this context", status=404
            )
        return row.asset_id


def _given(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "label": fields.text(body, "label", required=True),
        "score_maximum": fields.number(body, "scoreMaximum", required=True, positive=True),
        "resource_link_id": fields.text(body, "resourceLinkId"),
        "resource_id": fields.text(body, "resourceId"),
        "tag": fields.text(body, "tag"),
    }


def to_json(host: Host, row: LineItem) -> dict[str, Any]:
    """A line item as the specification writes it; what is empty is left out."""
    shown = {
        "id": url(host, row.context, row.id),
        "label": row.label,
        "scoreMaximum": fields.shown(row.score_maximum),
        "resourceLinkId": row.resource_link_id,
        "resourceId": row.resource_id,
        "tag": row.tag,
    }
    return {name: value for name, value in shown.items() if value not in (None, "")}
