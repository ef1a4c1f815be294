"""Tryton: new and changed records in, notes and link attachments with the launch link out, users as people.

Over Tryton's REST interface with the key of a user application; everything runs with the rights of that key's user.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from bridge.connect import (
    Account,
    BusinessEvent,
    Channel,
    Checkpoint,
    Config,
    ConfigError,
    Connector,
    EventPage,
    Health,
    Http,
    HttpUrl,
    Manifest,
    PeoplePage,
    Person,
    PersonRef,
    Poll,
    Prompt,
    Receipt,
    Recipient,
    Rejected,
    Roster,
    SecretStr,
    Unsupported,
)
from connectors.tryton.rest import Rest, Row, created, plain, written
from connectors.tryton.walk import Walk

RECORDS = ("sale.opportunity", "project.work", "sale.complaint")
FIELDS = (
    *("number", "reference", "name", "description", "state", "status", "type", "progress", "conversion_probability"),
    *("amount", "untaxed_amount", "total_amount", "currency", "party", "customer", "parent", "company"),
    *("date", "start_date", "end_date"),
)
#: The fields that name a record's owner, an employee: the first that is filled in counts.
OWNERS = ("employee", "submitted_by")
#: What to ask of a related record, where its name will not do.
PARTS = {"currency.currency": ("code",), "company.employee": ("rec_name", "party.email")}
_STAMPED = (
    *("create_date", "create_uid.login", "create_uid.email", "create_uid.rec_name"),
    *("write_date", "write_uid.login", "write_uid.email", "write_uid.rec_name"),
)
_RECORD = re.compile(r"([a-z0-9_]+(?:\.[a-z0-9_]+)*),([0-9]+)")


class TrytonConfig(Config):
    base_url: HttpUrl = Field(description="The server's address, without the database.")
    database: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    key: SecretStr = Field(min_length=1, description="Of a validated user application for REST.")
    records: tuple[str, ...] = Field(default=RECORDS, min_length=1, description="The models to watch.")
    fields: tuple[str, ...] = Field(default=FIELDS, description="What an event takes along, where a record has it.")


@dataclasses.dataclass(frozen=True)
class _Found:
    """A record that a walk met for the first time, or in a new state, or both."""

    row: Row
    new: bool
    changed: bool


class Tryton(Connector[TrytonConfig], Poll, Channel, Roster):
    """Tryton by its REST interface (https://docs.tryton.org/latest/server/topics/user_application.html).

    The key is that of a user application "REST" whose user may read the records to watch, and write to those that take
    prompts. A new record is a ``<model>.created``, a later write a ``<model>.updated``; who created or wrote it is the
    ``actor``, the user of the record's employee the ``owner``, each by login. Prompts can be taken back from a record
    that has lists of notes and attachments, as an opportunity has; from others only with an administrator's key.
    """

    manifest = Manifest(
        key="tryton",
        name="Tryton",
        summary="Watches opportunities, tasks and complaints; puts prompts on the record as a note and a link.",
        api_docs="https://docs.tryton.org/latest/server/",
        verified="live",
        proof="Polled, written to and taken back from on a Tryton 8.2 server, as administrator and as ordinary user.",
    )
    config_class = TrytonConfig
    event_types: ClassVar[frozenset[str]] = frozenset({"*"})

    def __init__(self, config: TrytonConfig, http: Http) -> None:
        super().__init__(config, http)
        self._home = str(config.base_url).rstrip("/")
        self._rest = Rest(http, self._home, config.database, config.key.get_secret_value())

    def check(self) -> Health:
        known = self._schemas()
        kinds = ("ir.note", "ir.attachment")
        access = self._rest.access([*kinds, *known])
        works, missing = ["the key is valid"], []
        for model in self.config.records:
            if model not in known:
                missing.append(f"there is no model {model}: activate its module, or take it out of `records`")
            elif not access[model].get("read"):
                missing.append(f"{model} can't be read: put the key's user in a group that may read it")
            elif not access[model].get("write") or not all(access[kind].get("create") for kind in kinds):
                missing.append(f"{model} can be read, but takes no prompts: the key's user needs write access to it")
            else:
                works.append(f"{model} can be read, and takes notes and attachments")
        return Health(tuple(works), tuple(missing))

    def events(self, since: Checkpoint | None) -> Iterator[EventPage]:
        """One walk over each model; the checkpoint holds how far each is known.

        A new record is ``<model>.created``, a later write ``<model>.updated``: writes between two polls make one event,
        with the record as it is then. What a transaction of more than an hour commits may be missed.
        """
        schemas = self._schemas()
        states = {model: state for model, state in (since or {}).items() if model in self.config.records}
        for model in self.config.records:
            if model not in schemas:
                raise ConfigError(
                    f"{self._rest.system} has no model {model}: activate its module, or take it out of `records`"
                )
            known = model in states
            walk = Walk.from_json(states[model]) if known else Walk.behind(self._newest(model))
            for found in self._steps(model, walk, _paths(schemas[model]), quiet=not known):
                if known or walk.after == 0:  # resumed in its middle, a first walk would take the rest for news
                    states = {**states, model: walk.to_json()}
                yield EventPage(tuple(self._events(model, schemas[model], found)), states)

    def deliver(self, prompt: Prompt, to: Recipient, *, idempotency_key: str) -> Receipt:
        """Attach the launch link, then add a note; the attachment's description carries the key."""
        model, number = _record(to.subject)
        resource, mark = f"{model},{number}", f"flowbridge {idempotency_key}"
        links = self._attached("ir.attachment", resource, ["link", "description"])
        attachment = next((row for row in links if row.get("description") == mark), None) or self._rest.create(
            "ir.attachment",
            {
                "resource": resource,
                "type": "link",
                "name": prompt.title,
                "link": prompt.launch_url,
                "description": mark,
            },
            ["link"],
        )
        link = str(attachment.get("link") or prompt.launch_url)
        notes = self._attached("ir.note", resource, ["message"])
        note = next((row for row in notes if link in (row.get("message") or "").split()), None) or self._rest.create(
            "ir.note", {"resource": resource, "message": f"{prompt.title}\n{prompt.say}\n{link}"}, ["resource"]
        )
        url = f"{self._home}/#{self.config.database}/model/{model}/{number}"
        return Receipt(f"{resource}/ir.note,{note['id']}/ir.attachment,{attachment['id']}", url)

    def withdraw(self, receipt: Receipt) -> None:
        """Delete the note and the attachment; what is gone already is fine.

        Tryton 8.2 lets only administrators delete them directly. Others delete through the record's own lists of notes
        and attachments, which counts as a change of the record; raises Unsupported where it has none.
        """
        resource, *attached = receipt.external_id.split("/")
        for part in attached:
            model, number = _record(part)
            if self._rest.http.request("DELETE", f"{model}/{number}", ok=(400, 404)).status_code == 400:
                self._unlink(resource, model, int(number))

    def people(self, since: Checkpoint | None) -> Iterator[PeoplePage]:
        """The active users, by login; with a checkpoint those that are new or changed since."""
        walk = Walk.from_json(since) if since else Walk()
        for found in self._steps("res.user", walk, ["login", "name", "email"]):
            yield PeoplePage(tuple(_person(each.row) for each in found), walk.to_json())

    def _schemas(self) -> dict[str, dict[str, str]]:
        """By watched model that exists: the wanted fields that it has, each with the model that it refers to or ''."""
        schemas: dict[str, dict[str, str]] = {}
        wanted = [*self.config.fields, *OWNERS, "id"]
        domain = [["model", "in", list(self.config.records)], ["name", "in", wanted]]
        for row in self._rest.search("ir.model.field", domain, ["model", "name", "relation"], limit=10_000):
            schemas.setdefault(str(row.get("model")), {})[str(row.get("name"))] = row.get("relation") or ""
        return schemas

    def _newest(self, model: str) -> list[Row]:
        """The record with the highest id, and the one that was written last."""
        stamps = ["create_date", "write_date"]
        orders = ([["id", "DESC"]], [["write_date", "DESC NULLS LAST"]])
        return [row for order in orders for row in self._rest.search(model, [], stamps, order=order, limit=1)]

    def _steps(self, model: str, walk: Walk, paths: Sequence[str], *, quiet: bool = False) -> Iterator[list[_Found]]:
        """Walk on, page by page: the records that are new or changed, or none of them when ``quiet``.

        A page is listed with its stamps alone, since the overlap shows most records many times.
        """
        done = False
        while not done:
            page = self._rest.search(model, walk.domain(), ["create_date", "write_date"], after=walk.after)
            ids = [row["id"] for row in page if walk.is_new(row) or walk.is_changed(row)]
            rows = [] if quiet or not ids else self._rest.search(model, [["id", "in", ids]], [*_STAMPED, *paths])
            found = [_Found(row, walk.is_new(row), walk.is_changed(row)) for row in rows]
            walk.see(page if quiet else rows)
            done = len(page) < self._rest.page_size
            walk.go_on(page, finished=done)
            yield found

    def _events(self, model: str, schema: Mapping[str, str], found: Sequence[_Found]) -> Iterator[BusinessEvent]:
        owners = self._owners([each.row for each in found], [name for name in OWNERS if name in schema])
        for row, verb, time, actor in (
            *((each.row, "created", created(each.row), "create_uid") for each in found if each.new),
            *((each.row, "updated", written(each.row), "write_uid") for each in found if each.changed),
        ):
            subject = f"{model},{row['id']}"
            data = {name: plain(row.get(name)) for name in schema if name in self.config.fields}
            people = {"actor": _user(row.get(actor)), "owner": owners.get(row["id"], PersonRef())}
            yield BusinessEvent(
                id=f"{subject}/{verb}" if verb == "created" else f"{subject}/{verb}/{time.isoformat()}",
                type=f"{model}.{verb}",
                source=f"{self._home}/{self.config.database}",
                time=time,
                subject=subject,
                data={name: value for name, value in data.items() if value is not None},
                people={role: person for role, person in people.items() if person},
            )

    def _owners(self, rows: Sequence[Row], fields: Sequence[str]) -> dict[int, PersonRef]:
        """By record id: the user of the employee who owns it; without exactly one user, the employee's e-mail."""
        owned: dict[int, Row] = {row["id"]: next((row[name] for name in fields if row.get(name)), {}) for row in rows}
        employees = sorted({employee["id"] for employee in owned.values() if employee})
        domain, wanted = [["employees", "in", employees]], ["login", "rec_name", "email", "employees"]
        users = self._rest.search("res.user", domain, wanted, limit=10_000) if employees else []
        return {
            record: _owner(employee, [user for user in users if employee["id"] in (user.get("employees") or ())])
            for record, employee in owned.items()
            if employee
        }

    def _attached(self, model: str, resource: str, fields: Sequence[str]) -> Iterator[Row]:
        """The notes or attachments of a record, the oldest first."""
        after = 0
        while True:
            rows = self._rest.search(model, [["resource", "=", resource]], fields, after=after, refused=Rejected)
            yield from rows
            if len(rows) < self._rest.page_size:
                return
            after = rows[-1]["id"]

    def _unlink(self, resource: str, model: str, number: int) -> None:
        if number not in {row["id"] for row in self._attached(model, resource, [])}:
            return
        parent, record = _record(resource)
        domain = [["model", "=", parent], ["relation", "=", model], ["ttype", "=", "one2many"]]
        lists = self._rest.search("ir.model.field", domain, ["name"])
        if not lists:
            raise Unsupported(
                f"{self._rest.system} lets only an administrator delete {model},{number} of {resource}:"
                " delete it there, or use the key of an administrator"
            )
        self._rest.http.request("PUT", f"{parent}/{record}", json={str(lists[0].get("name")): [["delete", [number]]]})


def _record(text: str) -> tuple[str, str]:
    found = _RECORD.fullmatch(text)
    if not found:
        raise Rejected(f"{text!r} names no record of Tryton: it must read like 'sale.opportunity,42'")
    return found[1], found[2]


def _paths(schema: Mapping[str, str]) -> list[str]:
    """The fields to ask for: of a related record the parts that say what it is."""
    plain_fields = [name for name, related in schema.items() if not related]
    return plain_fields + [
        f"{name}.{part}" for name, related in schema.items() if related for part in PARTS.get(related, ("rec_name",))
    ]


def _user(user: Row | None) -> PersonRef:
    user = user or {}
    return PersonRef(user.get("login") or "", user.get("email") or "", user.get("rec_name") or "")


def _owner(employee: Row, users: Sequence[Row]) -> PersonRef:
    user = _user(users[0] if len(users) == 1 else None)
    email = (employee.get("party") or {}).get("email") or ""
    return PersonRef(user.id, user.email or email, user.name or employee.get("rec_name") or "")


def _person(user: Row) -> Person:
    login = str(user.get("login") or user["id"])
    email, name = user.get("email") or "", user.get("name") or ""
    return Person(key=login, name=name, email=email, accounts=(Account("", login),))
