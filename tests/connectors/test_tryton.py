"""Tryton: replies recorded from Tryton 8.2.1 on SQLite, seen by a user who is no administrator."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.connect import BusinessEvent, ConfigError, Http, Recipient, Rejected, Retryable, Unsupported
from bridge.connect.testing import (
    PROMPT,
    Answer,
    ChannelContract,
    PollContract,
    RosterContract,
    everything,
    sent,
    system_played_by,
)
from connectors.tryton import Tryton, TrytonConfig
from connectors.tryton.rest import Rest, encoded_time

HERE = Path(__file__).parent / "tryton"
CONFIG = {"base_url": "https://tryton.example", "database": "prod", "key": "key-of-the-user-application"}
MODELS = ("sale.opportunity", "project.work", "sale.complaint")
DEAL = "sale.opportunity,5"

Table = list[dict[str, Any]]


def recorded(name: str) -> Any:
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def tables(when: str) -> dict[str, Table]:
    return {
        "ir.model.field": recorded("fields"),
        "res.user": recorded("users"),
        "ir.note": [],
        "ir.attachment": [],
        **{model: recorded(f"{model}.{when}") for model in MODELS},
    }


def value(given: Any) -> Any:
    if isinstance(given, dict) and given.get("__class__") == "datetime":
        return dt.datetime(**{unit: number for unit, number in given.items() if unit != "__class__"}, tzinfo=dt.UTC)
    return given


def fits(row: Mapping[str, Any], domain: list[Any]) -> bool:
    """Tryton's domains, as far as they are asked for."""
    if domain and domain[0] == "OR":
        return any(fits(row, part) for part in domain[1:])
    if not domain or not isinstance(domain[0], str):
        return all(fits(row, part) for part in domain)
    field, operator, wanted = domain
    held, wanted = value(row.get(field)), value(wanted)
    match operator:
        case "=":
            return bool(held == wanted)
        case "in":
            return any(item in wanted for item in held) if isinstance(held, list) else held in wanted
        case ">" | ">=":
            return held is not None and bool(held > wanted or (operator == ">=" and held == wanted))
    raise AssertionError(f"no such operator here: {operator}")


class Server:
    """Tryton's side: searches as it does, over recorded rows; with ``keeps`` it also stores and deletes."""

    def __init__(self, rows: dict[str, Table], *, keeps: bool = False, administrator: bool = False) -> None:
        self.tables, self.keeps, self.administrator = rows, keeps, administrator
        self.access = recorded("access")

    def __call__(self, request: requests.PreparedRequest) -> Answer:
        assert request.headers["Authorization"] == "bearer key-of-the-user-application"
        url = urlsplit(request.url or "")
        prefix, _, path = url.path.partition("/rest/model/")
        assert prefix == "/prod"
        model, _, record = path.partition("/")
        match request.method:
            case "GET":
                return Answer(json=self.found(model, parse_qs(url.query), request.headers["Range"]))
            case "POST" if record == "get_access":
                return Answer(json={name: self.access[name] for name in sent(request)["models"]})
            case "POST":
                return Answer(json=self.created(model, sent(request)))
            case "DELETE":
                return self.deleted(model, int(record))
        return self.unlinked(model, int(record), sent(request))

    def found(self, model: str, query: Mapping[str, list[str]], records: str) -> Table:
        domain, order = (json.loads(base64.urlsafe_b64decode(query[name][0])) for name in ("d", "o"))
        rows = [row for row in self.tables[model] if fits(row, domain)]
        [(field, direction)] = order
        known = [row for row in rows if row.get(field) is not None]
        known.sort(key=lambda row: value(row[field]), reverse=direction.startswith("DESC"))
        rows = known + [row for row in rows if row.get(field) is None]
        return rows[: int(records.removeprefix("records=0-"))]

    def created(self, model: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self.keeps:
            return dict(recorded(model.removeprefix("ir.")))
        row = {"id": 1 + max((row["id"] for row in self.tables[model]), default=0), **values}
        self.tables[model].append(row)
        return row

    def deleted(self, model: str, record: int) -> Answer:
        if not self.administrator:
            return Answer(status=400, json=recorded("refused_delete"))
        if not any(row["id"] == record for row in self.tables[model]):
            return Answer(status=404, text="Not Found")
        self.remove(model, record)
        return Answer(status=204)

    def unlinked(self, model: str, record: int, values: Mapping[str, Any]) -> Answer:
        for field, commands in values.items():
            assert field in ("notes", "attachments") and model == "sale.opportunity"
            for command, numbers in commands:
                assert command == "delete"
                for number in numbers:
                    if not any(row["id"] == number for row in self.tables[f"ir.{field[:-1]}"]):
                        return Answer(status=400, json={"message": f'records "{number}" that don\'t exist.'})
                    self.remove(f"ir.{field[:-1]}", number)
        return Answer(json={"id": record})

    def remove(self, model: str, record: int) -> None:
        self.tables[model][:] = [row for row in self.tables[model] if row["id"] != record]


def tryton(**changes: Any) -> Tryton:
    settings = TrytonConfig.model_validate({**CONFIG, **changes})
    return Tryton(settings, Http(system="Tryton", pause=lambda seconds: None))


@pytest.fixture(autouse=True)
def _short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rest, "page_size", 2)


