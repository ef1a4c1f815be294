"""`flowbridge doctor`: the installation, or one connection; exit code 1 when something is wrong."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

import pytest
from sqlalchemy import update
from typer.testing import CliRunner, Result

from bridge import cli
from bridge.connect.testing import system_played_by
from bridge.flows import configure
from bridge.flows.runtime import Runtime
from bridge.settings import Settings
from bridge.store import tables
from tests.connectors.test_lrs_examination import Played

pytestmark = pytest.mark.usefixtures("logs")

LRS = """
connections:
  - {name: warehouse, connector: lrs, config: {endpoint: "https://lrs.example/data/xAPI", key: bridge, secret: env:LRS}}
"""


@pytest.fixture
def home(tmp_path: Path, fresh_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation with one connection to an LRS."""
    made = Path(shutil.copytree(fresh_home, tmp_path / "home"))
    monkeypatch.setenv("FLOWBRIDGE_HOME", str(made))
    monkeypatch.setenv("LRS", "Sjøkreps-57-secret")
    file = tmp_path / "lrs.yaml"
    file.write_text(LRS)
    runtime = Runtime.start(Settings.load())
    configure.apply(runtime, file)
    runtime.db.close()
    return made


def doctor(*arguments: str, lrs: Played | None = None) -> Result:
    with system_played_by([lrs or Played()]):
        return CliRunner().invoke(cli.app, ["doctor", *arguments])


def test_an_installation_in_order(home: Path) -> None:
    told = doctor()
    assert told.exit_code == 0 and "WRONG" not in told.output
    for words in ("packages", "database", "schema", "broker", "warehouse: "):
        assert words in told.output


def test_a_connection_in_order_is_left_clean(home: Path) -> None:
    played = Played()
    told = doctor("warehouse", "--write", lrs=played)
    assert told.exit_code == 0 and "voided" in told.output
    assert played.stored and not played.left


def test_what_is_wrong_is_counted_and_told(home: Path) -> None:
    told = doctor("warehouse", lrs=Played(versions=("2.0.0",)))
    assert told.exit_code == 1 and "WRONG  it answers to xAPI 2.0.0: set `version: 2.0.0`" in told.output
    assert doctor(lrs=Played(versions=("2.0.0",))).exit_code == 1


@pytest.mark.parametrize("mended", [True, False])
def test_what_was_stopped_goes_on_once_it_works(home: Path, mended: bool) -> None:
    runtime = Runtime.start(Settings.load())
    with runtime.db.write() as session:
        session.execute(update(tables.Connection).values(problem="the credentials are refused"))
    told = doctor("warehouse", lrs=Played() if mended else Played(versions=("2.0.0",)))
    assert ("it goes on" in told.output) == mended and (told.exit_code == 0) == mended
    with runtime.db.read() as session:
        problems = set(session.query(tables.Connection.problem).where(tables.Connection.name == "warehouse").all())
    runtime.db.close()
    assert problems == {(None,)} if mended else problems == {("the credentials are refused",)}


def test_a_broker_that_is_away_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWBRIDGE_BROKER_URL", "amqp://guest:top-secret@127.0.0.1:1//")
    told = doctor()
    assert told.exit_code == 1 and "FLOWBRIDGE_BROKER_URL" in told.output and "top-secret" not in told.output


def test_a_database_that_is_away_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWBRIDGE_DATABASE_URL", "postgresql+psycopg://me:top-secret@127.0.0.1:1/none")
    told = doctor()
    assert told.exit_code == 1 and "FLOWBRIDGE_DATABASE_URL" in told.output and "top-secret" not in told.output


def test_packages_of_another_distribution_are_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owners = {"bridge": ["flowbridge"], "connectors": ["flowbridge", "other-connectors"], "workers": ["flowbridge"]}
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: owners)
    told = doctor("warehouse")
    assert told.exit_code == 1 and "'connectors'" in told.output and "other-connectors" in told.output
    assert "lrs.example" not in told.output, "nothing else is tried"
