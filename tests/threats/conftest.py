"""One running app for all cases, and the count of them at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.threats.report import Tried, summary
from tests.threats.running import World, world

_TRIED = pytest.StashKey[list[Tried]]()


@pytest.fixture(scope="module")
def running() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> list[Tried]:
    """What has been tried, for the summary."""
    return request.config.stash.setdefault(_TRIED, [])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if tried := config.stash.get(_TRIED, []):
        terminalreporter.section("threats")
        terminalreporter.write_line("\n".join(summary(tried)))
