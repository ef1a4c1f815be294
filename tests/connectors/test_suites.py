"""The contract suites accept a sound connector and catch each fault that they are there for."""

from __future__ import annotations

import datetime as dt
import html
import inspect
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest
import requests
from pydantic import BaseModel, SecretStr, TypeAdapter

from bridge.connect import (
    Account,
    Asset,
    AssetKind,
    AssetPage,
    BusinessEvent,
    CatalogSource,
    Channel,
    Checkpoint,
    Config,
    ConfigError,
    Connector,
    ConnectorError,
    EventPage,
    Health,
    Http,
    InboundRequest,
    Manifest,
    Opening,
    Outcome,
    PeoplePage,
    Person,
    Poll,
    Prompt,
    Receipt,
    Recipient,
    Rejected,
    Roster,
    Statement,
    StatementSink,
    TooLarge,
    Trigger,
    UnexpectedPayload,
    Unsupported,
    WriteBack,
)
from bridge.connect.signing import verify_standard_webhook
from bridge.connect.testing import (
    Answer,
    Answers,
    CatalogContract,
    ChannelContract,
    ConnectorContract,
    PollContract,
    RosterContract,
    StatementSinkContract,
    TriggerContract,
    WriteBackContract,
    an_outcome,
    everything,
    sent,
)
from bridge.connect.testing import connector as suite

HERE = Path(__file__).parent / "example"
HOOK_SECRET = "whsec_c2VjcmV0LWZvci10ZXN0cy0xMjM0NTY3OA=="


class ExampleConfig(Config):
    token: SecretStr
    hook_secret: SecretStr


class _Row(BaseModel):
    id: str
    name: str = ""


class _Page(BaseModel):
    rows: list[_Row]
    next: int | None


class _Deal(BaseModel):
    id: int
    won_at: dt.datetime


_ROW, _PAGE, _DEALS = TypeAdapter(_Row), TypeAdapter(_Page), TypeAdapter(list[_Deal])


