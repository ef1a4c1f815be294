"""The skeleton of a connector fails its suite until it is filled in; the one that CONTRIBUTING fills in passes."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bridge.cli import app
from bridge.connect import CAPABILITIES
from bridge.flows.errors import Invalid
from bridge.scaffold import new_connector
from tests.docs.documents import ROOT, blocks

TOOLS = Path(sys.executable).parent


def suite(folder: Path) -> dict[str, int]:
    """Run the tests of a folder; how many passed, failed and ended in an error."""
    run: list[str | Path] = [sys.executable, "-m", "pytest", "--quiet", "--tb=no", "-p", "no:cacheprovider", folder]
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    return {
        what: int(count) for count, what in re.findall(r"(\d+) (passed|failed|error)", done.stdout.splitlines()[-1])
    }


def source_tree(folder: Path) -> Path:
    """A folder that looks like flowbridge's own source tree."""
    (folder / "pyproject.toml").write_text('[project]\nname = "flowbridge"\n')
    return folder


def fill_in(folder: Path) -> None:
    """Write the files that CONTRIBUTING shows."""
    for block in blocks(ROOT / "CONTRIBUTING.md"):
        if name := block.words.get("file"):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")


def test_the_skeleton_fails_and_the_worked_example_passes(tmp_path: Path) -> None:
    project = tmp_path / "flowbridge-acme"
    made = new_connector("acme", project)
    assert [path.relative_to(project).as_posix() for path in made] == [
        "pyproject.toml",
        "flowbridge_acme.py",
        "tests/test_acme.py",
    ]
    before = suite(project)
    assert before["failed"] > before["passed"] and "error" not in before
    fill_in(tmp_path)
    after = suite(project)
    assert after == {"passed": before["failed"] + before["passed"]}


def test_the_worked_example_keeps_to_the_house_rules(tmp_path: Path) -> None:
    new_connector("acme", tmp_path / "flowbridge-acme")
    fill_in(tmp_path)
    project = tmp_path / "flowbridge-acme"
    strict: list[str | Path] = [
        TOOLS / "mypy",
        "--strict",
        "--no-incremental",
        "--config-file",
        ROOT / "pyproject.toml",
    ]
    ruff: list[str | Path] = [TOOLS / "ruff", "--isolated"]
    checks: list[list[str | Path]] = [
        [*strict, "flowbridge_acme.py"],
        [*ruff, "check", "--line-length", "120", "--select", "E,F,I,UP,B", "."],
        [*ruff, "format", "--line-length", "120", "--check", "."],
    ]
    for check in checks:
        done = subprocess.run(check, cwd=project, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_the_suite_of_each_capability_fails_on_its_skeleton(capability: str, tmp_path: Path) -> None:
    new_connector("acme_desk", tmp_path, [capability])
    counts = suite(tmp_path)
    assert counts["failed"] >= 15 and "error" not in counts, counts
    assert counts["passed"] <= 5, "what nobody has written can't pass"


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_a_skeleton_within_the_source_tree_is_formatted_and_sorted(capability: str, tmp_path: Path) -> None:
    made = new_connector("acme_desk", source_tree(tmp_path), [capability])
    assert [path.relative_to(tmp_path).as_posix() for path in made] == [
        "connectors/acme_desk.py",
        "tests/connectors/test_acme_desk.py",
    ]
    first_party = "lint.isort.known-first-party=['bridge','connectors']"
    rules = ["--isolated", "--line-length", "120", "--select", "E,F,I,UP,B,RUF", "--config", first_party]
    for check in (["check", *rules], ["format", "--isolated", "--line-length", "120", "--check"]):
        done = subprocess.run([TOOLS / "ruff", *check, *made], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_project_of_a_third_party_registers_its_connector(tmp_path: Path) -> None:
    new_connector("acme_desk", tmp_path)
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())["project"]
    assert project["name"] == "flowbridge-acme-desk"
    assert project["entry-points"]["flowbridge.connectors"] == {"acme_desk": "flowbridge_acme_desk:AcmeDesk"}


@pytest.mark.parametrize("name", ["", "Acme", "9lives", "acme-desk", "acme__desk", "class", "../acme", "acme_"])
def test_a_name_that_is_no_key_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="use lower-case letters"):
        new_connector(name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("can", [[], ["telepathy"]])
def test_capabilities_that_do_not_exist_are_refused(can: list[str], tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="a connector can catalogue, channel"):
        new_connector("acme", tmp_path, can)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_acme.py").write_text("mine")
    with pytest.raises(Invalid, match="is there already"):
        new_connector("acme", tmp_path)
    assert [path.name for path in tmp_path.rglob("*.py")] == ["test_acme.py"]
    assert (tmp_path / "tests" / "test_acme.py").read_text() == "mine"


def test_the_command_says_what_it_wrote_and_what_is_left_to_do(tmp_path: Path) -> None:
    source_tree(tmp_path)
    arguments = ["connectors", "new", "acme", "--folder", str(tmp_path), "--can", "catalogue", "--can", "write-back"]
    said = CliRunner().invoke(app, arguments)
    assert said.exit_code == 0, said.output
    assert f"{tmp_path}/connectors/acme.py" in said.output
    assert 'add acme = "connectors.acme:Acme" to the entry points' in said.output
    assert "CatalogSource, WriteBack)" in (tmp_path / "connectors" / "acme.py").read_text()
