"""The files in config/ hold what the program knows: every setting, and examples that it accepts."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from bridge.flows import configure
from bridge.flows.runtime import Runtime
from bridge.settings import Settings
from tests.docs.documents import ROOT

CONFIG = ROOT / "config"
_SETTING = re.compile(r"^# ([a-z_]+ = .+)$", re.MULTILINE)


@pytest.fixture
def uncommented(tmp_path: Path) -> Path:
    """The settings file with every default switched on."""
    text = (CONFIG / "flowbridge.toml").read_text(encoding="utf-8")
    file = tmp_path / "flowbridge.toml"
    file.write_text("\n".join(_SETTING.findall(text)), encoding="utf-8")
    return file


def test_the_settings_file_holds_every_setting_in_the_order_of_the_program(uncommented: Path) -> None:
    assert list(tomllib.loads(uncommented.read_text())) == list(Settings.model_fields)


def test_the_settings_file_shows_the_defaults(uncommented: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWBRIDGE_CONFIG", str(uncommented))
    shown, default = (
        Settings.load().model_dump(),
        {name: field.get_default() for name, field in Settings.model_fields.items()},
    )
    shown["secret_key"] = shown["secret_key"].get_secret_value() or None
    assert shown == default


def test_the_settings_file_changes_nothing_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tomllib.loads((CONFIG / "flowbridge.toml").read_text(encoding="utf-8")) == {}


def test_the_examples_are_accepted_together(runtime: Runtime) -> None:
    plan = configure.apply(runtime, CONFIG / "examples", dry_run=True)
    kinds = {change.kind for change in plan.changes}
    assert kinds == {"connection", "person", "rule"}


def test_the_examples_offer_what_their_connections_could_hold() -> None:
    """A rule that names an asset names it by a connection of the examples."""
    read = {
        file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in (CONFIG / "examples").glob("*.yaml")
    }
    names = {connection["name"] for connection in read["connections"]["connections"]}
    for rule in read["rules"]["rules"]:
        asset = rule["offer"].get("asset", "")
        assert not asset or asset.partition("/")[0] in names
    for person in read["people"]["people"]:
        assert set(person["accounts"]) <= names