class Example(Connector[ExampleConfig], CatalogSource, Channel, Trigger, Poll, WriteBack, Roster, StatementSink):
    """A made-up system that has everything."""

    manifest = Manifest(
        key="example",
        name="Example",
        summary="A made-up system.",
        api_docs="https://example.com/api",
        verified="contract",
        proof="It exists in this test only.",
    )
    config_class = ExampleConfig
    event_types = frozenset({"deal.won"})

    def __init__(self, config: ExampleConfig, http: Http) -> None:
        super().__init__(config, http)
        token = config.token.get_secret_value()
        self.api = http.to("https://example.com", headers={"Authorization": f"Bearer {token}"}, secrets=(token,))

    def check(self) -> Health:
        return Health((f"the token belongs to {self.api.read(_ROW, 'GET', '/me').name}",))

    def rows(self, path: str, since: Checkpoint | None) -> Iterator[tuple[list[_Row], Checkpoint]]:
        at = (since or {"next": 1})["next"]
        while at is not None:
            page = self.api.read(_PAGE, "GET", path, params={"page": at})
            at = page.next
            yield page.rows, {"next": at}

    def pages(self, since: Checkpoint | None) -> Iterator[AssetPage]:
        for rows, done in self.rows("/courses", since):
            yield AssetPage(tuple(map(self.asset, rows)), done)

    def asset(self, row: _Row) -> Asset:
        opening = Opening.link(f"https://example.com/c/{row.id}")
        return Asset(external_id=row.id, kind=AssetKind.COURSE, title=row.name, opening=opening)

    def people(self, since: Checkpoint | None) -> Iterator[PeoplePage]:
        for rows, done in self.rows("/users", since):
            yield PeoplePage(tuple(map(self.person, rows)), done)

    def person(self, row: _Row) -> Person:
        return Person(key=f"E{row.id}", name=row.name, accounts=(Account("", row.id),))

    def deliver(self, prompt: Prompt, to: Recipient, *, idempotency_key: str) -> Receipt:
        text = f"<p>{html.escape(prompt.say)} <a href='{prompt.launch_url}'>open</a></p>"
        note = self.api.read(
            _ROW, "POST", f"/deals/{to.subject}/notes", json={"html": text}, idempotency_key=idempotency_key
        )
        return Receipt(note.id)

    def withdraw(self, receipt: Receipt) -> None:
        self.api.request("DELETE", f"/notes/{receipt.external_id}")

    def verify(self, request: InboundRequest) -> None:
        verify_standard_webhook((self.config.hook_secret.get_secret_value(),), request.headers, request.body)

    def parse(self, request: InboundRequest) -> list[BusinessEvent]:
        try:
            return [self.event(_Deal.model_validate_json(request.body))]
        except ValueError:
            raise UnexpectedPayload("Example sent something that is no deal") from None

    def event(self, deal: _Deal) -> BusinessEvent:
        return BusinessEvent(id=f"won-{deal.id}", type="deal.won", source="example", time=deal.won_at)

    def deals(self, after: int) -> list[_Deal]:
        return self.api.read(_DEALS, "GET", "/deals", params={"after": after})

    def events(self, since: Checkpoint | None) -> Iterator[EventPage]:
        if since is None:
            last = max((deal.id for deal in self.deals(0)), default=0)
            yield EventPage((), {"after": last})
            return
        after = since["after"]
        while deals := self.deals(after):
            after = deals[-1].id
            yield EventPage(tuple(map(self.event, deals)), {"after": after})

    def record(self, outcome: Outcome, *, idempotency_key: str) -> Receipt:
        path = f"/completions/{outcome.asset_external_id}/{outcome.account_id}"
        return Receipt(self.api.read(_ROW, "PUT", path, json={"done": outcome.completed}).id)

    def send(self, statements: Sequence[Statement]) -> None:
        if any(statement.attachments for statement in statements):
            raise Rejected("Example takes no attachments")
        headers = {"Content-Type": "application/json", "X-Experience-API-Version": "1.0.3"}
        body = b"[" + b",".join(statement.payload for statement in statements) + b"]"
        response = self.api.request("POST", "/statements", data=body, headers=headers, ok=(404, 405, 409, 413))
        if response.status_code == 413:
            raise TooLarge("Example answered 413 to POST: that is too much at once")
        if response.status_code in (404, 405):
            raise ConfigError(f"Example answered {response.status_code} to POST: there are no statements")
        if response.status_code == 409:
            self.compare(statements)
        elif response.status_code == 200 and not response.text.startswith("["):
            raise ConfigError("Example answered POST with no list of ids")

    def compare(self, statements: Sequence[Statement]) -> None:
        given = json.loads(statements[0].payload)
        kept = self.api.json("GET", "/statements", params={"statementId": given["id"]}) if len(statements) == 1 else {}
        if any(kept.get(name) != value for name, value in given.items()):
            raise Rejected("Example holds another statement under that id")


DEALS = [{"id": number, "won_at": f"2026-03-04T05:06:0{number}+00:00"} for number in range(1, 6)]


def deals(known: int) -> Callable[[requests.PreparedRequest], Answer | None]:
    """The deals of a system that has come to know the first ``known``, two at a time."""

    def answer(request: requests.PreparedRequest) -> Answer | None:
        if "/deals?" not in str(request.url):
            return None
        after = int(sent(request)["after"])
        return Answer(json=[deal for deal in DEALS[:known] if int(str(deal["id"])) > after][: 2 if after else 5])

    return answer


