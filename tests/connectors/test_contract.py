"""Every connector that is registered has a test class with the suite of each of its capabilities."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import connectors
from bridge.connect import capabilities_of
from bridge.connect.testing import ENTRY_POINTS, ConnectorContract, covered_capabilities

HERE = Path(__file__).parent
PROJECT = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REGISTERED: dict[str, str] = PROJECT["entry-points"][ENTRY_POINTS]


def contract_classes(file: Path) -> Iterator[type[ConnectorContract]]:
    spec = importlib.util.spec_from_file_location(f"contract_of_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    for _, found in inspect.getmembers(module, inspect.isclass):
        if issubclass(found, ConnectorContract) and found.__name__.startswith("Test"):
            yield found


@functools.cache
def every_contract_class() -> list[type[ConnectorContract]]:
    return [found for file in sorted(HERE.glob("test_*.py")) for found in contract_classes(file)]


@pytest.mark.parametrize("name", REGISTERED)
def test_a_registered_connector_passes_the_suite_of_each_capability(name: str) -> None:
    module, _, attribute = REGISTERED[name].partition(":")
    connector = getattr(importlib.import_module(module), attribute)
    tests = [found for found in every_contract_class() if found.connector_class is connector]
    assert tests, f"the connector {name} has no test class in tests/connectors that subclasses its contract suites"
    covered = {capability for found in tests for capability in covered_capabilities(found)}
    missing = [capability for capability in capabilities_of(connector) if capability not in covered]
    assert not missing, f"no test class of the connector {name} subclasses the suite for: {', '.join(missing)}"


def test_a_connector_module_is_registered() -> None:
    """A module that nobody can name in a connection would be dead."""
    modules = {f"connectors.{module.name}" for module in pkgutil.iter_modules(connectors.__path__)}
    registered = {target.partition(":")[0] for target in REGISTERED.values()}
    assert modules and not modules - registered
