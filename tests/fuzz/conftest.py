"""A running app for a whole module: an example of Hypothesis is too short for a bridge of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from bridge.flows.runtime import Runtime
from bridge.web.app import create_app
from tests.conftest import database, make_runtime, url_of


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def bridge(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, fresh_home: Path
) -> Iterator[Runtime]:
    home = Path(shutil.copytree(fresh_home, tmp_path_factory.mktemp("fuzz") / "home"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWBRIDGE_CONFIG", str(home / "no-such.toml"))
        if request.param == "sqlite":
            made = make_runtime(home)
            yield made
            made.db.close()
            return
        with database(template=request.getfixturevalue("fresh_database")) as name:
            made = make_runtime(home, database_url=url_of(name))
            yield made
            made.db.close()


@pytest.fixture(scope="module")
def server(bridge: Runtime) -> Iterator[TestClient]:
    """A client that sees our faults as the answers that others would get."""
    app = create_app(bridge)
    with TestClient(app, base_url="http://bridge.test", raise_server_exceptions=False) as client:
        yield client
