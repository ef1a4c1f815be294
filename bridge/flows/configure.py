"""Configuration as code: YAML in (`apply`), the same out (`export`); nothing changes when anything is invalid."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from bridge import registry
from bridge.connect import Channel, ConfigError
from bridge.documents import Document, DocumentError, Loc, load
from bridge.domain.rules import WIDGET
from bridge.flows.configuration import (
    ConfigurationDoc,
    ConnectionDoc,
    PersonDoc,
    RuleDoc,
    duration_text,
    parse,
    place,
    words,
)
from bridge.flows.runtime import Runtime
from bridge.secrets import secret_fields
from bridge.store import now, tables
from bridge.xapi import ledger

_HIDDEN, _CHANGED = "(hidden)", "(hidden, another one)"


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One difference: ``action`` is add or change; ``lines`` show it, secrets hidden."""

    action: str
    kind: str
    name: str
    lines: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What an apply changes, or changed."""

    changes: tuple[Change, ...]
    unchanged: int


def apply(runtime: Runtime, path: Path, *, dry_run: bool = False, actor: str = "cli") -> Plan:
    """Bring the configuration to what the YAML file or folder says; what it does not mention stays as it is.

    Raises DocumentError with file, line and what is allowed, and then changes nothing; ``dry_run`` only compares.
    """
    documents = [load(file, shown_as=shown) for file, shown in _files(path)]
    parsed = parse(documents)
    with runtime.db.write() as session:
        problems = list(_problems(runtime, session, parsed))
        if problems:
            raise DocumentError(problems)
        changes = list(_write(runtime, session, parsed))
        if dry_run:
            session.rollback()
        elif changes:
            detail = {"changes": [f"{change.action} {change.kind} {change.name}" for change in changes]}
            session.add(tables.Audit(actor=actor, action="configuration.apply", subject=path.name, detail=detail))
    total = sum(len(doc.connections) + len(doc.people) + len(doc.rules) for _, doc in parsed)
    return Plan(tuple(changes), total - len(changes))


def _files(path: Path) -> list[tuple[Path, str]]:
    if path.is_dir():
        found = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
        if not found:
            raise DocumentError([f"{path}: there is no .yaml file in this folder"])
        return [(file, file.name) for file in found]
    return [(path, path.name)]


def _problems(runtime: Runtime, session: Session, parsed: list[tuple[Document, ConfigurationDoc]]) -> Iterator[str]:
    """What no single part can know: names used twice, references to nothing, connectors' own settings."""
    connectors = {row.name: row.connector for row in session.scalars(select(tables.Connection))}
    connectors |= {item.name: item.connector for _, doc in parsed for item in doc.connections}
    seen: set[tuple[str, str]] = set()
    mentioned = {person.key for _, doc in parsed for person in doc.people}
    owners = select(tables.Account.issuer, tables.Account.subject, tables.Person.key).join(tables.Person)
    accounts: dict[tuple[str, str], str] = {
        (issuer, subject): key for issuer, subject, key in session.execute(owners) if key not in mentioned
    }
    for document, doc in parsed:
        for kind, key, items in (
            ("connections", "name", doc.connections),
            ("people", "key", doc.people),
            ("rules", "name", doc.rules),
        ):
            for number, item in enumerate(items):
                name = getattr(item, key)
                if (kind, name) in seen:
                    yield document.at((kind, number, key), f"'{name}' is there twice")
                seen.add((kind, name))
        for number, connection in enumerate(doc.connections):
            yield from _connection_problems(runtime, document, number, connection, connectors)
        for number, person in enumerate(doc.people):
            for issuer, subject in person.accounts.items():
                owner = accounts.setdefault((issuer, subject), person.key)
                if owner != person.key:
                    where = ("people", number, "accounts", issuer)
                    yield document.at(where, f"the account '{subject}' belongs to '{owner}' already")
        for number, rule in enumerate(doc.rules):
            for index, channel in enumerate(rule.through):
                yield from _channel_problems(document, ("rules", number, "through", index), channel, connectors)
    yield from _admin_problems(session, parsed)


def _admin_problems(session: Session, parsed: list[tuple[Document, ConfigurationDoc]]) -> Iterator[str]:
    """Somebody must be able to open the console, so the last admin stays one."""
    admins = set(session.scalars(select(tables.Person.key).where(tables.Person.role == "admin")))
    people = [(document, number, item) for document, doc in parsed for number, item in enumerate(doc.people)]
    if not people or admins - {item.key for _, _, item in people} or any(item.role == "admin" for _, _, item in people):
        return
    for document, number, item in people:
        if item.key in admins:
            where = ("people", number, "role")
            yield document.at(where, f"'{item.key}' is the last admin; give somebody the role 'admin' first")


