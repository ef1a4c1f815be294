"""Secrets: references (``env:NAME``, ``file:/path``) or sealed at rest (``encrypted:...``); never shown in clear."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from pydantic import BaseModel, SecretStr

from bridge.connect.errors import ConfigError

_SEALED = "encrypted:"
_REFERENCES = ("env:", "file:", _SEALED)


def _mentions_secret(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return bool(secret_fields(annotation))
    if annotation is SecretStr:
        return True
    is_generic = typing.get_origin(annotation) is not None or isinstance(annotation, types.UnionType)
    return is_generic and any(_mentions_secret(part) for part in typing.get_args(annotation))


def secret_fields(config_class: type[BaseModel]) -> frozenset[str]:
    """The names of a configuration's fields that hold secrets, at any depth: all of such a field is kept secret."""
    return frozenset(name for name, field in config_class.model_fields.items() if _mentions_secret(field.annotation))


class Vault:
    """Seals and opens secrets with one key (Fernet: AES-128-CBC with HMAC-SHA256)."""

    def __init__(self, key: str) -> None:
        self._root = hashlib.scrypt(key.encode(), salt=b"flowbridge/1", n=2**14, r=8, p=1, dklen=64)
        self._fernet = Fernet(base64.urlsafe_b64encode(self._root[:32]))

    def seal(self, clear: str) -> str:
        return _SEALED + self._fernet.encrypt(clear.encode()).decode()

    def open(self, value: str) -> str:
        """The clear text of a reference or sealed value; raises ConfigError saying what is missing where."""
        _, _, rest = value.partition(":")
        if value.startswith("env:"):
            if rest not in os.environ:
                raise ConfigError(f"the environment variable {rest} is not set, a secret refers to it")
            return os.environ[rest]
        if value.startswith("file:"):
            try:
                return Path(rest).read_text().strip()
            except OSError as error:
                raise ConfigError(f"the secret file {rest} can't be read: {error.strerror}") from None
            except UnicodeDecodeError:
                raise ConfigError(f"the secret file {rest} can't be read: it is not UTF-8 text") from None
        if value.startswith(_SEALED):
            try:
                return self._fernet.decrypt(rest.encode()).decode()
            except InvalidToken:
                raise ConfigError(
                    "a secret was sealed with another key; enter it again, or restore secret.key"
                ) from None
        raise ConfigError("a secret is stored in a form that is not known; enter it again")

    def derive(self, purpose: str, *parts: bytes) -> bytes:
        """32 bytes that only this installation can make: the same for the same purpose and parts."""
        mac = hmac.new(self._root[32:], purpose.encode(), hashlib.sha256)
        for part in parts:
            mac.update(len(part).to_bytes(4, "big") + part)
        return mac.digest()

    def seal_config(self, config_class: type[BaseModel], config: Mapping[str, Any]) -> dict[str, Any]:
        """``config`` as it is stored: clear secrets sealed, references kept."""
        return self._map(
            config_class, config, lambda value: value if value.startswith(_REFERENCES) else self.seal(value)
        )

    def open_config(self, config_class: type[BaseModel], stored: Mapping[str, Any]) -> dict[str, Any]:
        """``stored`` as a connector takes it: every secret in clear."""
        return self._map(config_class, stored, self.open)

    def _map(
        self, config_class: type[BaseModel], config: Mapping[str, Any], change: Callable[[str], str]
    ) -> dict[str, Any]:
        hidden = secret_fields(config_class)
        return {name: map_texts(value, change) if name in hidden else value for name, value in config.items()}


def map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """``value`` with every text in it, in lists and maps as well, changed."""
    if isinstance(value, list):
        return [map_texts(item, change) for item in value]
    if isinstance(value, dict):
        return {key: map_texts(item, change) for key, item in value.items()}
    return change(value) if isinstance(value, str) else value
