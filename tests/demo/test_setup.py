"""The demo's configuration: it is what `flowbridge apply` takes, and its scenes fit its content."""

from __future__ import annotations

import dataclasses
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from bridge import support
from bridge.demo import run
from bridge.demo.areas import AREAS, PEOPLE
from bridge.demo.records import Records
from bridge.domain.assets import Opening
from bridge.domain.events import BusinessEvent, PersonRef
from bridge.flows import accept_event, configure, decide_prompts, open_launch, sync_catalogue
from bridge.flows.runtime import Runtime
from bridge.store import tables

SETUP = Path(run.__file__).parent / "setup"
PORTS = run.Ports.beginning_with(21_000)


@pytest.fixture
def demo(runtime: Runtime, tmp_path: Path) -> Runtime:
    """A bridge that is set up as the demo's."""
    configure.apply(runtime, run.write_setup(tmp_path / "setup", PORTS, lrs_key="fb_key"))
    for catalogue in ("guides", "quiz"):
        sync_catalogue.sync(runtime, catalogue)
    return runtime


def test_the_files_are_taken_as_they_are_shipped(runtime: Runtime) -> None:
    plan = configure.apply(runtime, SETUP, dry_run=True)
    assert {change.kind for change in plan.changes} == {"connection", "person", "rule"}


def test_every_address_of_the_files_becomes_the_demos_own(tmp_path: Path) -> None:
    folder = run.write_setup(tmp_path, PORTS, lrs_key="fb_key")
    text = "".join(file.read_text() for file in sorted(folder.glob("*.yaml")))
    ports = set(map(int, re.findall(r"(?:127\.0\.0\.1|localhost):(\d+)", text)))
    assert ports == {PORTS.desk, PORTS.tool, PORTS.lrs}
    assert "fb_key" in text
    assert not re.search(r"(?m)^ +(secret|sign_in_secret): (?!\"env:)", text), "secrets come by the environment"


def test_a_second_start_finds_the_same_secrets(tmp_path: Path) -> None:
    first = run.prepare(tmp_path, PORTS)
    again = run.prepare(tmp_path, PORTS)
    assert again.secrets == first.secrets
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600
    assert first.password
    assert again.password not in ("", first.password)  # nobody has used it yet: a new one is printed
    assert first.secrets.webhook not in repr(first)
    assert first.password not in repr(first)
    greeting = run.greeting(again)
    assert greeting.index(PORTS.url("desk")) < greeting.index("/console/")
    assert again.password in greeting


@dataclasses.dataclass(frozen=True)
class Scene:
    """What somebody enters in Desk, into which state they bring it, and the help that this is to offer."""

    area: str
    fields: dict[str, Any]
    asset: str
    state: str = ""


DEAL = {"name": "n", "customer": "Kestrel", "contact": "c", "close_date": "2027-03-31"}
PROJECT = {"project": "p", "customer": "c", "sponsor": "s", "budget": 1, "start_date": "2027-03-31", "goal": "g"}
TICKET = {
    "subject": "s",
    "customer": "Alder Rail",
    "contact": "c",
    "contract_tier": "gold",
    "product": "Atlas Insight",
    "severity": "high",
    "description": "d",
}
SCENES = (
    Scene("opportunities", {**DEAL, "amount": 100_001}, "guides/enterprise-pricing.md"),
    Scene("opportunities", {**DEAL, "amount": 250_001}, "quiz/negotiating-under-pressure", "proposal"),
    Scene("projects", PROJECT, "guides/stakeholder-risk.md", "started"),
    Scene("tickets", {**TICKET, "kind": "complaint"}, "guides/de-escalation.md"),
    Scene("tickets", {**TICKET, "kind": "question"}, "guides/escalation-guide.md", "escalated"),
)


def told(scene: Scene, path: Path) -> BusinessEvent:
    """The newest event of a record that goes through the scene."""
    area = AREAS[scene.area]
    me = next(person for person in PEOPLE.values() if person.home == scene.area)
    records = Records(path)
    record = records.create(area, me, scene.fields, "http://desk.test")
    if scene.state:
        records.move(record, area.state(scene.state), me, {}, "http://desk.test")
    event = records.events(subject=record.subject)[0]
    people = {role: PersonRef(**ref) for role, ref in event.data["people"].items()}
    return BusinessEvent(
        id=event.id,
        type=event.type,
        source="desk",
        time=event.at,
        subject=event.subject,
        data=event.data,
        people=people,
    )


def offered(runtime: Runtime, event: BusinessEvent) -> list[tables.Prompt]:
    accept_event.accept(runtime, "desk", [event])
    decide_prompts.decide(runtime)
    query = select(tables.Prompt).where(tables.Prompt.offered)
    asset = joinedload(tables.Prompt.asset).joinedload(tables.Asset.connection)
    with runtime.db.read() as session:
        return list(session.scalars(query.options(asset)))


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.asset)
def test_each_scene_offers_its_help_with_every_fact_filled_in(demo: Runtime, tmp_path: Path, scene: Scene) -> None:
    event = told(scene, tmp_path / "desk.db")
    [prompt] = offered(demo, event)
    assert prompt.asset is not None
    assert prompt.person_id is not None
    assert f"{prompt.asset.connection.name}/{prompt.asset.external_id}" == scene.asset
    opening = Opening.from_json(prompt.asset.opening or {})
    if opening.text:
        facts = {"event": event.facts(), "person": {}, "prompt": {}}
        assert support.fill(support.parse(opening.text, name=scene.asset), facts).missing == ()
        assert open_launch.open_prompt(demo, prompt.id, prompt.person_id).html


@pytest.mark.parametrize(("amount", "count"), [(100_000, 0), (100_001, 1)])
def test_the_guide_is_for_large_deals_only(demo: Runtime, tmp_path: Path, amount: int, count: int) -> None:
    event = told(Scene("opportunities", {**DEAL, "amount": amount}, ""), tmp_path / "desk.db")
    assert len(offered(demo, event)) == count
