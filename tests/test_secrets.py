"""Secrets are sealed at rest, resolved late, and shown by nobody."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr

from bridge.connect import Config, ConfigError
from bridge.secrets import Vault, secret_fields


class Login(Config):
    user: str
    password: SecretStr


class Everything(Config):
    plain: str = ""
    one: SecretStr
    maybe: SecretStr | None = None
    many: tuple[SecretStr, ...] = ()
    named: Mapping[str, SecretStr] = {}
    login: Login | None = None
    logins: list[Login] = []  # noqa: RUF012 - pydantic copies it


CLEAR = {
    "plain": "not a secret",
    "one": "the secret one",
    "maybe": None,
    "many": ["the secret two", "the secret three"],
    "named": {"a": "the secret four"},
    "login": {"user": "sam", "password": "the secret five"},
    "logins": [{"user": "eve", "password": "the secret six"}],
}


@pytest.fixture(scope="module")
def vault() -> Vault:
    return Vault("a key of this test")


def test_the_fields_that_hold_secrets_are_found_at_any_depth() -> None:
    assert secret_fields(Everything) == {"one", "maybe", "many", "named", "login", "logins"}


def test_what_is_sealed_holds_no_secret_and_opens_again(vault: Vault) -> None:
    stored = vault.seal_config(Everything, CLEAR)
    assert "the secret" not in str(stored)
    assert stored["plain"] == "not a secret"
    assert vault.open_config(Everything, stored) == CLEAR


def test_the_same_secret_is_never_sealed_the_same(vault: Vault) -> None:
    assert vault.seal("x") != vault.seal("x")


def test_references_are_kept_and_followed_late(vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    given = {"one": "env:BRIDGE_TEST_TOKEN", "many": [f"file:{file}", "clear"]}
    stored = vault.seal_config(Everything, given)
    assert (stored["one"], stored["many"][0]) == (given["one"], given["many"][0])
    monkeypatch.setenv("BRIDGE_TEST_TOKEN", "from the environment")
    file.write_text("from the file\n")
    opened = vault.open_config(Everything, stored)
    assert opened == {"one": "from the environment", "many": ["from the file", "clear"]}
    assert vault.seal_config(Everything, stored) == stored


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("env:BRIDGE_TEST_NOT_SET", "the environment variable BRIDGE_TEST_NOT_SET is not set"),
        ("file:/no/such/token", "the secret file /no/such/token can't be read: No such file"),
        ("encrypted:nonsense", "sealed with another key"),
        ("encrypted:gäbe", "sealed with another key"),
        ("hunter2", "enter it again"),
    ],
)
def test_a_secret_that_can_not_be_had_says_what_is_missing_where(vault: Vault, value: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as missing:
        vault.open(value)
    assert "hunter2" not in str(missing.value)


def test_a_file_that_is_not_text_is_told(vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="binary can't be read: it is not UTF-8 text"):
        vault.open(f"file:{tmp_path / 'binary'}")


def test_another_key_opens_nothing(vault: Vault) -> None:
    with pytest.raises(ConfigError, match=r"sealed with another key; enter it again, or restore secret\.key"):
        Vault("another key").open(vault.seal("x"))


def test_derived_keys_differ_by_key_purpose_and_parts(vault: Vault) -> None:
    made = {
        vault.derive("ticket", b"ab"),
        vault.derive("ticket", b"a", b"b"),
        vault.derive("handoff", b"ab"),
        Vault("another key").derive("ticket", b"ab"),
    }
    assert len(made) == 4
    assert vault.derive("ticket", b"ab") in made
