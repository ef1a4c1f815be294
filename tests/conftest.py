"""What every test can ask for: a ready runtime on SQLite or PostgreSQL, and a client of the web application."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog
from fastapi.testclient import TestClient
from playwright.sync_api import Browser
from xdist.scheduler import LoadScopeScheduling

from bridge.flows import setup
from bridge.flows.runtime import Runtime
from bridge.settings import Settings
from tests.browser.chromium import chromium

POSTGRES = "postgresql://postgres@127.0.0.1:5432"


#: What shares the queues of one broker, or real systems that take long to start, stays in one process.
_TOGETHER = {"workers": "brokers", "benchmarks": "brokers", "live": "live"}


class _ByFile(LoadScopeScheduling):
    """With several processes the tests of a file stay together: they share what its fixtures made."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return _TOGETHER.get(Path(path).parts[1], path)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _ByFile(config, log)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("FLOWBRIDGE_") and not name.endswith("_DIR")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FLOWBRIDGE_CONFIG", str(tmp_path / "no-such.toml"))


@pytest.fixture
def logs() -> Iterator[None]:
    """What a test sets up of logging is put back: its stream is closed by then."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def make_runtime(home: Path, **settings: object) -> Runtime:
    """A prepared runtime of its own."""
    values = {"home": home, "base_url": "http://bridge.test", "allow_private_peers": True, **settings}
    runtime = Runtime.start(Settings.load(**values))
    setup.prepare(runtime)
    return runtime


@pytest.fixture(scope="session", autouse=True)
def _each_key_is_derived_once() -> Iterator[None]:
    """Deriving keys is slow on purpose, and every runtime of the tests begins with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashlib, "scrypt", functools.cache(hashlib.scrypt))
        yield


@contextlib.contextmanager
def database(template: str = "template1") -> Iterator[str]:
    """The name of a PostgreSQL database of its own, made as a copy of another one."""
    name = f"flowbridge_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(f"{POSTGRES}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")  # type: ignore[call-overload]
        yield name
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[call-overload]


def url_of(name: str) -> str:
    return f"postgresql+psycopg://postgres@127.0.0.1:5432/{name}"


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for a module's tests; while it is open, its event loop is that of the main thread."""
    with chromium() as opened:
        yield opened


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """An empty PostgreSQL database of the test's own."""
    with database() as name:
        yield url_of(name)


@pytest.fixture(scope="session")
def fresh_database(fresh_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a database after its first start, to be copied; it belongs to ``fresh_home``."""
    home = Path(shutil.copytree(fresh_home, tmp_path_factory.mktemp("postgres") / "home"))
    with database() as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWBRIDGE_CONFIG", str(home / "no-such.toml"))
        make_runtime(home, database_url=url_of(name)).db.close()
        yield name


@pytest.fixture
def pg_runtime(tmp_path: Path, fresh_home: Path, fresh_database: str) -> Iterator[Runtime]:
    """A ready bridge on PostgreSQL."""
    home = Path(shutil.copytree(fresh_home, tmp_path / "home"))
    with database(template=fresh_database) as name:
        made = make_runtime(home, database_url=url_of(name))
        yield made
        made.db.close()


@pytest.fixture
def client(runtime: Runtime) -> Iterator[TestClient]:
    """A client of the web application over the runtime of the test."""
    from bridge.web.app import create_app

    with TestClient(create_app(runtime), base_url="http://bridge.test") as made:
        yield made
