"""What the LTI role needs around it."""

from __future__ import annotations

from typing import Protocol

from bridge.connect import Http
from bridge.secrets import Vault
from bridge.settings import Settings
from bridge.store import Database


class Host(Protocol):
    """Settings, database, secrets and the ways out; the use cases' runtime is one."""

    @property
    def settings(self) -> Settings: ...

    @property
    def db(self) -> Database: ...

    @property
    def vault(self) -> Vault: ...

    @property
    def http(self) -> Http:
        """The client for addresses that an admin typed in."""

    @property
    def public_http(self) -> Http:
        """The client for addresses that others sent."""
