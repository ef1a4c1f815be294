"""NRPS 2.0 memberships (https://www.imsglobal.org/spec/lti-nrps/v2p0): whom a tool knows in a context.

The members are the people who were launched there. Somebody whom the tool has never met is not told of.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.orm import Session

from bridge.lti import fields
from bridge.lti.errors import LtiError
from bridge.lti.host import Host
from bridge.lti.platform import messages, subjects
from bridge.lti.platform.tokens import Access
from bridge.lti.vocabulary import CLAIM, LEARNER, MEMBERS_READ
from bridge.store.tables import Connection, ContextMember, Event, Launch, LineItem, Person, Prompt

CONTAINER_TYPE = "application/vnd.ims.lti-nrps.v2.membershipcontainer+json"
#: Compared in lower case, because pylti1p3 lower-cases the links in which a filter comes back.
_LEARNERS = (LEARNER.lower(), "learner")


@dataclasses.dataclass(frozen=True, slots=True)
class Roster:
    """The members of one context, as one tool may see them, within the caller's transaction.

    Every refusal is a LtiError: 403 for a scope that was not granted, 404 for a context or link that is not the
    tool's, 400 naming the parameter that is wrong.
    """

    host: Host
    session: Session
    access: Access
    context: str

    def page(self, query: Mapping[str, str]) -> tuple[dict[str, Any], str | None]:
        """One page of members, filtered by ``role`` and ``rlid`` (sections 2.4.1 and 3), and where the next one is."""
        self.access.require(MEMBERS_READ)
        limit = fields.limit(query)
        filters = {name: fields.storable(query[name], name) for name in ("role", "rlid") if query.get(name)}
        system = self._system()
        wanted = select(ContextMember.subject, Person).join(Person, Person.id == ContextMember.person_id)
        wanted = wanted.where(self._mine()).order_by(ContextMember.subject).limit(limit + 1)
        if "rlid" in filters:
            wanted = wanted.where(self._launched_into(filters["rlid"], system))
        if query.get("after"):
            wanted = wanted.where(ContextMember.subject > fields.storable(query["after"], "after"))
        learners = filters.get("role", LEARNER).lower() in _LEARNERS
        rows = self.session.execute(wanted).all() if learners else []
        base, following = messages.memberships_url(self.host, self.context), None
        if len(rows) > limit:
            following = f"{base}?{urlencode({**filters, 'limit': limit, 'after': rows[limit - 1].subject})}"
        place = {"id": self.context, "label": system.name, "title": system.name}
        return {"id": base, "context": place, "members": [self._member(*row) for row in rows[:limit]]}, following

    def _member(self, subject: str, person: Person) -> dict[str, Any]:
        told = messages.personal(self.access.tool, person)
        lis = told.pop(f"{CLAIM}lis", {})
        texts = messages.tidy(told | {"lis_person_sourcedid": lis.get("person_sourcedid", "")})
        return {"status": "Active", "user_id": subject, "roles": [LEARNER], **texts}

    def _system(self) -> Connection:
        """The business system that the context stands for."""
        known = self.session.scalar(select(ContextMember.subject).where(self._mine()).limit(1))
        for row in self.session.scalars(select(Connection)) if known is not None else ():
            if subjects.context(self.host.vault, self.access.tool.client_id, row.name) == self.context:
                return row
        raise LtiError("context_unknown", "this tool has not been launched in such a context", status=404)

    def _mine(self) -> ColumnElement[bool]:
        own = ContextMember.connection_id == self.access.tool.connection_id
        return own & (ContextMember.context == fields.storable(self.context, "context"))

    def _launched_into(self, link: str, system: Connection) -> ColumnElement[bool]:
        asset_id = self._asset_of(link)
        return exists(
            select(Launch.id)
            .join(Prompt, Prompt.id == Launch.prompt_id)
            .join(Event, Event.id == Prompt.event_id)
            .where(
                Launch.person_id == ContextMember.person_id,
                Launch.asset_id == asset_id,
                Launch.how == "lti",
                Event.connection_id == system.id,
            )
            .correlate(ContextMember)
        )

    def _asset_of(self, link: str) -> uuid.UUID | None:
        """The asset behind a resource link; the platform's own line item, which stays, is what knows it."""
        tools = LineItem.connection_id == self.access.tool.connection_id
        query = select(LineItem.asset_id).where(
            tools, LineItem.context == self.context, LineItem.resource_link_id == link
        )
        row = self.session.execute(query.limit(1)).first()
        if row is None:
            raise LtiError("resource_link_unknown", "rlid names no link of this tool in this context", status=404)
        asset_id: uuid.UUID | None = row.asset_id
        return asset_id
