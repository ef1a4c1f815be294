"""Every case of the list against the running app, in the role that it names."""

from __future__ import annotations

import pytest

from tests.threats.cases import OURS, Case, load
from tests.threats.report import Tried, attempt
from tests.threats.running import World


@pytest.mark.parametrize("case", load(OURS), ids=lambda case: case.name)
def test_case(case: Case, running: World, tried: list[Tried]) -> None:
    result = attempt(running, case)
    tried.append(result)
    assert not result.unknown, result.unknown
    assert not result.wrong, f"{case.text} must be: {case.must}. " + "; ".join(result.wrong)
    assert not result.note
