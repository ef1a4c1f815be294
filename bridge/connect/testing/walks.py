"""Catalogues, rosters and polls: pages that can be resumed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from bridge.connect import AssetPage, Checkpoint, Person, Retryable
from bridge.connect.testing.connector import ConnectorContract
from bridge.connect.testing.golden import assert_declared, assert_golden, assert_sound
from bridge.connect.testing.played import Answers, everything, system_played_by


class _Walk(ConnectorContract):
    """What catalogues, rosters and polls have in common: pages that can be resumed."""

    def resumes(self, capability: str, walk: Callable[[Any, Checkpoint | None], Iterator[Any]], items: str) -> None:
        whole = self.walked(walk, None)
        for done, page in enumerate(whole, start=1):
            stored = json.loads(json.dumps(page.checkpoint))
            rest = self.walked(walk, stored)
            wanted = [item for left in whole[done:] for item in getattr(left, items)]
            given = [item for left in rest for item in getattr(left, items)]
            assert given == wanted, f"{capability}: resumed after page {done}"

    def walked(self, walk: Callable[[Any, Checkpoint | None], Iterator[Any]], since: Checkpoint | None) -> list[Any]:
        with system_played_by(self.answers):
            return list(walk(self.connector(), since))

    def keeps(self, capability: str, walk: Callable[[Any, Checkpoint | None], Iterator[Any]], items: str) -> None:
        whole = self.walked(walk, None)
        assert len(whole) > 1, f"the answers for the {capability} must make two pages or more"
        pages = walk(self.connector(), None)
        with system_played_by(self.answers):
            kept = [next(pages)]
        with system_played_by(everything(503)), contextlib.suppress(Retryable):
            kept += list(pages)
            assert capability in self.offline, f"{capability}: the second page failed without an error"
        kept += self.walked(walk, kept[-1].checkpoint)
        assert [getattr(page, items) for page in kept] == [getattr(page, items) for page in whole]


class CatalogContract(_Walk):
    """A catalogue. Give besides:

    - ``golden_assets``: the file with every asset of a walk through ``answers``, in order.

    The answers must make at least two pages: choose a small page size in ``config`` or give enough assets.
    """

    capability: ClassVar[str] = "catalogue"
    golden_assets: ClassVar[Path]

    def actions(self) -> dict[str, Callable[[Any], object]]:
        return {**super().actions(), "catalogue": lambda connector: list(connector.pages(None))}

    def catalogue(self) -> list[AssetPage]:
        return self.walked(lambda connector, since: connector.pages(since), None)

    def test_assets_are_as_recorded(self) -> None:
        assert_golden([asset for page in self.catalogue() for asset in page.assets], self.golden_assets)

    def test_asset_ids_are_there_and_unique(self) -> None:
        ids = [asset.external_id for page in self.catalogue() for asset in page.assets]
        assert ids and all(ids) and len(ids) == len(set(ids))

    def test_the_same_catalogue_twice_is_the_same(self) -> None:
        first, second = (
            [(asset.external_id, asset.fingerprint()) for page in self.catalogue() for asset in page.assets]
            for _ in range(2)
        )
        assert first == second

    def test_a_catalogue_is_resumed_after_any_page(self) -> None:
        self.resumes("catalogue", lambda connector, since: connector.pages(since), "assets")

    def test_a_failing_catalogue_page_keeps_those_before(self) -> None:
        self.keeps("catalogue", lambda connector, since: connector.pages(since), "assets")


class RosterContract(_Walk):
    """People. Give besides:

    - ``golden_people``: the file with every person of a walk through ``answers``, in order.

    The answers must make at least two pages.
    """

    capability: ClassVar[str] = "roster"
    golden_people: ClassVar[Path]

    def actions(self) -> dict[str, Callable[[Any], object]]:
        return {**super().actions(), "roster": lambda connector: list(connector.people(None))}

    def roster(self) -> list[Person]:
        pages = self.walked(lambda connector, since: connector.people(since), None)
        return [person for page in pages for person in page.people]

    def test_people_are_as_recorded(self) -> None:
        assert_golden(self.roster(), self.golden_people)

    def test_each_person_has_a_key_and_one_account_here(self) -> None:
        people = self.roster()
        keys, accounts = [person.key for person in people], [person.accounts for person in people]
        assert keys and all(keys) and len(keys) == len(set(keys))
        assert all(len(held) == 1 and held[0].id and not held[0].issuer for held in accounts)

    def test_a_roster_is_resumed_after_any_page(self) -> None:
        self.resumes("roster", lambda connector, since: connector.people(since), "people")

    def test_a_failing_roster_page_keeps_those_before(self) -> None:
        self.keeps("roster", lambda connector, since: connector.people(since), "people")


class PollContract(_Walk):
    """Events by asking. Give besides:

    - ``later``: what the system answers once something happened after the first poll; it must honour the checkpoint
      (a function among the answers can filter as the system does).
    - ``golden_events``: the file with the events that ``later`` makes, in order.
    """

    capability: ClassVar[str] = "poll"
    later: ClassVar[Answers]
    golden_events: ClassVar[Path]

    def actions(self) -> dict[str, Callable[[Any], object]]:
        return {**super().actions(), "poll": lambda connector: list(connector.events(self.checkpoint_of_now()))}

    def checkpoint_of_now(self) -> Checkpoint:
        pages = self.walked(lambda connector, since: connector.events(since), None)
        assert pages, "the first poll gives a page that holds the checkpoint"
        assert not [event for page in pages for event in page.events], "the first poll gives no events"
        stored: Checkpoint = json.loads(json.dumps(pages[-1].checkpoint))
        return stored

    def polled(self, since: Checkpoint) -> list[Any]:
        with system_played_by(self.later):
            return list(self.connector().events(json.loads(json.dumps(since))))

    def test_what_happened_since_becomes_the_recorded_events(self) -> None:
        events = [event for page in self.polled(self.checkpoint_of_now()) for event in page.events]
        assert events, "the later answers must hold something new"
        assert_golden(events, self.golden_events)
        assert_sound(events)

    def test_each_declared_event_type_is_polled(self) -> None:
        types = {event.type for page in self.polled(self.checkpoint_of_now()) for event in page.events}
        assert_declared(types, self.connector_class)

    def test_a_poll_gives_each_event_once_and_is_resumed_after_any_page(self) -> None:
        pages = self.polled(self.checkpoint_of_now())
        for done, page in enumerate(pages, start=1):
            rest = [event for left in self.polled(page.checkpoint) for event in left.events]
            assert rest == [event for left in pages[done:] for event in left.events], f"resumed after page {done}"
