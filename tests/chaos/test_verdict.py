"""The judge finds every kind of fault: a chaos run that can't fail would prove nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import __main__ as program
from tests.chaos.plan import POISON, Statements
from tests.chaos.progress import Stuck
from tests.chaos.run import Outcome
from tests.chaos.sink import Lrs, words
from tests.chaos.verdict import Evidence, faults

STORED = [{"stored": name, "sha256": f"bytes of {name}"} for name in ("a", "b", "c")]
WELL = Evidence(
    stated={name: f"bytes of {name}" for name in ("a", "b", "c", "p")},
    poisoned={"p"},
    with_fact={"a", "p"},
    facts=["a", "p"],
    ledger={name: f"bytes of {name}" for name in ("a", "b", "c", "p")},
    receipts={**dict.fromkeys("abc", ("delivered", "")), "p": ("rejected", f"refused with 400: {words('p')}")},
    waiting=0,
    leases=0,
    log=[*STORED, {"again": "a"}, {"answered": "503"}, {"refused": "p"}],
)


def test_a_run_without_fault_is_judged_so() -> None:
    assert faults(WELL) == []
    assert (WELL.lost, WELL.doubled, WELL.dead) == (set(), set(), {"p"})


def receipts(**changed: tuple[str, str]) -> dict[str, tuple[str, str]]:
    return {**WELL.receipts, **changed}


def without(known: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in known.items() if key != name}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"log": [*STORED[1:], {"refused": "p"}]}, "1 are lost: a"),
        ({"log": [*STORED[1:], {"refused": "p"}]}, "1 have a receipt and are not at the sink: a"),
        ({"log": [*WELL.log, STORED[0]]}, "1 are doubled: a"),
        ({"log": [*WELL.log, {"conflict": "b", "sha256": "other bytes"}]}, "1 are doubled: b"),
        ({"log": [{"stored": "a", "sha256": "other bytes"}, *WELL.log[1:]]}, "1 were sent with other bytes than"),
        ({"log": [*WELL.log, {"stored": "x", "sha256": "?"}]}, "1 are at the sink and nobody stated them: x"),
        ({"log": [*WELL.log, {"stored": "p", "sha256": "bytes of p"}]}, "1 are at the sink without a receipt: p"),
        ({"log": [*WELL.log, {"broken": "it is no list"}]}, "the sink could not read a batch: it is no list"),
        ({"log": [line for line in WELL.log if "refused" not in line]}, "1 are dead letters and were never refused"),
        ({"receipts": without(WELL.receipts, "p")}, "1 are poisoned and no dead letters: p"),
        ({"receipts": receipts(p=("rejected", "refused"))}, "1 are dead letters without the sink's words: p"),
        ({"receipts": receipts(b=("rejected", words("b")))}, "1 are dead letters and not poisoned: b"),
        ({"receipts": without(WELL.receipts, "c")}, "1 are at the sink without a receipt: c"),
        ({"ledger": without(WELL.ledger, "b")}, "1 were stated and are not in the ledger: b"),
        ({"ledger": {**WELL.ledger, "x": "?"}}, "1 are in the ledger and nobody stated them: x"),
        ({"ledger": {**WELL.ledger, "b": "other"}}, "1 have other bytes in the ledger: b"),
        ({"facts": ["a"]}, "1 are not there together with their fact, once: p"),
        ({"facts": ["a", "a", "p"]}, "1 are not there together with their fact, once: a"),
        ({"facts": ["a", "b", "p"]}, "1 are not there together with their fact, once: b"),
        ({"waiting": 3}, "3 rows are still in the outbox"),
        ({"leases": 2}, "2 leases are left over"),
    ],
)
def test_every_kind_of_fault_is_found_and_named(change: dict[str, Any], found: str) -> None:
    assert any(line.startswith(found) for line in faults(dataclasses.replace(WELL, **change)))


@pytest.fixture
def lrs(tmp_path: Path) -> Lrs:
    return Lrs(tmp_path / "sink.log", seed=1, silences=0)


def logged(tmp_path: Path, what: str) -> list[str]:
    lines = map(json.loads, (tmp_path / "sink.log").read_text().splitlines())
    return [line[what] for line in lines if what in line]


def until(lrs: Lrs, status: int, *payloads: bytes) -> str:
    """Send until the sink is in no mood; returns what it says."""
    moods = {429, 503}
    answer = next(found for found, _ in iter(lambda: lrs.post(b"[" + b", ".join(payloads) + b"]"), None)
                  if found.status not in moods)  # fmt: skip
    assert answer.status == status
    return answer.body


STATEMENTS = Statements(count=10, poisoned=1, seconds=1)
[POISONED] = [number for number in range(10) if STATEMENTS.is_poisoned(number)]


def test_the_sink_keeps_the_bytes_of_each_statement_and_absorbs_repeats(lrs: Lrs, tmp_path: Path) -> None:
    until(lrs, 200, STATEMENTS.payload(0), STATEMENTS.payload(1))
    until(lrs, 200, STATEMENTS.payload(1))
    assert lrs.stored[STATEMENTS.id(0)].encode() == STATEMENTS.payload(0)
    assert logged(tmp_path, "stored") == [STATEMENTS.id(0), STATEMENTS.id(1)]
    assert STATEMENTS.id(1) in logged(tmp_path, "again")


def test_the_sink_takes_a_batch_whole_or_not_at_all(lrs: Lrs, tmp_path: Path) -> None:
    assert STATEMENTS.id(POISONED) in until(lrs, 400, STATEMENTS.payload(0), STATEMENTS.payload(POISONED))
    until(lrs, 400, STATEMENTS.payload(0), STATEMENTS.payload(0))
    until(lrs, 400, STATEMENTS.payload(0), b"no JSON")
    assert (lrs.stored, logged(tmp_path, "refused")) == ({}, [])
    until(lrs, 400, STATEMENTS.payload(POISONED))
    assert set(logged(tmp_path, "refused")) == {STATEMENTS.id(POISONED)}


def test_the_sink_never_takes_other_bytes_under_a_known_id(lrs: Lrs, tmp_path: Path) -> None:
    until(lrs, 200, STATEMENTS.payload(0))
    until(lrs, 409, STATEMENTS.payload(0).replace(b"exit 0", b"exit 9"), STATEMENTS.payload(1))
    assert set(logged(tmp_path, "conflict")) == {STATEMENTS.id(0)}
    assert lrs.stored.keys() == {STATEMENTS.id(0)}


def test_one_in_each_part_is_poisoned_and_each_way_has_its_share() -> None:
    statements = Statements(count=2_000, poisoned=4, seconds=1)
    poisoned = [number for number in range(2_000) if statements.is_poisoned(number)]
    assert [number // 500 for number in poisoned] == [0, 1, 2, 3]
    assert all((POISON.encode() in statements.payload(number)) == (number in poisoned) for number in range(2_000))
    by_way = [[number for step in statements.steps(way) for number in step] for way in ("ledger", "http")]
    assert [len(numbers) for numbers in by_way] == [1_500, 500]
    assert sorted(by_way[0] + by_way[1]) == list(range(2_000))


OUTCOME = Outcome("embedded", 1, 4, {}, {}, 1, 0, 0, 1, 1, 2.0, 2.0, [])


@pytest.mark.parametrize(("faulty", "code"), [([], 0), (["1 are lost: a"], 1)])
def test_the_command_prints_a_line_and_fails_where_there_is_a_fault(
    faulty: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "run", lambda *_: dataclasses.replace(OUTCOME, faults=faulty))
    assert program.main(["embedded"]) == code
    assert json.loads(capsys.readouterr().out)["faults"] == faulty


def test_the_command_fails_and_says_what_is_stuck(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stuck(*_: object) -> Callable[[], None]:
        raise Stuck("waited 420 s for an empty outbox: 7 wait")

    monkeypatch.setattr(program, "run", stuck)
    assert program.main(["embedded", "--seed", "3"]) == 1
    told = capsys.readouterr()
    assert (told.out, "seed 3" in told.err, "7 wait" in told.err) == ("", True, True)
