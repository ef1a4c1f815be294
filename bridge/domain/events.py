"""Business events: something happened in a business system, shaped as a CloudEvent."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class PersonRef:
    """How a business system names a person: its own account id, an e-mail address, or both."""

    id: str = ""
    email: str = ""
    name: str = ""

    def __bool__(self) -> bool:
        return bool(self.id or self.email)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BusinessEvent:
    """One event, normalised (CloudEvents 1.0.2 attributes, https://github.com/cloudevents/spec).

    ``subject`` names the business record in the system's own words ("sale.opportunity,42"). ``people`` holds the
    people of the record by role ("actor" did it, "owner" owns the record); rules pick one by that role.
    """

    id: str
    type: str
    source: str
    time: dt.datetime
    subject: str = ""
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    people: Mapping[str, PersonRef] = dataclasses.field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """The event as conditions and templates see it."""
        return {
            "id": self.id,
            "type": self.type,
            "source": self.source,
            "time": self.time,
            "subject": self.subject,
            "data": dict(self.data),
            "people": {role: dataclasses.asdict(ref) for role, ref in self.people.items()},
        }
