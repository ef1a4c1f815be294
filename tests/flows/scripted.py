"""Connectors that do what a test tells them to, and note what was asked of them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import SecretStr

from bridge import registry
from bridge.connect import (
    Asset,
    AssetKind,
    AssetPage,
    CatalogSource,
    Channel,
    ChannelLimits,
    Checkpoint,
    Config,
    Connector,
    EventPage,
    Health,
    Manifest,
    Opening,
    Outcome,
    Poll,
    Prompt,
    Receipt,
    Recipient,
    Statement,
    StatementArchive,
    StatementSink,
    StoredPage,
    WriteBack,
)

Turn = Receipt | BaseException | Callable[[], Receipt]


@dataclasses.dataclass
class Shelf:
    """What a scripted LRS has: each statement with the time when it was stored there, and those that are voided."""

    stored: dict[str, tuple[dt.datetime, dict[str, Any]]] = dataclasses.field(default_factory=dict)
    voided: set[str] = dataclasses.field(default_factory=set)
    through: dt.datetime | None = None
    #: What it answers before it does what it should: one for each request.
    answers: list[Exception | None] = dataclasses.field(default_factory=list)
    asked_since: list[dt.datetime | None] = dataclasses.field(default_factory=list)
    asked_for: list[str] = dataclasses.field(default_factory=list)

    def put(self, statement: dict[str, Any], at: dt.datetime | None = None) -> None:
        """Store a statement, with what it voids, as an LRS does."""
        self.stored.setdefault(statement["id"], (at or dt.datetime.now(dt.UTC), statement))
        if statement["verb"]["id"] == "http://adlnet.gov/expapi/verbs/voided":
            self.voided.add(statement["object"]["id"])

    def answer(self) -> None:
        following = self.answers.pop(0) if self.answers else None
        if following is not None:
            raise following


@dataclasses.dataclass
class Script:
    """What happens next, and what happened: pages from the checkpoint on, turns one after the other."""

    pages: list[AssetPage | BaseException] = dataclasses.field(default_factory=list)
    events: list[EventPage | BaseException] = dataclasses.field(default_factory=list)
    turns: list[Turn] = dataclasses.field(default_factory=list)
    asked_from: list[Checkpoint | None] = dataclasses.field(default_factory=list)
    delivered: list[tuple[str, Prompt, Recipient]] = dataclasses.field(default_factory=list)
    recorded: list[tuple[str, Outcome]] = dataclasses.field(default_factory=list)
    shelf: Shelf = dataclasses.field(default_factory=Shelf)

    def turn(self, key: str) -> Receipt:
        """Play the next turn; when there is none left, all goes well."""
        following = self.turns.pop(0) if self.turns else Receipt(f"receipt of {key}")
        if isinstance(following, BaseException):
            raise following
        return following if isinstance(following, Receipt) else following()

    def shown(self, pages: list[Any], since: Checkpoint | None) -> Iterator[Any]:
        self.asked_from.append(since)
        for page in pages[(since or {"page": 0})["page"] :]:
            if isinstance(page, BaseException):
                raise page
            yield page


#: The script of the running test.
current = Script()


class ScriptedConfig(Config):
    token: SecretStr | None = None
    wanted: int = 1


def _manifest(key: str) -> Manifest:
    return Manifest(
        key=key, name=key, summary="Plays a part in a test.", api_docs="", verified="emulator", proof="It is one."
    )


class Scripted(Connector[ScriptedConfig]):
    config_class = ScriptedConfig

    def check(self) -> Health:
        return Health(("it plays its part",))


class ScriptedLms(Scripted, CatalogSource, WriteBack):
    manifest = _manifest("scripted_lms")

    def pages(self, since: Checkpoint | None) -> Iterator[AssetPage]:
        yield from current.shown(current.pages, since)

    def record(self, outcome: Outcome, *, idempotency_key: str) -> Receipt:
        current.recorded.append((idempotency_key, outcome))
        return current.turn(idempotency_key)


class ScriptedCrm(Scripted, Poll, Channel):
    manifest = _manifest("scripted_crm")
    event_types: ClassVar[frozenset[str]] = frozenset({"*"})
    limits = ChannelLimits(text=40)

    def events(self, since: Checkpoint | None) -> Iterator[EventPage]:
        yield from current.shown(current.events, since)

    def deliver(self, prompt: Prompt, to: Recipient, *, idempotency_key: str) -> Receipt:
        current.delivered.append((idempotency_key, prompt, to))
        return current.turn(idempotency_key)

    def withdraw(self, receipt: Receipt) -> None:
        raise NotImplementedError


class ScriptedLrs(Scripted, StatementSink, StatementArchive):
    """Shows two statements a page."""

    manifest = _manifest("scripted_lrs")

    def send(self, statements: Sequence[Statement]) -> None:
        current.shelf.answer()
        for statement in statements:
            current.shelf.put(json.loads(statement.payload))

    def stored(self, since: dt.datetime | None) -> Iterator[StoredPage]:
        shelf = current.shelf
        shelf.asked_since.append(since)
        shown = sorted(shelf.stored.items(), key=lambda item: item[1][0])
        found = [one for of, (at, one) in shown if of not in shelf.voided and (since is None or at > since)]
        for start in range(0, max(len(found), 1), 2):
            shelf.answer()
            yield StoredPage(tuple(found[start : start + 2]), shelf.through)

    def find(self, statement_id: str, *, voided: bool = False) -> Mapping[str, Any] | None:
        shelf = current.shelf
        shelf.asked_for.append(statement_id)
        known = statement_id in shelf.stored and (statement_id in shelf.voided) is voided
        return shelf.stored[statement_id][1] if known else None


def install(folder: Path) -> None:
    """Make ``folder`` one where a distribution with these connectors is installed, and with a broken one."""
    about = folder / "scripted-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: scripted\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        f"[{registry.GROUP}]\nscripted_lms = {__name__}:ScriptedLms\nscripted_crm = {__name__}:ScriptedCrm\n"
        f"scripted_lrs = {__name__}:ScriptedLrs\n"
        f"broken = {__name__}:NoSuchConnector\n"
    )


def asset(number: int, **parts: Any) -> Asset:
    whole: dict[str, Any] = {
        "external_id": f"course-{number}",
        "kind": AssetKind.COURSE,
        "title": f"Course {number}",
        "opening": Opening.link(f"http://lms.test/course/{number}"),
    }
    return Asset(**{**whole, **parts})


def page(number: int, *assets: Asset, **parts: Any) -> AssetPage:
    return AssetPage(assets, {"page": number}, **parts)
