"""Assets: one piece of learning or performance support in a catalogue."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Self


class AssetKind(StrEnum):
    """What an asset is to the person who opens it."""

    COURSE = "course"
    MODULE = "module"
    VIDEO = "video"
    GUIDE = "guide"
    CHECKLIST = "checklist"
    SOP = "sop"
    DECISION_TREE = "decision-tree"
    QUIZ = "quiz"
    LINK = "link"


class How(StrEnum):
    """The ways in which an asset can be opened."""

    INLINE = "inline"
    LINK = "link"
    LTI = "lti"
    XAPI = "xapi"
    CMI5 = "cmi5"

    @property
    def reports(self) -> bool:
        """Does the content itself send statements, with a token of its launch?"""
        return self in (How.XAPI, How.CMI5)


@dataclasses.dataclass(frozen=True, slots=True)
class Opening:
    """How an asset is opened.

    ``text`` is the support document of an inline asset. ``url`` is the address of a link, or the target_link_uri of
    an LTI resource link (empty: the tool's own default). ``tool`` names the connection of the LTI tool; a connector
    whose own connection is the tool leaves it empty. ``custom`` are LTI custom parameters; of a cmi5 AU, what its
    course structure says of it, by the names of :meth:`cmi5`.
    """

    how: How
    url: str = ""
    text: str = ""
    tool: str = ""
    custom: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def inline(cls, text: str) -> Self:
        return cls(How.INLINE, text=text)

    @classmethod
    def link(cls, url: str) -> Self:
        return cls(How.LINK, url=url)

    @classmethod
    def lti(cls, *, tool: str = "", url: str = "", custom: Mapping[str, str] | None = None) -> Self:
        return cls(How.LTI, url=url, tool=tool, custom=dict(custom or {}))

    @classmethod
    def xapi(cls, url: str) -> Self:
        """Content that reports by itself, launched with endpoint, auth, actor, activity_id and registration."""
        return cls(How.XAPI, url=url)

    @classmethod
    def cmi5(cls, url: str, *, publisher_id: str, **structure: str) -> Self:
        """A cmi5 assignable unit (AU). ``publisher_id`` is its id in the course structure.

        ``structure`` is what that says of it beside (cmi5 section 13.1.4), where it does: ``move_on``,
        ``mastery_score``, ``launch_parameters``, ``entitlement_key``, ``launch_method``.
        """
        return cls(How.CMI5, url=url, custom={"publisher_id": publisher_id, **structure})

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in dataclasses.asdict(self).items() if value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        return cls(**{**data, "how": How(data["how"])})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """An asset as its catalogue shows it.

    ``external_id`` is the catalogue's own stable id. ``activity_id`` is the IRI under which the catalogue reports the
    asset in xAPI; without one the bridge mints its own. An asset with no ``opening`` is listed but never offered.
    """

    external_id: str
    kind: AssetKind
    title: str
    opening: Opening | None
    summary: str = ""
    language: str = ""
    duration_seconds: int | None = None
    tags: tuple[str, ...] = ()
    activity_id: str = ""

    def fingerprint(self) -> str:
        """A digest that changes when, and only when, something that the bridge stores of the asset changes."""
        plain = {**dataclasses.asdict(self), "opening": self.opening.to_json() if self.opening else None}
        encoded = json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
        return hashlib.blake2b(encoded, digest_size=16).hexdigest()
