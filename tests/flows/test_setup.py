"""The first start: one admin, one password, however many processes begin at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select

from bridge.flows import identity, setup
from bridge.flows.runtime import Runtime
from bridge.flows.setup import FirstStart
from bridge.settings import Settings
from bridge.store import tables


def test_the_first_start_makes_one_admin_whose_password_is_told_once(runtime: Runtime) -> None:
    with runtime.db.write() as session:
        session.delete(session.scalars(select(tables.Person)).one())
    first = setup.prepare(runtime)
    assert first is not None
    _, admin = identity.sign_in(runtime, first.email, first.password)
    assert (admin.role, admin.must_change) == ("admin", True)
    assert setup.prepare(runtime) is None


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def test_of_all_that_start_at_once_one_tells_the_password(
    request: pytest.FixtureRequest, tmp_path: Path, database: str
) -> None:
    url = "" if database == "sqlite" else request.getfixturevalue("postgres_url")
    runtimes = [Runtime.start(Settings.load(home=tmp_path / "home", database_url=url)) for _ in range(4)]
    try:
        with ThreadPoolExecutor(4) as pool:
            told = [first for first in pool.map(setup.prepare, runtimes) if first is not None]
    finally:
        for runtime in runtimes:
            runtime.db.close()
    assert [type(first) for first in told] == [FirstStart]
