"""Dockerfile and compose.yaml name what exists: settings, commands and their options, files. They are not run here."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer.main
import yaml

from bridge.cli import app
from bridge.settings import Settings
from tests.docs.documents import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
OURS = {name: service for name, service in COMPOSE["services"].items() if "build" in service}
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SETTINGS = {f"FLOWBRIDGE_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("name", OURS)
def test_a_service_runs_a_command_that_exists(name: str) -> None:
    command: Any = typer.main.get_command(app)
    words = [str(word) for word in OURS[name]["command"]]
    while words and not words[0].startswith("-") and hasattr(command, "commands"):
        assert words[0] in command.commands, f"there is no command {words[0]}"
        command = command.commands[words.pop(0)]
    command.make_context(name, words)


@pytest.mark.parametrize("name", OURS)
def test_a_service_is_told_settings_that_exist(name: str) -> None:
    told = OURS[name]["environment"]
    assert set(told) <= SETTINGS
    checked = {key.removeprefix("FLOWBRIDGE_").lower(): value for key, value in told.items()}
    assert not Settings.load(**checked).embedded_broker, "web and worker are in different containers"


def test_web_and_worker_share_database_broker_and_key() -> None:
    assert OURS["web"]["environment"] == OURS["worker"]["environment"]
    assert "--beat" in OURS["worker"]["command"], "nothing else ticks"


def test_every_image_has_a_version() -> None:
    images = [service["image"] for service in COMPOSE["services"].values() if "image" in service]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert images and all(re.search(r":\d", image) for image in images)


def test_services_wait_for_services_that_exist() -> None:
    for service in OURS.values():
        assert set(service["depends_on"]) <= set(COMPOSE["services"])


def test_the_image_is_built_of_files_that_exist() -> None:
    copied = [
        word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()
    ]
    assert {"bridge", "connectors", "workers", "pyproject.toml"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
    assert set(re.findall(r"FLOWBRIDGE_[A-Z_]+", DOCKERFILE)) <= SETTINGS


def test_the_image_is_built_with_the_same_uv_as_everything() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (version,) = re.findall(r"^UV_VERSION := (\S+)$", makefile, re.MULTILINE)
    assert f"uv=={version} " in DOCKERFILE
