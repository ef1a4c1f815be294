"""`flowbridge demo --once`: the whole of it, and what it says when a hop is missing."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from bridge.demo import journey, run, visitors

HOPS = ("event", "rule", "prompt", "delivery", "launch", "outcome", "statement", "LRS receipt", "report row")


def test_every_hop_of_every_scene_is_seen() -> None:
    argv = [sys.executable, "-m", "bridge.cli", "demo", "--once"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for hop in HOPS:
        assert len(re.findall(rf"(?m)^  {hop} ", done.stdout)) == 5, hop
    uuid = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    assert re.search(rf"(?m)^  outcome +{uuid}  passed, from ags, score 80%$", done.stdout)
    assert re.search(rf"(?m)^  checklist +{uuid}  7 of 7 ticked$", done.stdout)
    assert re.search(rf"(?m)^  filled with +{uuid}  Alder Rail, TIC-\d+, gold,", done.stdout)


def test_a_demo_that_does_not_start_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextlib.contextmanager
    def nothing_runs(_demo: run.Prepared, log: Path) -> Iterator[None]:
        log.write_text("web    | it could not begin\n")
        yield

    monkeypatch.setattr(journey, "_running", nothing_runs)
    assert journey.play(tmp_path) == 1
    said = capsys.readouterr().err
    assert "NOT SEEN" in said
    assert "it could not begin" in said


class Office:
    """What the bridge would tell: one decision, whose parts a test sets."""

    def __init__(self, **decision: Any) -> None:
        whole = {"id": "p", "rule": "guide", "rule_version": 1, "offered": True, "launches": [], "deliveries": []}
        self.decision = {**whole, **decision}

    def chain(self, _event_id: str) -> dict[str, Any]:
        return {"prompts": [self.decision]}

    def in_lrs(self, _statement_id: str) -> dict[str, Any] | None:
        return None

    def report(self) -> list[dict[str, Any]]:
        return []


def launch(*receipts: str) -> dict[str, Any]:
    outcome = {"id": "o", "verb": "completed", "source": "page", "score": None}
    statement = {"id": "o", "verb": "completed", "receipts": [{"state": state} for state in receipts]}
    return {"id": "l", "how": "inline", "outcomes": [outcome], "statements": [statement]}


@pytest.mark.parametrize(
    ("office", "hop", "told"),
    [
        (Office(offered=False, reason="person_unknown"), "rule", "person_unknown"),
        (Office(rule="another"), "rule", "guide offered nothing"),
        (Office(), "outcome", "'launches': []"),
        (Office(launches=[launch()]), "statement", "'receipts': []"),
        (Office(launches=[launch("rejected")]), "statement", "rejected"),
        (Office(launches=[launch("delivered")]), "LRS receipt", "'in the LRS': None"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_hop_that_is_missing_is_named_with_what_there_was(
    monkeypatch: pytest.MonkeyPatch, office: Office, hop: str, told: str
) -> None:
    monkeypatch.setattr(visitors, "PATIENCE", 0.05)
    scene = journey.Scene(cast(Any, office), cast(Any, None), cast(Any, None), "deal", "guide", "Pricing")
    with pytest.raises(visitors.Broken) as broken:
        scene.evidence("event", "completed")
    assert broken.value.hop == hop
    assert told in str(broken.value)
