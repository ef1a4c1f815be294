"""The public contract: the only thing that a connector imports.

A connector is a class for one system. It declares a :class:`Manifest` and a :class:`Config`, takes an :class:`Http`
client, and implements the capabilities that the system has: :class:`CatalogSource`, :class:`Channel`, :class:`Trigger`,
:class:`Poll`, :class:`WriteBack`, :class:`Roster`, :class:`StatementSink`, :class:`StatementArchive`,
:class:`Examinable`. It is synchronous, keeps no state between
calls, and raises the errors of :mod:`bridge.connect.errors`, which are named by what the bridge does next.
"""

from __future__ import annotations

import abc
import dataclasses
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, HttpUrl, SecretStr

from bridge.connect.errors import (
    ConfigError,
    ConnectorError,
    Rejected,
    Retryable,
    SignatureInvalid,
    TooLarge,
    UnexpectedPayload,
    Unsupported,
)
from bridge.connect.http import Egress, EgressRefused, Http
from bridge.domain.assets import Asset, AssetKind, How, Opening
from bridge.domain.events import BusinessEvent, PersonRef
from bridge.domain.outcomes import Outcome
from bridge.domain.people import Account, Person
from bridge.domain.prompts import Prompt, Receipt, Recipient

__all__ = [
    "CAPABILITIES",
    "Account",
    "Asset",
    "AssetKind",
    "AssetPage",
    "Attached",
    "BusinessEvent",
    "CatalogSource",
    "Channel",
    "ChannelLimits",
    "Checkpoint",
    "Config",
    "ConfigError",
    "Connector",
    "ConnectorError",
    "Egress",
    "EgressRefused",
    "EventPage",
    "Examinable",
    "Finding",
    "Health",
    "How",
    "Http",
    "HttpUrl",
    "InboundRequest",
    "Manifest",
    "Opening",
    "Outcome",
    "PeoplePage",
    "Person",
    "PersonRef",
    "Poll",
    "Prompt",
    "Receipt",
    "Recipient",
    "Rejected",
    "Reply",
    "Retryable",
    "Roster",
    "SecretStr",
    "SignatureInvalid",
    "Statement",
    "StatementArchive",
    "StatementSink",
    "StoredPage",
    "TooLarge",
    "Trigger",
    "UnexpectedPayload",
    "Unsupported",
    "WriteBack",
    "capabilities_of",
]

#: Where a connector left off; opaque to the bridge, JSON values only.
Checkpoint = Mapping[str, Any]


class Config(BaseModel):
    """Base of every connector's settings: unknown keys are refused, secrets are ``SecretStr``."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Manifest(BaseModel):
    """What a connector says of itself.

    ``verified`` is how it was proved: against the ``live`` system, an ``emulator``, or the vendor's published
    ``contract``; ``proof`` says it in a sentence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    key: str
    name: str
    summary: str
    api_docs: str
    verified: Literal["live", "emulator", "contract"]
    proof: str


@dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """What a check found, in words: what ``works``, and what is ``missing`` with what to do about it."""

    works: tuple[str, ...]
    missing: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.missing


@dataclasses.dataclass(frozen=True, slots=True)
class AssetPage:
    """One page of a catalogue.

    ``checkpoint`` resumes after this page. ``sweep`` says that the pages of a walk together show the whole catalogue,
    that what none of them shows is gone, and the next walk begins from the start; without it (a feed of changes)
    only the ids in ``gone`` are, and the next walk goes on after the last page. ``total`` is the number of assets of
    the walk where the system tells it.
    """

    assets: tuple[Asset, ...]
    checkpoint: Checkpoint
    gone: tuple[str, ...] = ()
    sweep: bool = True
    total: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class EventPage:
    """One page of polled events; ``checkpoint`` resumes after it."""

    events: tuple[BusinessEvent, ...]
    checkpoint: Checkpoint


@dataclasses.dataclass(frozen=True, slots=True)
class PeoplePage:
    """One page of people with their accounts in this system (the issuer is filled in by the bridge)."""

    people: tuple[Person, ...]
    checkpoint: Checkpoint


@dataclasses.dataclass(frozen=True, slots=True)
class InboundRequest:
    """A webhook request as it came: header names in lower case, the raw body."""

    headers: Mapping[str, str]
    body: bytes
    query: Mapping[str, str] = dataclasses.field(default_factory=dict)
    method: str = "POST"


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """An answer that a webhook's sender waits for (a challenge echoed, say)."""

    status: int = 200
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b""


@dataclasses.dataclass(frozen=True, slots=True)
class ChannelLimits:
    """What a channel can carry: characters of text, and deliveries per minute where the vendor states them."""

    text: int = 2000
    per_minute: int | None = None


C = TypeVar("C", bound=Config)


class Connector(abc.ABC, Generic[C]):
    """One system. ``http`` is injected; derive a client for the system with ``http.to(base_url, ...)``."""

    manifest: ClassVar[Manifest]
    config_class: ClassVar[type[Config]]

    def __init__(self, config: C, http: Http) -> None:
        self.config = config
        self.http = http

    @abc.abstractmethod
    def check(self) -> Health:
        """Prove address and credentials; raises ConfigError or Retryable where nothing at all works."""


