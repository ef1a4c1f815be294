"""What a use case works with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from bridge import registry
from bridge.connect import Connector, Egress, Http
from bridge.secrets import Vault
from bridge.settings import Settings
from bridge.store import Database, tables

#: The queues that a nudge can name, each the name of a Celery task.
QUEUES = ("decide", "deliver", "drain", "write_back", "grades")


def _silent(_queue: str) -> None:
    """Nobody to nudge: the worker finds the row by itself."""


@dataclasses.dataclass
class Runtime:
    """Settings, database, secrets and the way out. ``nudge(queue)`` says after a commit that something is due."""

    settings: Settings
    db: Database
    vault: Vault
    http: Http
    nudge: Callable[[str], None] = _silent

    @classmethod
    def start(cls, settings: Settings) -> Runtime:
        return cls(
            settings=settings,
            db=Database(settings.database),
            vault=Vault(settings.encryption_key()),
            http=Http(egress=Egress(allow_private=True)),
        )

    @property
    def public_http(self) -> Http:
        """The client for addresses that others sent: private networks only where the settings allow it."""
        return Http(egress=Egress(allow_private=self.settings.allow_private_peers), timeout=(5.0, 10.0), total=10.0)

    def connector(self, connection: tables.Connection) -> Connector[Any]:
        """The connector of a connection; raises ConfigError where its settings can't work."""
        config_class = registry.find(connection.connector).config_class
        clear = self.vault.open_config(config_class, connection.config)
        typed_in = not connection.options.get("self_registered")
        egress = Egress(allow_private=typed_in or self.settings.allow_private_peers)
        http = Http(egress=egress, system=f"{connection.connector} '{connection.name}'")
        return registry.build(connection.connector, clear, http=http)