SYSTEM: Answers = (
    Answer(path="/me", json={"id": "1", "name": "the bridge"}),
    Answer(path="/courses", sends={"page": 1}, json={"rows": [{"id": "1", "name": "One"}], "next": 2}),
    Answer(path="/courses", sends={"page": 2}, json={"rows": [{"id": "2", "name": "Two"}], "next": None}),
    Answer(path="/users", sends={"page": 1}, json={"rows": [{"id": "1", "name": "Ana"}], "next": 2}),
    Answer(path="/users", sends={"page": 2}, json={"rows": [{"id": "2", "name": "Bob"}], "next": None}),
    Answer("POST", "/deals/42/notes", json={"id": "note-7"}),
    Answer("DELETE", "/notes/note-7", status=204),
    Answer("PUT", "/completions/1/2", json={"id": "done-1"}),
)


class TestExample(
    CatalogContract,
    RosterContract,
    PollContract,
    TriggerContract,
    ChannelContract,
    WriteBackContract,
    StatementSinkContract,
):
    connector_class = Example
    config: ClassVar = {"token": "token-for-tests", "hook_secret": HOOK_SECRET}
    answers = (*SYSTEM, deals(1))
    later = (*SYSTEM, deals(5))
    golden_assets, golden_people, golden_events = HERE / "assets.json", HERE / "people.json", HERE / "events.json"
    fixtures = HERE / "webhooks"
    recipient = Recipient(subject="42")
    markup = True
    outcome = an_outcome(asset_external_id="1", account_id="2")
    written: ClassVar = {"done": True}
    takes_attachments = False

    @pytest.fixture(autouse=True)
    def _registered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(suite, "registered_names", lambda connector: {"example"})


