"""The benchmarks run, with next to nothing to do: their figures mean nothing here."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks import Figure, Size, __main__, forward, lrs
from tests.benchmarks.lti import launches, validation

TINY = Size(rounds=1, seconds=0.1, connections=2, people=2, statements=300, backlogs=(100, 200))


@pytest.mark.postgres
def test_whole_launches_are_measured_beside_their_bound() -> None:
    (figure,) = launches.run(TINY)
    assert figure.figure > 0
    assert figure.beside["bound"] > figure.figure


@pytest.mark.live
@pytest.mark.postgres
def test_launch_validation_is_measured_beside_both_peers() -> None:
    (figure,) = validation.run(TINY)
    assert all(value > 0 for value in (figure.figure, *figure.beside.values()))


@pytest.mark.live
@pytest.mark.postgres
def test_the_lrs_is_measured_beside_both_peers() -> None:
    figures = {figure.benchmark: figure for figure in lrs.run(TINY)}
    assert all(figure.figure > 0 for figure in figures.values())
    assert {name for name, figure in figures.items() if figure.target} == {"lrs.store.50", "lrs.find.agent_verb"}
    assert all(figures["lrs.store.50"].beside[peer] > 0 for peer in ("learning_locker", "ralph"))


@pytest.mark.live
@pytest.mark.postgres
def test_forwarding_is_measured_beside_the_limit_and_the_relative_on_both_databases() -> None:
    figures = {figure.benchmark: figure for figure in forward.run(TINY)}
    for kind in ("postgresql", "sqlite"):
        for workers in (1, 2):
            figure = figures[f"forward.{kind}.batch_100.workers_{workers}.beside_one_by_one"]
            assert all(figure.beside[name] > 0 for name in ("sink_limit", "one_by_one"))
            assert figure.figure > 0
        assert figures[f"forward.{kind}.into_learning_locker"].figure > 0
        assert figures[f"forward.{kind}.growth"].beside["waiting"] == 200
    assert figures["forward.postgresql.batch_500.workers_2.beside_limit"].target == 0.20


def test_a_figure_is_one_line_of_json_that_says_whether_its_target_is_met() -> None:
    line = Figure("some", 12.0, "things/s", {"a peer": 10.0}, ratio=1.2, target=1.0).line()
    assert json.loads(line) == {
        "benchmark": "some",
        "figure": 12.0,
        "unit": "things/s",
        "beside": {"a peer": 10.0},
        "ratio": 1.2,
        "target": 1.0,
        "met": True,
    }


def test_a_name_that_is_none_is_refused_with_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        __main__.main(["lit"])
    assert "invalid choice: 'lit' (choose from " in capsys.readouterr().err
    assert "lti" in __main__.names()
