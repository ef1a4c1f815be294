"""What every test can ask for: a ready runtime on SQLite or PostgreSQL, and a client of the web application."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from fastapi.testclient import TestClient

from bridge.flows import setup
from bridge.flows.runtime import Runtime
from bridge.settings import Settings

POSTGRES = "postgresql://postgres@127.0.0.1:5432"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("FLOWBRIDGE_") and not name.endswith("_DIR")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FLOWBRIDGE_CONFIG", str(tmp_path / "no-such.toml"))


def make_runtime(home: Path, **settings: object) -> Runtime:
    """A prepared runtime of its own."""
    values = {"home": home, "base_url": "http://bridge.test", "allow_private_peers": True, **settings}
    runtime = Runtime.start(Settings.load(**values))
    setup.prepare(runtime)
    return runtime


@pytest.fixture(scope="session")
def fresh_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home after its first start, to be copied: keys and schema take longer to make than most tests run."""
    home = tmp_path_factory.mktemp("fresh") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWBRIDGE_CONFIG", str(home / "no-such.toml"))
        make_runtime(home).db.close()
    return home


@pytest.fixture
def runtime(tmp_path: Path, fresh_home: Path) -> Iterator[Runtime]:
    """A ready bridge on SQLite."""
    made = make_runtime(Path(shutil.copytree(fresh_home, tmp_path / "home")))
    yield made
    made.db.close()


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """An empty PostgreSQL database of the test's own."""
    name = f"flowbridge_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(f"{POSTGRES}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
        yield f"postgresql+psycopg://postgres@127.0.0.1:5432/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[call-overload]


@pytest.fixture
def pg_runtime(tmp_path: Path, postgres_url: str) -> Iterator[Runtime]:
    """A ready bridge on PostgreSQL."""
    made = make_runtime(tmp_path / "home", database_url=postgres_url)
    yield made
    made.db.close()


@pytest.fixture
def client(runtime: Runtime) -> Iterator[TestClient]:
    """A client of the web application over the runtime of the test."""
    from bridge.web.app import create_app

    with TestClient(create_app(runtime), base_url="http://bridge.test") as made:
        yield made