def poll(server: Server, since: Any, **changes: Any) -> tuple[list[BusinessEvent], Any]:
    with system_played_by([server]):
        pages = list(tryton(**changes).events(since))
    return [event for page in pages for event in page.events], json.loads(json.dumps(pages[-1].checkpoint))


class TestTryton(PollContract, ChannelContract, RosterContract):
    connector_class = Tryton
    config: ClassVar = CONFIG
    answers = (Server(tables("before")),)
    later = (Server(tables("later")),)
    golden_events = HERE / "events.json"
    golden_people = HERE / "people.json"
    recipient = Recipient(subject=DEAL, account_id="ana")
    refusal = everything(400, json=recorded("refused_record"))

    def test_a_prompt_is_taken_back(self) -> None:
        """The note and the attachment, each by its own call."""
        receipt, _ = self.wire("key-1")
        with system_played_by([Server(tables("before"), administrator=True)]) as calls:
            self.connector().withdraw(receipt)
        assert [(call.method, urlsplit(call.url or "").path.rpartition("/model/")[2]) for call in calls] == [
            ("DELETE", "ir.note/13"),
            ("DELETE", "ir.attachment/10"),
        ]


def test_the_check_says_what_each_model_lacks() -> None:
    server = Server(tables("before"))
    server.access = recorded("access_guest")
    with system_played_by([server]):
        health = tryton(records=["project.work", "sale.complaint", "no.such"]).check()
    assert health.works == ("the key is valid",)
    work, complaint, unknown = health.missing
    assert "project.work" in work and "write access" in work
    assert "sale.complaint can't be read" in complaint
    assert "no model no.such" in unknown and "module" in unknown


def test_a_model_that_is_not_there_stops_the_poll() -> None:
    with system_played_by([Server(tables("before"))]), pytest.raises(ConfigError, match=r"no model no\.such"):
        list(tryton(records=["no.such"]).events(None))


@pytest.mark.parametrize(("status", "body"), [(400, "refused_read"), (404, "refused_delete")])
def test_what_may_not_be_read_stops_the_poll(status: int, body: str) -> None:
    with system_played_by(everything(status, json=recorded(body))), pytest.raises(ConfigError):
        list(tryton().events(None))


def test_a_field_that_was_not_asked_for_is_not_taken_along() -> None:
    _, start = poll(Server(tables("before")), None)
    events, _ = poll(Server(tables("later")), start, fields=["number", "amount"])
    assert {name for event in events for name in event.data} == {"number", "amount"}


def test_a_model_that_is_watched_later_begins_without_events() -> None:
    _, start = poll(Server(tables("before")), None, records=["project.work"])
    events, after = poll(Server(tables("later")), start)
    assert {event.type for event in events} == {"project.work.created"}
    assert poll(Server(tables("later")), after)[0] == []


def test_an_employee_of_two_users_is_known_by_mail_only() -> None:
    """Which of the two is meant can't be known, and people are never guessed."""
    rows = tables("later")
    [ana] = [user for user in rows["res.user"] if user["login"] == "ana"]
    rows["res.user"].append({**ana, "id": 99, "login": "ana2"})
    _, start = poll(Server(tables("before")), None)
    owners = {event.people["owner"] for event in poll(Server(rows), start)[0] if "owner" in event.people}
    assert {(owner.id, owner.email, owner.name) for owner in owners} == {("", "ana@example.com", "Ana Sales")}


def test_a_stamp_of_the_future_hides_nothing_that_comes_after() -> None:
    rows = tables("before")
    wrong = {
        **rows["sale.opportunity"][0],
        "id": 90,
        "create_date": encoded_time(dt.datetime(2990, 1, 1, tzinfo=dt.UTC)),
    }
    rows["sale.opportunity"].append(wrong)
    _, start = poll(Server(rows), None)
    rows["sale.opportunity"][0]["write_date"] = encoded_time(dt.datetime.now(dt.UTC))
    events, after = poll(Server(rows), start)
    assert [event.type for event in events] == ["sale.opportunity.updated"]
    assert poll(Server(rows), after)[0] == []