class CatalogSource(abc.ABC):
    """A catalogue of learning assets."""

    @abc.abstractmethod
    def pages(self, since: Checkpoint | None) -> Iterator[AssetPage]:
        """Walk the catalogue: from the start with None, else from after the page whose checkpoint is given."""


class Channel(abc.ABC):
    """A place where a prompt can be shown."""

    limits: ClassVar[ChannelLimits] = ChannelLimits()

    @abc.abstractmethod
    def deliver(self, prompt: Prompt, to: Recipient, *, idempotency_key: str) -> Receipt:
        """Show the prompt; the same key again must not show it twice."""

    @abc.abstractmethod
    def withdraw(self, receipt: Receipt) -> None:
        """Take a delivered prompt back; raises Unsupported where the system can't."""


class Trigger(abc.ABC):
    """Events by webhook."""

    #: The event types that ``parse`` makes; ``*`` when the sender names them.
    event_types: ClassVar[frozenset[str]]

    @abc.abstractmethod
    def verify(self, request: InboundRequest) -> None:
        """Check the signature on the raw bytes; raises SignatureInvalid. Called before anything is parsed."""

    @abc.abstractmethod
    def parse(self, request: InboundRequest) -> list[BusinessEvent]:
        """Read the events of a verified request; raises UnexpectedPayload naming the field."""

    def handshake(self, request: InboundRequest) -> Reply | None:
        """Answer a vendor's set-up request, or None when it is not one."""
        return None


class Poll(abc.ABC):
    """Events by asking; also the reconciliation of webhooks that lose some."""

    event_types: ClassVar[frozenset[str]]

    @abc.abstractmethod
    def events(self, since: Checkpoint | None) -> Iterator[EventPage]:
        """What happened after the checkpoint; with None only a checkpoint of now, and no events."""


class WriteBack(abc.ABC):
    """The outcome into the system of record."""

    @abc.abstractmethod
    def record(self, outcome: Outcome, *, idempotency_key: str) -> Receipt:
        """Write one outcome; the same key again must not write it twice."""


class Roster(abc.ABC):
    """People and their accounts."""

    @abc.abstractmethod
    def people(self, since: Checkpoint | None) -> Iterator[PeoplePage]:
        """Walk the people; each has one account, whose issuer is left empty."""


@dataclasses.dataclass(frozen=True, slots=True)
class Attached:
    """The content of an attachment; ``sha2`` is its SHA-256 in hex, ``content_type`` what its statement says."""

    sha2: str
    content_type: str
    content: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Statement:
    """A statement as it is sent: the exact bytes of one JSON object, the ``id`` in it, and what is attached to it."""

    id: str
    payload: bytes
    attachments: tuple[Attached, ...] = ()


class StatementSink(abc.ABC):
    """An LRS that statements are sent to."""

    @abc.abstractmethod
    def send(self, statements: Sequence[Statement]) -> None:
        """Store a batch of statements.

        Returns when the LRS has every one of them. Raises TooLarge when the batch has too many bytes, Rejected when it
        was refused (the caller halves it to find the one at fault), Retryable when the outcome is unknown, ConfigError
        when nothing will pass as it is.
        """


@dataclasses.dataclass(frozen=True, slots=True)
class StoredPage:
    """Statements as an LRS shows them; ``through`` is the time up to which it promises to show all it has stored."""

    statements: tuple[Mapping[str, Any], ...]
    through: dt.datetime | None


class StatementArchive(abc.ABC):
    """An LRS that shows what it has."""

    @abc.abstractmethod
    def stored(self, since: dt.datetime | None) -> Iterator[StoredPage]:
        """All statements that were stored there after ``since``, oldest first; voided ones are not among them."""

    @abc.abstractmethod
    def find(self, statement_id: str, *, voided: bool = False) -> Mapping[str, Any] | None:
        """One statement, or None where it has none under that id; ``voided`` asks among the voided ones."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that an examination tried: does it work, and what was found, or what to do about it, in words."""

    works: bool
    words: str


class Examinable(abc.ABC):
    """A system that can be examined in more depth than a check does."""

    @abc.abstractmethod
    def examine(self, *, write: bool) -> Iterator[Finding]:
        """Try, one by one, what can be wrong; with ``write`` also by storing something there and taking it back."""


CAPABILITIES: Mapping[str, type] = {
    "catalogue": CatalogSource,
    "channel": Channel,
    "trigger": Trigger,
    "poll": Poll,
    "write-back": WriteBack,
    "roster": Roster,
    "statements": StatementSink,
    "archive": StatementArchive,
    "examination": Examinable,
}


def capabilities_of(connector: type[Connector[Any]]) -> list[str]:
    """The names of what a connector can do, in the order of :data:`CAPABILITIES`."""
    return [name for name, capability in CAPABILITIES.items() if issubclass(connector, capability)]