def _connection_problems(
    runtime: Runtime, document: Document, number: int, item: ConnectionDoc, connectors: Mapping[str, str]
) -> Iterator[str]:
    where: Loc = ("connections", number)
    if item.name == WIDGET:
        yield document.at((*where, "name"), f"'{WIDGET}' is the bridge's own channel; choose another name")
    try:
        config_class = registry.find(item.connector).config_class
    except ConfigError as error:
        yield document.at((*where, "connector"), str(error))
        return
    hidden = secret_fields(config_class)
    try:
        config_class.model_validate(_with_stand_ins(item.config, hidden))
    except ValidationError as error:
        for e in error.errors():
            yield document.at(place(document, (*where, "config", *e["loc"])), words(e, config_class.model_fields))
    player = item.options.open_with
    if player and connectors.get(player) != "lti_tool":
        tools = ", ".join(sorted(name for name, key in connectors.items() if key == "lti_tool")) or "none yet"
        yield document.at((*where, "options", "open_with"), f"'{player}' is no LTI tool; there are: {tools}")
    if item.options.statements is not None and not ledger.is_sink(item.connector):
        message = f"no statements are sent to a connection of '{item.connector}'; this is for an LRS"
        yield document.at((*where, "options", "statements"), message)


def _with_stand_ins(config: Mapping[str, Any], hidden: frozenset[str]) -> dict[str, Any]:
    """References are not followed while checking: the machine that checks need not hold the secrets."""
    return {key: value if key not in hidden else _stand_in(value) for key, value in config.items()}


def _stand_in(value: Any) -> Any:
    if isinstance(value, list):
        return [_stand_in(item) for item in value]
    is_reference = isinstance(value, str) and value.startswith(("env:", "file:", "encrypted:"))
    return "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=" if is_reference else value


def _channel_problems(document: Document, where: Loc, channel: str, connectors: Mapping[str, str]) -> Iterator[str]:
    if channel == WIDGET:
        return
    able = sorted(name for name, key in connectors.items() if _is_channel(key))
    if channel not in able:
        yield document.at(where, f"'{channel}' shows no prompts; the channels are {', '.join([WIDGET, *able])}")


def _is_channel(connector: str) -> bool:
    try:
        return issubclass(registry.find(connector), Channel)
    except ConfigError:
        return False


def _write(runtime: Runtime, session: Session, parsed: list[tuple[Document, ConfigurationDoc]]) -> Iterator[Change]:
    for _, doc in parsed:
        for connection in doc.connections:
            yield from _write_connection(runtime, session, connection)
    session.flush()
    yield from _write_people(session, [person for _, doc in parsed for person in doc.people])
    for _, doc in parsed:
        for rule in doc.rules:
            yield from _write_rule(session, rule)


def _write_connection(runtime: Runtime, session: Session, item: ConnectionDoc) -> Iterator[Change]:
    config_class = registry.find(item.connector).config_class
    row = session.scalar(select(tables.Connection).where(tables.Connection.name == item.name))
    before = _connection_view(row) if row else None
    sealed = _sealed(runtime, item, row)
    if row is None:
        row = tables.Connection(name=item.name)
        session.add(row)
    options = item.options.model_dump(exclude_defaults=True, by_alias=True)
    changed = before is None or (row.connector, row.config, row.options, row.enabled) != (
        item.connector,
        sealed,
        options,
        item.enabled,
    )
    if not changed:
        return
    row.connector, row.config, row.options, row.enabled = item.connector, sealed, options, item.enabled
    row.problem, row.paused_until, row.failures, row.updated_at = None, None, 0, now()
    yield _change("connection", item.name, before, _connection_view(row), hidden=secret_fields(config_class))


def _sealed(runtime: Runtime, item: ConnectionDoc, row: tables.Connection | None) -> dict[str, Any]:
    """The configuration as it is stored; a clear secret that is sealed already keeps its seal, so nothing differs."""
    config_class = registry.find(item.connector).config_class
    sealed = runtime.vault.seal_config(config_class, item.config)
    stored = row.config if row is not None else {}
    for name in secret_fields(config_class) & sealed.keys() & stored.keys():
        try:
            old = runtime.vault.open_config(config_class, {name: stored[name]})
            new = runtime.vault.open_config(config_class, {name: sealed[name]})
        except ConfigError:
            continue  # a reference that does not lead anywhere here: what was given counts
        if old == new and _is_sealed(sealed[name]) and _is_sealed(stored[name]):
            sealed[name] = stored[name]
    return sealed


def _is_sealed(value: Any) -> bool:
    return all(_is_sealed(item) for item in value) if isinstance(value, list) else str(value).startswith("encrypted:")


