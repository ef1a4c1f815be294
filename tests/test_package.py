"""What users install: the wheel holds what the program needs and nothing that is somebody else's."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UV = Path(sys.executable).with_name("uv")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    build = [
        UV,
        "build",
        "--wheel",
        "--no-build-isolation",
        "--python",
        sys.executable,
        "--out-dir",
        out,
        "--quiet",
        ROOT,
    ]
    subprocess.run(build, check=True, timeout=120)
    (made,) = out.glob("*.whl")
    return made


def test_the_wheel_owns_three_packages_and_carries_their_data(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"bridge", "connectors", "workers"}
    for needed in (
        "bridge/py.typed",
        "bridge/store/migrations/env.py",
        "bridge/store/migrations/versions/0001_first_schema.py",
        "bridge/web/static/widget.js",
        "bridge/web/templates/base.html",
        "bridge/demo/content/de-escalation.md",
    ):
        assert needed in names, needed


def test_the_wheel_runs_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, python.parents[1]], check=True, timeout=60)
    install = [UV, "pip", "install", "--quiet", "--python", python, "--constraint", ROOT / "requirements.lock", wheel]
    subprocess.run(install, check=True, timeout=300)
    flowbridge = python.with_name("flowbridge")
    listed = subprocess.run([flowbridge, "connectors"], check=True, capture_output=True, text=True, timeout=60).stdout
    assert "moodle" in listed
    assert "BROKEN" not in listed
