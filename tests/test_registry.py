"""Connectors by entry point: other people's packages, whole and broken, installed beside ours."""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge import registry
from bridge.connect import ConfigError, Connector, Http, capabilities_of

CONNECTOR = """
    from typing import ClassVar, Literal
    from bridge.connect import Config, Connector, Health, Manifest, SecretStr

    class AcmeConfig(Config):
        token: SecretStr
        region: Literal["eu", "us"] = "eu"

    class Acme(Connector[AcmeConfig]):
        manifest = Manifest(
            key="KEY", name="Acme", summary="-", api_docs="https://x.example", verified="contract", proof="-"
        )
        config_class = AcmeConfig

        def check(self):
            return Health(("fine",))
"""
NUMBERS = itertools.count()
Install = Callable[..., str]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a distribution with one connector, as pip leaves it; returns the connector's key."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def installed(code: str = CONNECTOR, *, key: str = "", target: str = "Acme") -> str:
        number = next(NUMBERS)
        key = key or f"acme_{number}"
        (tmp_path / f"acme_module_{number}.py").write_text(textwrap.dedent(code).replace("KEY", key))
        info = tmp_path / f"acme_dist_{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: acme-dist-{number}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[flowbridge.connectors]\n{key} = acme_module_{number}:{target}\n")
        monkeypatch.syspath_prepend(str(tmp_path / f"nothing_{number}"))  # an import path that was not read before
        return key

    return installed


def entry(key: str) -> registry.Entry:
    [found] = [entry for entry in registry.entries() if entry.key == key]
    return found


def test_our_connectors_are_found() -> None:
    found = {entry.key: entry for entry in registry.entries()}
    for key in ("files", "kolibri", "lrs", "lti_platform", "lti_tool", "moodle", "tryton", "webhook"):
        assert not found[key].problem and found[key].distribution == "flowbridge"
        assert found[key].connector is registry.find(key)


def test_a_connector_of_another_distribution_is_found(install: Install) -> None:
    key = install()
    assert entry(key).distribution.startswith("acme-dist-") and not entry(key).problem
    built = registry.build(key, {"token": "t"}, http=Http())
    assert isinstance(built, Connector) and built.check().ok
    assert capabilities_of(type(built)) == []


@pytest.mark.parametrize(
    ("code", "target", "problem"),
    [
        ("import a_library_that_is_not_installed", "Acme", "No module named 'a_library_that_is_not_installed'"),
        ("raise RuntimeError('no licence')", "Acme", "RuntimeError: no licence"),
        ("import sys; sys.exit('bye')", "Acme", "SystemExit: bye"),
        ("def broken(:", "Acme", "SyntaxError"),
        ("x = 1", "Acme", "AttributeError"),
        ("Acme = 7", "Acme", "is not a Connector class"),
        ("class Acme: pass", "Acme", "is not a Connector class"),
        (CONNECTOR.replace("def check", "def chekc"), "Acme", "is not finished: it lacks check"),
        (CONNECTOR.replace("manifest =", "manifesto ="), "Acme", "has no manifest"),
        (CONNECTOR.replace("config_class =", "config ="), "Acme", "has no config_class"),
        (CONNECTOR.replace('"KEY"', '"other"'), "Acme", "calls itself 'other'"),
    ],
)
def test_a_broken_connector_is_listed_with_the_reason(install: Install, code: str, target: str, problem: str) -> None:
    key = install(code, target=target)
    assert problem in entry(key).problem and entry(key).connector is None
    with pytest.raises(ConfigError, match=f"'{key}' is broken") as caught:
        registry.find(key)
    assert problem in str(caught.value)
    assert registry.find("webhook") is entry("webhook").connector, "the others go on"


def test_nobody_takes_the_place_of_ours(install: Install) -> None:
    install(key="tryton")
    ours, theirs = [entry for entry in registry.entries() if entry.key == "tryton"]
    assert ours.connector is registry.find("tryton") and ours.distribution == "flowbridge"
    assert theirs.connector is None and "must choose another key" in theirs.problem
    assert theirs.distribution in theirs.problem


def test_only_what_is_used_is_loaded() -> None:
    """Another process, since this one has loaded them all."""
    code = """
        import sys
        from bridge import registry
        registry.find("webhook")
        loaded = [name for name in sys.modules if name.startswith("connectors.")]
        assert loaded == ["connectors.webhook"], loaded
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)


def test_an_unknown_key_is_told_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match="did you mean 'tryton'") as caught:
        registry.find("trytn")
    assert "moodle" in str(caught.value) and "webhook" in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        registry.find("zzz")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, ["token: is missing"]),
        ({"token": "t", "region": "mars"}, ["region: ", "'eu' or 'us'"]),
        ({"token": "t", "regoin": "eu"}, ["regoin: no such setting", "did you mean 'region'", "token, region"]),
        ({"token": {"value": "hunter2-secret"}}, ["token: "]),
        ({"token": ["hunter2-secret"], "region": "hunter2-secret"}, ["token: ", "region: "]),
    ],
)
def test_wrong_settings_are_named_and_never_shown(
    install: Install, config: dict[str, object], words: list[str]
) -> None:
    key = install()
    with pytest.raises(ConfigError, match=f"settings of the connector '{key}'") as caught:
        registry.build(key, config, http=Http())
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "hunter2-secret" not in str(caught.value) and "mars" not in str(caught.value)


def test_what_two_settings_break_together_is_told() -> None:
    with pytest.raises(ConfigError, match="not right: set `secrets`"):
        registry.build("webhook", {"source": "desk"}, http=Http())
    with pytest.raises(ConfigError, match=r"secrets: .*base64") as caught:
        registry.build("webhook", {"secrets": ["whsec_hunter2!"]}, http=Http())
    assert "hunter2" not in str(caught.value)