def _write_people(session: Session, items: list[PersonDoc]) -> Iterator[Change]:
    """All of them at once, because an account may go from one to another."""
    keys = [item.key for item in items]
    rows = {row.key: row for row in session.scalars(select(tables.Person).where(tables.Person.key.in_(keys)))}
    before = {key: _person_view(row) for key, row in rows.items()}
    changed = [item for item in items if before.get(item.key) != _person_doc_view(item)]
    for item in changed:
        if item.key in rows:
            wanted = item.accounts.items()
            rows[item.key].accounts = [a for a in rows[item.key].accounts if (a.issuer, a.subject) in wanted]
    session.flush()
    for item in changed:
        row = rows.get(item.key) or tables.Person(key=item.key, attributes={}, accounts=[])
        session.add(row)
        _write_person(row, item)
        yield _change("person", item.key, before.get(item.key), _person_view(row))


def _write_person(row: tables.Person, item: PersonDoc) -> None:
    row.name, row.email, row.role, row.attributes = item.name, item.email, item.role, item.attributes
    row.built_in = False  # from now on it is the files that say who this is
    kept = {account.issuer for account in row.accounts}
    row.accounts += [
        tables.Account(issuer=issuer, subject=subject)
        for issuer, subject in item.accounts.items()
        if issuer not in kept
    ]


def _write_rule(session: Session, item: RuleDoc) -> Iterator[Change]:
    row = session.scalar(select(tables.Rule).where(tables.Rule.name == item.name))
    before = _rule_view(row) if row and row.removed_at is None else None
    definition = item.model_dump(by_alias=True, exclude_defaults=True, mode="json")
    if row is not None and row.removed_at is None and row.definition == definition:
        return
    if row is None:
        row = tables.Rule(name=item.name, version=0)
        session.add(row)
    row.version += 1
    row.event_type, row.definition, row.enabled, row.removed_at = item.on, definition, item.enabled, None
    yield _change("rule", item.name, before, _rule_view(row))


def _person_doc_view(item: PersonDoc) -> dict[str, Any]:
    return item.model_dump(exclude_defaults=True, mode="json")


def _connection_view(row: tables.Connection) -> dict[str, Any]:
    view: dict[str, Any] = {"name": row.name, "connector": row.connector}
    if not row.enabled:
        view["enabled"] = False
    if row.config:
        view["config"] = dict(row.config)
    if row.options:
        view["options"] = dict(row.options)
    return view


def _person_view(row: tables.Person) -> dict[str, Any]:
    accounts = {account.issuer: account.subject for account in sorted(row.accounts, key=lambda a: a.issuer)}
    whole = {
        "key": row.key,
        "name": row.name,
        "email": row.email,
        "role": row.role,
        "accounts": accounts,
        "attributes": row.attributes,
    }
    return {key: value for key, value in whole.items() if value}


def _rule_view(row: tables.Rule) -> dict[str, Any]:
    view = dict(row.definition)
    if limits := view.get("limits"):
        view["limits"] = {k: duration_text(v) if isinstance(v, int) else v for k, v in limits.items()}
    return view


def _change(
    kind: str, name: str, before: dict[str, Any] | None, after: dict[str, Any], hidden: frozenset[str] = frozenset()
) -> Change:
    old = _shown(before, hidden) if before else []
    new = _shown(after, hidden, before or after)
    lines = [line for line in difflib.ndiff(old, new) if line[0] in "+-"]
    return Change("change" if before else "add", kind, name, tuple(lines))


def _shown(view: dict[str, Any], hidden: frozenset[str], before: Mapping[str, Any] | None = None) -> list[str]:
    """The view as YAML lines; a secret is hidden, but not that it is another one than ``before``."""
    old = (before or view).get("config", {})

    def show(key: str, value: Any) -> Any:
        if key not in hidden:
            return value
        return _HIDDEN if old.get(key, value) == value else _CHANGED

    config = {key: show(key, value) for key, value in view.get("config", {}).items()}
    return _dump({**view, "config": config} if config else view).splitlines()


def export(runtime: Runtime) -> str:
    """The whole configuration as YAML that ``apply`` takes; secrets as references or sealed, never in clear."""
    with runtime.db.read() as session:
        connections = session.scalars(select(tables.Connection).order_by(tables.Connection.name))
        people = session.scalars(
            select(tables.Person).where(tables.Person.built_in.is_(False)).order_by(tables.Person.key)
        )
        rules = session.scalars(select(tables.Rule).where(tables.Rule.removed_at.is_(None)).order_by(tables.Rule.name))
        whole = {
            "connections": [_connection_view(row) for row in connections],
            "people": [_person_view(row) for row in people],
            "rules": [_rule_view(row) for row in rules],
        }
    return _dump({key: value for key, value in whole.items() if value})


def _dump(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
