"""The pages about the connectors say what the connectors are today, and their examples work."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge import connector_docs, registry
from bridge.connect import capabilities_of
from bridge.connector_docs import DocsError
from bridge.flows import configure
from bridge.flows.runtime import Runtime
from bridge.secrets import secret_fields

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "connectors"
EXAMPLES = ROOT / "config" / "examples" / "connectors"
KEYS = [entry.key for entry in registry.entries() if entry.distribution == "flowbridge"]


def test_no_page_is_stale() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    made = connector_docs.pages(EXAMPLES)
    stale = sorted(name for name in written.keys() | made.keys() if written.get(name) != made.get(name))
    assert not stale, f"run `make docs` (python -m bridge.connector_docs docs/connectors): {', '.join(stale)}"


@pytest.mark.parametrize("key", KEYS)
def test_the_example_of_a_connector_is_accepted(key: str, runtime: Runtime) -> None:
    plan = configure.apply(runtime, EXAMPLES / f"{key}.yaml", dry_run=True)
    text = (EXAMPLES / f"{key}.yaml").read_text(encoding="utf-8")
    assert plan.changes and f"connector: {key}\n" in text


@pytest.mark.parametrize("key", KEYS)
def test_a_page_shows_every_setting_and_which_are_secret(key: str) -> None:
    connector = registry.find(key)
    page = connector_docs.pages(EXAMPLES)[f"{key}.md"]
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    assert set(connector.config_class.model_fields) <= set(rows)
    assert {name for name, row in rows.items() if "**secret**" in row} == set(secret_fields(connector.config_class))


@pytest.mark.parametrize("key", KEYS)
def test_the_matrix_marks_what_a_connector_can_do(key: str) -> None:
    index = connector_docs.pages(EXAMPLES)["index.md"].splitlines()
    (row,) = [line for line in index if f"]({key}.md)" in line]
    assert row.count("●") == len(capabilities_of(registry.find(key)))


def test_writing_takes_away_the_page_of_a_connector_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "betamax.md").write_text("once there was a connector")
    written = connector_docs.write(tmp_path, EXAMPLES)
    assert sorted(written) == sorted(tmp_path.glob("*.md")) and not (tmp_path / "betamax.md").exists()


def test_a_connector_without_an_example_is_told(tmp_path: Path) -> None:
    with pytest.raises(DocsError, match=r"has no example: write .*\.yaml"):
        connector_docs.pages(tmp_path)
