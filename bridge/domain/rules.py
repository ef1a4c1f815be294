"""Rules: on which event, under which condition, for whom, what is offered, said where, within which limits."""

from __future__ import annotations

import dataclasses
import datetime as dt
from enum import StrEnum

#: The bridge's own channel: the prompt waits for the widget in the business app's pages.
WIDGET = "widget"


class OncePer(StrEnum):
    """Within which bounds the same rule prompts the same person only once."""

    EVENT = "event"
    OBJECT = "object"
    PERSON = "person"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What is offered: one asset by connection and external id ("moodle/course:4"), or the best match of a search."""

    asset: str = ""
    search: str = ""
    kinds: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    language: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How often is too often."""

    once_per: OncePer = OncePer.OBJECT
    cool_down: dt.timedelta | None = None
    skip_if_completed_within: dt.timedelta | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. ``for_`` names a role of the event's people; ``when`` is CEL; ``say`` is a template."""

    name: str
    on: str
    offer: Offer
    say: str
    through: tuple[str, ...] = (WIDGET,)
    when: str = "true"
    for_: str = "actor"
    limits: Limits = dataclasses.field(default_factory=Limits)
    enabled: bool = True