def run(tests: ConnectorContract, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one test of a suite with each of its parameters."""
    test = getattr(tests, name)
    given = {"monkeypatch": monkeypatch} if "monkeypatch" in inspect.signature(test).parameters else {}
    marks = [mark.args for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    for values in itertools.product(*(rows for _, rows in marks)):
        chosen = dict(given)
        for (names, _), value in zip(marks, values, strict=True):
            many = not isinstance(names, str)
            chosen |= dict(zip(names, value, strict=True)) if many else {names: value}
        test(**chosen)


class Slow(Example):
    """Waits for ever."""

    def check(self) -> Health:
        self.api.request("GET", "/me", timeout=None)
        return super().check()


class Talkative(Example):
    """Repeats what the system said, and keeps the token in the open."""

    def __init__(self, config: ExampleConfig, http: Http) -> None:
        super().__init__(config, http)
        self.token = config.token.get_secret_value()

    def check(self) -> Health:
        response = self.api.request("GET", "/me", ok=(400, 401, 500))
        raise Rejected(response.text)


class Careless(Example):
    """Takes every answer for a yes."""

    def check(self) -> Health:
        response = self.http.to("https://example.com").request("GET", "/me", ok=tuple(range(200, 600)))
        return Health((f"all is well ({response.status_code})",))


class Trusting(Example):
    """Takes every answer for what it should be."""

    def check(self) -> Health:
        return Health((f"the token belongs to {self.api.json('GET', '/me')['name']}",))


class Speechless(Example):
    def check(self) -> Health:
        super().check()
        return Health(("ok",))


class Forgetful(Example):
    """Begins again whatever the checkpoint says."""

    def rows(self, path: str, since: Checkpoint | None) -> Iterator[tuple[list[_Row], Checkpoint]]:
        return super().rows(path, None)

    def events(self, since: Checkpoint | None) -> Iterator[EventPage]:
        return super().events(since and {"after": 1})


class Greedy(Example):
    """Fetches all before it gives the first page."""

    def rows(self, path: str, since: Checkpoint | None) -> Iterator[tuple[list[_Row], Checkpoint]]:
        yield from list(super().rows(path, since))


class Restless(Example):
    """Makes ids of its own, new ones each time."""

    counter = itertools.count()

    def asset(self, row: _Row) -> Asset:
        return Asset(external_id=f"{next(self.counter)}", kind=AssetKind.COURSE, title=row.name, opening=None)

    def event(self, deal: _Deal) -> BusinessEvent:
        return BusinessEvent(id=f"{next(self.counter)}", type="deal.won", source="example", time=deal.won_at)


class Confused(Example):
    """Takes everybody for the same."""

    def asset(self, row: _Row) -> Asset:
        return Asset(external_id="1", kind=AssetKind.COURSE, title=row.name, opening=None)

    def person(self, row: _Row) -> Person:
        return Person(key="E1", accounts=(Account("example", row.id),))

    def event(self, deal: _Deal) -> BusinessEvent:
        return BusinessEvent(id=str(deal.id), type="deal.lost", source="example", time=deal.won_at.replace(tzinfo=None))


class Eager(Example):
    """Tells of everything that ever happened."""

    def events(self, since: Checkpoint | None) -> Iterator[EventPage]:
        return super().events(since or {"after": 0})


class Silent(Example):
    """Says that it did, and does not."""

    def deliver(self, prompt: Prompt, to: Recipient, *, idempotency_key: str) -> Receipt:
        return Receipt("note-7")

    def withdraw(self, receipt: Receipt) -> None:
        return None

    def record(self, outcome: Outcome, *, idempotency_key: str) -> Receipt:
        return Receipt("done-1")

    def verify(self, request: InboundRequest) -> None:
        return None

    def send(self, statements: Sequence[Statement]) -> None:
        return None


class Rude(Example):
    """Lets the text be markup, twice if need be, and refuses what it can't take back."""

    def deliver(self, prompt: Prompt, to: Recipient, *, idempotency_key: str) -> Receipt:
        text = f"{prompt.say} {prompt.launch_url}"
        return Receipt(self.api.read(_ROW, "POST", f"/deals/{to.subject}/notes", json={"html": text}).id)

    def withdraw(self, receipt: Receipt) -> None:
        raise Unsupported("Example can't take a note back")

    def parse(self, request: InboundRequest) -> list[BusinessEvent]:
        return [self.event(_Deal(**json.loads(request.body)))]

    def send(self, statements: Sequence[Statement]) -> None:
        self.api.request("POST", "/statements", json=[json.loads(one.payload) for one in statements], ok=(409,))


class Patient(Example):
    """Verifies, but not when it was signed."""

    def verify(self, request: InboundRequest) -> None:
        secret, now = self.config.hook_secret.get_secret_value(), float(request.headers.get("webhook-timestamp") or 0)
        verify_standard_webhook((secret,), request.headers, request.body, now=now)


FAULTS = [
    (Slow, "test_the_check_says_what_works"),
    (Talkative, "test_secrets_are_in_no_error"),
    (Talkative, "test_secrets_are_in_no_representation"),
    (Careless, "test_an_error_says_what_the_bridge_does_next"),
    (Careless, "test_a_page_instead_of_data_names_the_system_and_the_call"),
    (Trusting, "test_an_answer_of_another_shape_is_told_apart"),
    (Speechless, "test_the_check_says_what_works"),
    (Forgetful, "test_a_catalogue_is_resumed_after_any_page"),
    (Forgetful, "test_a_roster_is_resumed_after_any_page"),
    (Forgetful, "test_a_poll_gives_each_event_once_and_is_resumed_after_any_page"),
    (Greedy, "test_a_failing_catalogue_page_keeps_those_before"),
    (Greedy, "test_a_failing_roster_page_keeps_those_before"),
    (Restless, "test_the_same_catalogue_twice_is_the_same"),
    (Restless, "test_assets_are_as_recorded"),
    (Restless, "test_a_repeated_request_makes_the_same_events"),
    (Restless, "test_what_happened_since_becomes_the_recorded_events"),
    (Confused, "test_asset_ids_are_there_and_unique"),
    (Confused, "test_people_are_as_recorded"),
    (Confused, "test_each_person_has_a_key_and_one_account_here"),
    (Confused, "test_each_declared_event_type_is_polled"),
    (Confused, "test_each_declared_event_type_has_a_fixture"),
    (Confused, "test_recorded_requests_become_the_recorded_events"),
    (Eager, "test_what_happened_since_becomes_the_recorded_events"),
    (Silent, "test_an_error_says_what_the_bridge_does_next"),
    (Silent, "test_a_network_failure_is_tried_again"),
    (Silent, "test_the_prompt_reaches_the_system"),
    (Silent, "test_the_idempotency_key_reaches_the_system"),
    (Silent, "test_a_busy_channel_says_when_to_come_back"),
    (Silent, "test_what_the_system_never_takes_is_rejected"),
    (Silent, "test_a_prompt_is_taken_back"),
    (Silent, "test_the_outcome_reaches_the_system"),
    (Silent, "test_an_outcome_that_is_refused_says_why"),
    (Silent, "test_a_changed_byte_is_refused"),
    (Silent, "test_a_request_without_a_signature_is_refused"),
    (Silent, "test_all_is_stored_when_the_answer_says_so"),
    (Silent, "test_a_refused_batch_is_rejected"),
    (Silent, "test_a_busy_lrs_says_when_to_come_back"),
    (Rude, "test_the_text_of_a_prompt_is_no_markup"),
    (Rude, "test_the_idempotency_key_reaches_the_system"),
    (Rude, "test_a_prompt_is_taken_back"),
    (Rude, "test_a_body_that_is_no_event_is_told_apart"),
    (Rude, "test_the_exact_bytes_are_sent"),
    (Rude, "test_the_version_header_is_sent"),
    (Rude, "test_a_wrong_address_stops_the_connection"),
    (Rude, "test_a_refused_batch_is_rejected"),
    (Rude, "test_a_page_instead_of_an_answer_gives_up_no_statement"),
    (Rude, "test_one_conflict_is_settled_by_reading_it"),
    (Patient, "test_a_stale_request_is_refused"),
]


@pytest.mark.parametrize(("faulty", "test"), FAULTS, ids=[f"{fault.__name__}-{test}" for fault, test in FAULTS])
def test_a_fault_is_caught(faulty: type[Example], test: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run(TestExample(), test, monkeypatch)
    tests = type("Faulty", (TestExample,), {"connector_class": faulty})()
    with pytest.raises((AssertionError, pytest.fail.Exception, ConnectorError, TypeError, KeyError, ValueError)):
        run(tests, test, monkeypatch)


def test_a_capability_without_its_suite_is_caught() -> None:
    """And a suite without its capability."""

    class Less(CatalogContract):
        connector_class = Example

    class More(CatalogContract, ChannelContract):
        connector_class = type("OnlyCatalogue", (Connector, CatalogSource), {})

    with pytest.raises(AssertionError, match="must also subclass the suites of"):
        Less().test_each_capability_has_its_suite_and_only_those()
    with pytest.raises(AssertionError, match=r"has no \['channel'\]"):
        More().test_each_capability_has_its_suite_and_only_those()


def test_a_request_that_nothing_was_recorded_for_fails_the_test() -> None:
    class Nothing(TestExample):
        answers = ()

    with pytest.raises(AssertionError, match=r"no recorded answer fits GET https://example\.com/me"):
        Nothing().test_the_check_says_what_works()


def test_a_missing_golden_file_fails_with_what_it_would_hold() -> None:
    class Fresh(TestExample):
        golden_assets = HERE / "not-there.json"

    with pytest.raises(AssertionError, match=r'(?s)is missing; the connector gave.*"title": "One"'):
        Fresh().test_assets_are_as_recorded()


def test_an_offline_connector_is_held_to_it() -> None:
    class Offline(TestExample):
        offline = frozenset({"check"})
        answers = (*everything(200, json={"id": "1", "name": "a"}),)

    with pytest.raises(AssertionError, match="made a call"):
        Offline().test_an_error_says_what_the_bridge_does_next()
    with pytest.raises(AssertionError, match="unless it is declared offline"):
        Offline().test_the_check_says_what_works()
