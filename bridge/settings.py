"""Settings: environment ``FLOWBRIDGE_...``, secret files, ``flowbridge.toml``; one frozen object."""

from __future__ import annotations

import os
import re
import secrets
import tomllib
from pathlib import Path
from typing import Any, Self

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

EMBEDDED_BROKER = "memory://"


def _toml() -> Path:
    return Path(os.environ.get("FLOWBRIDGE_CONFIG", "flowbridge.toml"))


class SettingsError(Exception):
    """A setting is missing or wrong; the message names it and says what it takes."""


class Settings(BaseSettings):
    """Every setting. ``config/flowbridge.toml`` explains each one; the environment wins over the file."""

    model_config = SettingsConfigDict(
        env_prefix="FLOWBRIDGE_", secrets_dir="/run/secrets" if Path("/run/secrets").is_dir() else None, frozen=True
    )

    home: Path = Field(default=Path(".flowbridge"), description="Where the embedded database and the keys live")
    # Both may hold a password, so neither is in the repr.
    database_url: str = Field(
        default="", repr=False, description="Empty: SQLite in `home`. Production: postgresql+psycopg://..."
    )
    broker_url: str = Field(
        default=EMBEDDED_BROKER, repr=False, description="memory:// needs no server; amqp:// or redis:// do"
    )
    base_url: str = Field(default="", description="The public address; empty: http://host:port")
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    secret_key: SecretStr | None = Field(default=None, description="Encrypts secrets at rest; empty: a file in `home`")
    allow_private_peers: bool = Field(
        default=False, description="May addresses that others send (key sets, registrations) be on private networks?"
    )
    max_body_bytes: int = Field(default=1_048_576, description="The largest request body that is read")
    max_xapi_body_bytes: int = Field(
        default=33_554_432, description="The largest body of a request to the LRS, which can hold attachments"
    )
    log_format: str = Field(default="text", pattern="^(text|json)$")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    poll_seconds: float = Field(default=5.0, gt=0, description="How often business systems are asked for events")
    sync_hours: float = Field(default=1.0, gt=0, description="How often catalogues are synchronised")
    ticket_days: int = Field(default=30, ge=1, description="How long a launch link can be opened")
    ticket_uses: int = Field(default=50, ge=1, description="How often a launch link can be opened")
    session_hours: int = Field(default=12, ge=1, description="How long a sign-in lasts")

    @field_validator("base_url")
    @classmethod
    def _no_slash(cls, value: str) -> str:
        if value and not re.match(r"https?://[^/\s]+", value):
            raise ValueError("it is an address like https://bridge.example.com")
        return value.rstrip("/")

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if value and not value.startswith(("sqlite:///", "postgresql+psycopg://")):
            raise ValueError("it begins with sqlite:/// or postgresql+psycopg://, or is empty")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, file_secret_settings, TomlConfigSettingsSource(settings_cls, _toml())

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read all sources; raises SettingsError with the setting's name and what is wrong."""
        try:
            return cls(**overrides)
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{_toml()}: {error}") from None
        except ValidationError as error:
            raise SettingsError("; ".join(_words(problem) for problem in error.errors())) from None

    @property
    def database(self) -> str:
        """The database URL that is used."""
        return self.database_url or f"sqlite:///{(self.home / 'flowbridge.db').absolute()}"

    @property
    def issuer(self) -> str:
        """The public address without a slash at its end; also the LTI issuer."""
        return self.base_url or f"http://{self.host}:{self.port}"

    @property
    def embedded_broker(self) -> bool:
        return self.broker_url == EMBEDDED_BROKER

    def encryption_key(self) -> str:
        """The key of the secrets at rest: the setting, or a file in ``home`` that is made on first use."""
        if self.secret_key is not None and self.secret_key.get_secret_value():
            return self.secret_key.get_secret_value()
        path = self.home / "secret.key"
        if not path.exists():
            self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            _make_key(path)
        key = path.read_text().strip()
        if not key:
            raise SettingsError(f"{path} is empty: restore it, or set FLOWBRIDGE_SECRET_KEY")
        return key


def _words(problem: Any) -> str:
    name = "_".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return f"{_toml()}: '{name}' is not a known setting"
    return f"FLOWBRIDGE_{name.upper()}: {problem['msg'].removeprefix('Value error, ')}"


def _make_key(path: Path) -> None:
    """Put a new key at ``path``, whole or not at all; where another process was quicker, its key counts."""
    made = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(32))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(made, path)
    except FileExistsError:
        pass
    finally:
        made.unlink()
