"""What is wrong with the installation, or with one connection, in words that say what to change."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
from collections.abc import Iterator

from sqlalchemy import make_url, select, text
from sqlalchemy.exc import SQLAlchemyError

from bridge.connect import ConnectorError, Examinable, Finding, Health
from bridge.flows.connection_problem import forget_problem
from bridge.flows.identity import find_connection
from bridge.flows.runtime import Runtime
from bridge.store import migrate, now, tables

DISTRIBUTION = "flowbridge"
#: What the wheel puts beside the packages of others.
TOP_LEVEL = ("bridge", "connectors", "workers")
#: A database whose clock is further off, in seconds, lets leases end too early or too late.
_SKEW = 5.0


def packages() -> Finding:
    """Are the wheel's packages its own? One that another distribution owns as well is overwritten by it."""
    owners = importlib.metadata.packages_distributions()
    for name in TOP_LEVEL:
        if others := sorted({owner for owner in owners.get(name, ()) if owner.lower() != DISTRIBUTION}):
            return _wrong(
                f"the package '{name}' is {DISTRIBUTION}'s and also that of {', '.join(others)}, which overwrite each"
                f" other: install {DISTRIBUTION} into a virtual environment of its own"
            )
    return _fine(f"the packages {', '.join(TOP_LEVEL)} are its own")


def database(runtime: Runtime) -> Iterator[Finding]:
    """Does the database answer, with this version's schema and the time of this machine?"""
    shown = make_url(runtime.settings.database).render_as_string(hide_password=True)
    try:
        current, head = migrate.current(runtime.db), migrate.head(runtime.db)
        skew = _clock_skew(runtime)
    except SQLAlchemyError as error:
        why = " ".join(str(getattr(error, "orig", None) or error).split())
        yield _wrong(f"the database {shown} does not answer: {why}. Start it, or change FLOWBRIDGE_DATABASE_URL")
        return
    yield _fine(f"the database {shown} answers")
    if current == head:
        yield _fine(f"its schema is this version's ({head})")
    else:
        yield _wrong(f"its schema is {current or 'empty'}, this version needs {head}: run `flowbridge db upgrade`")
    if skew is not None and abs(skew) > _SKEW:
        yield _wrong(f"its clock and this machine's differ by {abs(skew):.0f} s: set both by NTP")
    elif skew is not None:
        yield _fine("its clock and this machine's agree")


def _clock_skew(runtime: Runtime) -> float | None:
    """Seconds that the database's clock is ahead; None where it has none of its own."""
    if runtime.db.is_sqlite:
        return None
    with runtime.db.read() as session:
        theirs: dt.datetime = session.execute(text("select clock_timestamp()")).scalar_one()
    return (theirs - now()).total_seconds()


def connections(runtime: Runtime) -> Iterator[Finding]:
    """The check of each connection that is switched on."""
    with runtime.db.read() as session:
        enabled = select(tables.Connection).where(tables.Connection.enabled).order_by(tables.Connection.name)
        found = session.scalars(enabled).all()
    for connection in found:
        for finding in _checked(runtime, connection):
            yield Finding(finding.works, f"{connection.name}: {finding.words}")


def connection(runtime: Runtime, name: str, *, write: bool) -> Iterator[Finding]:
    """Examine one connection; where all of it works, what had stopped it is forgotten. Raises NotFound."""
    with runtime.db.read() as session:
        row = find_connection(session, name)
    if not row.enabled:
        yield _wrong("it is switched off: nothing is sent there until it is switched on")
    found = list(_examined(runtime, row, write=write))
    yield from found
    if row.problem and not all(one.works for one in found):
        yield _wrong(f"it is stopped: {row.problem}")
    elif row.problem:
        forget_problem(runtime, row)
        yield _fine(f"what had stopped it is over, it goes on ({row.problem})")


def _examined(runtime: Runtime, row: tables.Connection, *, write: bool) -> Iterator[Finding]:
    try:
        connector = runtime.connector(row)
    except ConnectorError as error:
        yield _wrong(str(error))
        return
    if isinstance(connector, Examinable):
        yield from connector.examine(write=write)
    else:
        yield from _checked(runtime, row)


def _checked(runtime: Runtime, row: tables.Connection) -> Iterator[Finding]:
    try:
        health: Health = runtime.connector(row).check()
    except ConnectorError as error:
        yield _wrong(str(error))
        return
    yield from map(_fine, health.works)
    yield from map(_wrong, health.missing)


def _fine(words: str) -> Finding:
    return Finding(works=True, words=words)


def _wrong(words: str) -> Finding:
    return Finding(works=False, words=words)
