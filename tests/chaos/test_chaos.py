"""The chaos run in its short form, on each set-up."""

from __future__ import annotations

import sys

import pytest

from tests.chaos.plan import SHORT
from tests.chaos.run import run

SEED = 5


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("rabbitmq", marks=[pytest.mark.rabbitmq, pytest.mark.postgres]),
        pytest.param("redis", marks=[pytest.mark.redis, pytest.mark.postgres]),
        "embedded",
    ],
)
def test_nothing_is_lost_or_doubled_whatever_breaks(name: str) -> None:
    print(f"{name}, seed {SEED}")
    outcome = run(name, SHORT, SEED, print)
    print(outcome.line())
    assert outcome.faults == []
    assert (outcome.lost, outcome.doubled, outcome.dead) == (0, 0, SHORT.statements.poisoned)
    missing = {"broker", "database"} if name == "embedded" else set()
    assert outcome.broken.keys() >= {"worker", "child", "leases", "broker", "database"} - missing
    assert outcome.answers.keys() >= {"503", "400 batch"}
