"""The first start, and every other: schema, keys, the first admin, the connection that events by API come through."""

from __future__ import annotations

import dataclasses

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from bridge.flows import identity
from bridge.flows.runtime import Runtime
from bridge.lti import keys
from bridge.store import migrate, tables

ADMIN_EMAIL = "admin@localhost"


@dataclasses.dataclass(frozen=True, slots=True)
class FirstStart:
    """What is told once: who the first admin is. The password must be replaced at the first sign-in."""

    email: str
    password: str


def prepare(runtime: Runtime) -> FirstStart | None:
    """Make the database ready for this version of the program; returns the first admin only when it made one."""
    runtime.settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    migrate.upgrade(runtime.db)
    keys.ensure(runtime)
    try:
        return _first_admin(runtime)
    except IntegrityError:
        return None  # another process of the same start was quicker: it tells who the admin is


def _first_admin(runtime: Runtime) -> FirstStart | None:
    with runtime.db.write() as session:
        admins = select(func.count()).select_from(tables.Person).where(tables.Person.role == "admin")
        if session.scalar(admins):
            return None
        admin = tables.Person(key="admin", name="Administrator", email=ADMIN_EMAIL, role="admin", built_in=True)
        password = identity.one_time_password(admin)
        session.add_all([admin, tables.Audit(actor="setup", action="person.create", subject="admin")])
    return FirstStart(ADMIN_EMAIL, password)
