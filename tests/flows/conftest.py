"""A small organisation: Desk sends events, Guides is the catalogue, Sam sells, two people share an address."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from bridge.domain.events import BusinessEvent, PersonRef
from bridge.flows import configure, sync_catalogue
from bridge.flows.runtime import Runtime
from bridge.store import tables
from tests.conftest import make_runtime
from tests.flows import scripted
from tests.flows.forwarding import Lrs

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

CONFIGURATION = """
connections:
  - name: desk
    connector: webhook
    config: {secrets: ["%(secret)s"], sign_in_secret: "a sign-in secret of thirty-two bytes", origins: ["http://desk.test"]}
  - name: guides
    connector: files
    config: {path: "%(guides)s"}
people:
  - {key: E001, name: Sam Seller, email: sam@example.com, accounts: {desk: sam}}
  - {key: E002, name: Priya Planner, email: priya@example.com, accounts: {desk: priya}}
  - {key: E003, name: Twin One, email: twins@example.com}
  - {key: E004, name: Twin Two, email: twins@example.com}
rules:
  - name: enterprise-pricing
    on: desk.opportunity.created
    when: event.data.amount > 100000
    for: owner
    offer: {asset: guides/pricing.md}
    say: "Before you quote {{ event.data.customer }}, read this."
    through: [widget]
  - name: stakeholder-risk
    on: desk.project.created
    for: owner
    offer: {search: stakeholder, kinds: [checklist]}
    say: "Two minutes on stakeholder risk."
    limits: {once_per: person, cool_down: 7d, skip_if_completed_within: 90d}
"""

GUIDE = """---
title: Pricing for enterprises
kind: guide
duration: PT90S
tags: [pricing]
---
Anchor first, {{ event.data.customer }} will ask for a discount.
"""

CHECKLIST = """---
title: Stakeholder risk in two minutes
kind: checklist
duration: PT2M
---
- [ ] List who can say no
- [ ] Ask each what would make them say it
"""


def write_guides(folder: Path) -> Path:
    made = folder / "guides"
    made.mkdir()
    (made / "pricing.md").write_text(GUIDE)
    (made / "stakeholders.md").write_text(CHECKLIST)
    return made


@pytest.fixture
def guides(tmp_path: Path) -> Path:
    return write_guides(tmp_path)


def organise(runtime: Runtime, guides: Path, tmp_path: Path) -> Runtime:
    file = tmp_path / "flowbridge.yaml"
    file.write_text(CONFIGURATION % {"secret": SECRET, "guides": guides})
    configure.apply(runtime, file)
    sync_catalogue.sync(runtime, "guides")
    return runtime


@pytest.fixture(scope="session")
def organised_home(fresh_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the organisation, to be copied."""
    folder = tmp_path_factory.mktemp("organised")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWBRIDGE_CONFIG", str(folder / "no-such.toml"))
        made = make_runtime(Path(shutil.copytree(fresh_home, folder / "home")))
    organise(made, write_guides(folder), folder).db.close()
    return folder / "home"


@pytest.fixture
def organised(runtime: Runtime, organised_home: Path, guides: Path) -> Runtime:
    """The organisation on SQLite; its guides are the test's own."""
    runtime.db.close()
    shutil.copy(organised_home / "flowbridge.db", runtime.settings.home)
    with runtime.db.write() as session:
        of_guides = update(tables.Connection).where(tables.Connection.name == "guides")
        session.execute(of_guides.values(config={"path": str(guides)}))
    return runtime


@pytest.fixture
def event() -> Callable[..., BusinessEvent]:
    """Makes an event; every part can be replaced."""

    def make(**parts: Any) -> BusinessEvent:
        whole: dict[str, Any] = {
            "id": "evt-1",
            "type": "desk.opportunity.created",
            "source": "https://desk.test",
            "subject": "opportunity/42",
            "time": dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
            "data": {"amount": 250_000, "customer": "Hooli"},
            "people": {"owner": PersonRef(id="sam", email="sam@example.com")},
        }
        return BusinessEvent(**{**whole, **parts})

    return make


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> scripted.Script:
    """The connectors of ``tests.flows.scripted`` are installed, and do what this says."""
    scripted.install(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    scripted.current = scripted.Script()
    return scripted.current


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def each_runtime(request: pytest.FixtureRequest) -> Runtime:
    """A ready bridge, once on each database."""
    made: Runtime = request.getfixturevalue("runtime" if request.param == "sqlite" else "pg_runtime")
    return made


@pytest.fixture
def lrs() -> Iterator[Lrs]:
    """An LRS that answers as it is told to."""
    made = Lrs()
    yield made
    made.close()