def test_a_record_of_a_transaction_of_hours_is_found_by_its_id() -> None:
    rows = tables("before")
    _, start = poll(Server(rows), None, records=["project.work"])
    long_ago = encoded_time(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    rows["project.work"].append({"id": 100, "create_date": long_ago, "write_date": None})
    events, after = poll(Server(rows), start, records=["project.work"])
    assert [event.id for event in events] == ["project.work,100/created"]
    assert poll(Server(rows), after, records=["project.work"])[0] == []


def test_an_import_of_thousands_leaves_a_small_checkpoint() -> None:
    """One transaction stamps them all alike."""
    rows = tables("before")
    _, start = poll(Server(rows), None, records=["project.work"])
    stamp = encoded_time(dt.datetime.now(dt.UTC))
    rows["project.work"] += [{"id": number, "create_date": stamp, "write_date": stamp} for number in range(100, 400)]
    events, after = poll(Server(rows), start, records=["project.work"])
    assert len(events) == 300 and len(json.dumps(after)) < 1000


def test_a_prompt_that_was_delivered_is_found_again() -> None:
    server = Server(tables("before"), keeps=True)
    with system_played_by([server]):
        first = tryton().deliver(PROMPT, Recipient(subject=DEAL), idempotency_key="key-1")
        again = tryton().deliver(PROMPT, Recipient(subject=DEAL), idempotency_key="key-1")
        other = dataclasses.replace(PROMPT, launch_url=PROMPT.launch_url + "x")
        second = tryton().deliver(other, Recipient(subject=DEAL), idempotency_key="key-2")
    assert first == again != second
    assert first.external_id == f"{DEAL}/ir.note,1/ir.attachment,1"
    assert first.url == "https://tryton.example/#prod/model/sale.opportunity/5"
    assert [note["message"].splitlines()[-1] for note in server.tables["ir.note"]] == [
        PROMPT.launch_url,
        other.launch_url,
    ]
    assert [(link["type"], link["name"], link["link"]) for link in server.tables["ir.attachment"]] == [
        ("link", PROMPT.title, PROMPT.launch_url),
        ("link", PROMPT.title, other.launch_url),
    ]


def test_a_delivery_that_broke_off_is_finished_once() -> None:
    """Whichever of the two was stored already, another ticket in the link notwithstanding."""
    server = Server(tables("before"), keeps=True)
    breaks = itertools.chain([True], itertools.repeat(False))

    def fragile(request: requests.PreparedRequest) -> Answer | None:
        note = request.method == "POST" and "ir.note" in str(request.url)
        return Answer(status=500) if note and next(breaks) else None

    with system_played_by([fragile, server]):
        with pytest.raises(Retryable):
            tryton().deliver(PROMPT, Recipient(subject=DEAL), idempotency_key="key-1")
        later = dataclasses.replace(PROMPT, launch_url="https://bridge.example/go/another")
        tryton().deliver(later, Recipient(subject=DEAL), idempotency_key="key-1")
    [link], [note] = server.tables["ir.attachment"], server.tables["ir.note"]
    assert link["link"] == PROMPT.launch_url and note["message"].endswith(PROMPT.launch_url)


@pytest.mark.parametrize("administrator", [True, False])
def test_a_prompt_is_taken_back_once(administrator: bool) -> None:
    rows = tables("before")
    rows["ir.model.field"] += [
        {"id": 1, "model": "sale.opportunity", "relation": f"ir.{name}", "ttype": "one2many", "name": f"{name}s"}
        for name in ("note", "attachment")
    ]
    server = Server(rows, keeps=True, administrator=administrator)
    with system_played_by([server]):
        receipt = tryton().deliver(PROMPT, Recipient(subject=DEAL), idempotency_key="key-1")
        tryton().withdraw(receipt)
        assert not server.tables["ir.note"] and not server.tables["ir.attachment"]
        tryton().withdraw(receipt)


def test_a_record_without_lists_of_notes_keeps_them() -> None:
    server = Server(tables("before"), keeps=True)
    with system_played_by([server]):
        receipt = tryton().deliver(PROMPT, Recipient(subject="project.work,4"), idempotency_key="key-1")
        with pytest.raises(Unsupported, match="administrator"):
            tryton().withdraw(receipt)


@pytest.mark.parametrize("subject", ["", "deal/4", "sale.opportunity", "sale.opportunity,4/..", "../x,4"])
def test_a_record_of_another_system_is_rejected(subject: str) -> None:
    with system_played_by(()), pytest.raises(Rejected, match="names no record of Tryton"):
        tryton().deliver(PROMPT, Recipient(subject=subject), idempotency_key="key-1")


def test_people_who_changed_since_are_given_again() -> None:
    rows = tables("before")
    with system_played_by([Server(rows)]):
        pages = list(tryton().people(None))
        rows["res.user"][1] |= {"email": "ana@new.example", "write_date": encoded_time(dt.datetime.now(dt.UTC))}
        changed = list(tryton().people(json.loads(json.dumps(pages[-1].checkpoint))))
    assert [(person.key, person.email) for page in changed for person in page.people] == [("ana", "ana@new.example")]


class Postgres(Server):
    """Tryton on PostgreSQL: ids are taken, and stamps set, when a transaction begins; rows are seen once committed."""

    def __init__(self) -> None:
        fields = [row for row in recorded("fields") if row["model"] == "project.work"]
        super().__init__({"ir.model.field": fields, "project.work": []})
        self.clock = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
        self.ids = itertools.count(1)
        self.open: list[dict[str, Any]] = []

    @property
    def rows(self) -> Table:
        return self.tables["project.work"]

    def stamp(self) -> dict[str, Any]:
        self.clock += dt.timedelta(seconds=1)
        return encoded_time(self.clock)

    def begin(self) -> None:
        self.open.append({"id": next(self.ids), "create_date": self.stamp(), "write_date": None})

    def commit(self, number: int) -> None:
        if self.open:
            self.rows.append(self.open.pop(number % len(self.open)))

    def write(self, number: int) -> None:
        if self.rows:
            self.rows[number % len(self.rows)]["write_date"] = self.stamp()

    def wait(self, minutes: int) -> None:
        """Time goes by; no transaction is open for an hour."""
        self.clock += dt.timedelta(minutes=minutes)
        soon = self.clock - dt.timedelta(minutes=30)
        for row in [row for row in self.open if value(row["create_date"]) < soon]:
            self.open.remove(row)
            self.rows.append(row)

    def news(self) -> set[str]:
        """The ids of the events of all that there is, each record in its last state."""
        created = {f"project.work,{row['id']}/created" for row in self.rows}
        written = {row["id"]: value(row["write_date"]) for row in self.rows if row["write_date"]}
        return created | {f"project.work,{record}/updated/{stamp.isoformat()}" for record, stamp in written.items()}


STEPS = st.lists(
    st.tuples(st.sampled_from(["begin", "begin", "commit", "write", "wait", "poll"]), st.integers(1, 20)),
    min_size=5,
    max_size=30,
)


def take(steps: Sequence[tuple[str, int]], server: Postgres) -> Iterator[int]:
    """Let things happen; yields where a poll is due, with the pages until it breaks off."""
    for name, number in steps:
        if name == "poll":
            yield number
        elif name == "begin":
            server.begin()
        else:
            getattr(server, name)(number)


@settings(max_examples=40, deadline=None)
@given(before=STEPS, after=STEPS)
@example(before=[("begin", 0), ("begin", 0), ("commit", 1)], after=[])
@example(before=[("begin", 0), ("commit", 0), ("write", 0)], after=[("wait", 1), ("write", 0), ("poll", 1)])
def test_nothing_is_lost_and_nothing_comes_twice(before: list[tuple[str, int]], after: list[tuple[str, int]]) -> None:
    """Transactions commit out of order, polls break off after any page, and go on from their last checkpoint."""
    server, told = Postgres(), []
    for _ in take(before, server):
        pass
    connector = tryton(records=["project.work"])
    with system_played_by([server]):
        first = [next(connector.events(None))]
        first += connector.events(json.loads(json.dumps(first[0].checkpoint)))
        checkpoint, old = first[-1].checkpoint, server.news()
        for pages in [*take(after, server), 1000]:
            for page in itertools.islice(connector.events(json.loads(json.dumps(checkpoint))), pages):
                told += [event.id for event in page.events]
                checkpoint = page.checkpoint
        while server.open:
            server.commit(0)
        told += [event.id for page in connector.events(json.loads(json.dumps(checkpoint))) for event in page.events]
    assert not [event for page in first for event in page.events], "the first poll, broken off or not, tells nothing"
    assert len(told) == len(set(told)), "an event came twice"
    assert not old & set(told), "what was there at the first poll is no news"
    assert server.news() - old <= set(told), "an event is lost"
