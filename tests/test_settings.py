"""Every setting that is wrong is named, with what it takes; the key of the secrets is made once and kept."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bridge.settings import Settings, SettingsError


@pytest.fixture
def toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "flowbridge.toml"
    monkeypatch.setenv("FLOWBRIDGE_CONFIG", str(file))
    return file


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(
    toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml.write_text('port = 9001\nhost = "0.0.0.0"\n')
    monkeypatch.setenv("FLOWBRIDGE_PORT", "9002")
    settings = Settings.load()
    assert (settings.port, settings.host, settings.ticket_days) == (9002, "0.0.0.0", 30)


def test_every_wrong_setting_is_named_with_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWBRIDGE_PORT", "many")
    monkeypatch.setenv("FLOWBRIDGE_LOG_LEVEL", "LOUD")
    with pytest.raises(SettingsError) as wrong:
        Settings.load()
    assert "FLOWBRIDGE_PORT: Input should be a valid integer" in str(wrong.value)
    assert "FLOWBRIDGE_LOG_LEVEL" in str(wrong.value)
    assert "DEBUG|INFO|WARNING|ERROR" in str(wrong.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("database_url", "postgres://u:pass-word@db/x", "postgresql+psycopg://"),
        ("database_url", "postgresql://u:pass-word@db/x", "postgresql+psycopg://"),
        ("base_url", "bridge.example.com", "https://"),
        ("poll_seconds", 0, "greater than 0"),
        ("ticket_uses", 0, "greater than or equal to 1"),
    ],
)
def test_a_value_that_can_not_work_is_refused_at_once(name: str, value: object, words: str) -> None:
    with pytest.raises(SettingsError) as wrong:
        Settings.load(**{name: value})
    assert f"FLOWBRIDGE_{name.upper()}" in str(wrong.value)
    assert words in str(wrong.value)
    assert "pass-word" not in str(wrong.value)


def test_what_is_wrong_with_the_file_names_the_file(toml: Path) -> None:
    toml.write_text("port =\n")
    with pytest.raises(SettingsError, match=r"flowbridge\.toml: Invalid value \(at line 1"):
        Settings.load()
    toml.write_text("prot = 9001\n")
    with pytest.raises(SettingsError, match=r"flowbridge\.toml: 'prot' is not a known setting"):
        Settings.load()


def test_addresses_end_without_a_slash() -> None:
    assert Settings.load(base_url="https://bridge.example.com/").issuer == "https://bridge.example.com"
    assert Settings.load(port=8123).issuer == "http://127.0.0.1:8123"


def test_no_password_is_in_the_repr() -> None:
    settings = Settings.load(
        database_url="postgresql+psycopg://u:pass-word@db/x",
        broker_url="redis://:pass-word@r/0",
        secret_key="pass-word",
    )
    assert "pass-word" not in repr(settings)


def test_the_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    settings = Settings.load(home=tmp_path / "home")
    key = settings.encryption_key()
    assert len(key) >= 43
    assert settings.encryption_key() == key
    assert (tmp_path / "home/secret.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700
    assert [file.name for file in (tmp_path / "home").iterdir()] == ["secret.key"]


def test_a_key_that_is_set_needs_no_file(tmp_path: Path) -> None:
    assert Settings.load(home=tmp_path / "home", secret_key="k" * 40).encryption_key() == "k" * 40
    assert not (tmp_path / "home").exists()


def test_an_empty_key_is_no_key(tmp_path: Path) -> None:
    assert Settings.load(home=tmp_path, secret_key="").encryption_key() == (tmp_path / "secret.key").read_text()
    (tmp_path / "secret.key").write_text("\n")
    with pytest.raises(SettingsError, match=r"secret\.key is empty: restore it"):
        Settings.load(home=tmp_path).encryption_key()


def test_all_who_start_at_once_have_the_same_key(tmp_path: Path) -> None:
    for number in range(20):
        settings = Settings.load(home=tmp_path / str(number))
        with ThreadPoolExecutor(8) as pool:
            keys = set(pool.map(lambda _, s=settings: s.encryption_key(), range(8)))
        assert len(keys) == 1
        assert len(keys.pop()) >= 43
