"""ltijs (npm `ltijs`), the widespread LTI 1.3 tool library, in a small tool of our own: `node/ltijs/server.js`."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.live.systems.install import LIVE_TESTS, find_node, node_part
from tests.live.systems.system import REQUEST_SECONDS, StartFailed, System

NODE = node_part("ltijs")
SERVER = LIVE_TESTS / "node" / "ltijs" / "server.js"
POSTGRES = "host=127.0.0.1 port=5432 user=postgres dbname=postgres connect_timeout=5"


class Ltijs(System):
    """An LTI tool that knows no platform until `register_platform` or a dynamic registration.

    A launch at `launch_url` shows the title of the resource, the person, the custom parameters (`dl#custom`) and a form
    that posts a score through the Assignment and Grade Services, with a token got by client credentials.
    `/members?ltik=` answers the names and roles as JSON; a deep linking request shows two items to choose from. What
    the platform refuses comes back as 502 with the platform's status and body. Its state is a database in the
    PostgreSQL on 127.0.0.1:5432, made at the start and dropped at the exit.
    """

    name = "ltijs"
    needs_node = True
    parts = (NODE,)
    ready_path = "/keys"

    def __init__(self, port: int | None = None) -> None:
        super().__init__(port)
        self.database = f"flowbridge_live_ltijs_{secrets.token_hex(4)}"
        self._key = secrets.token_hex(16)

    @property
    def launch_url(self) -> str:
        """The target link URI and redirect URI."""
        return self.base_url

    @property
    def login_url(self) -> str:
        """The OIDC login initiation URI."""
        return f"{self.base_url}/login"

    @property
    def jwks_url(self) -> str:
        """The tool's key set; it holds one key per registered platform."""
        return f"{self.base_url}/keys"

    @property
    def registration_url(self) -> str:
        """Dynamic registration: opened with `openid_configuration` and `registration_token` in the query."""
        return f"{self.base_url}/register"

    def prepare(self) -> None:
        with _postgres() as connection:
            connection.execute(f'CREATE DATABASE "{self.database}"')

    def command(self) -> Sequence[str | Path]:
        return [find_node(), SERVER]

    def environment(self) -> Mapping[str, str]:
        modules = str(NODE.path / "node_modules")
        return {"NODE_PATH": modules, "PORT": str(self.port), "DATABASE": self.database, "KEY": self._key}

    def release(self) -> None:
        with _postgres() as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{self.database}" WITH (FORCE)')

    def register_platform(
        self,
        *,
        issuer: str,
        client_id: str,
        authorization_endpoint: str,
        token_endpoint: str,
        jwks_uri: str,
        name: str = "flowbridge",
    ) -> None:
        """Make a platform known to the tool, as an administrator would by hand. The same pair again changes it."""
        platform = {
            "name": name,
            "issuer": issuer,
            "clientId": client_id,
            "authorizationEndpoint": authorization_endpoint,
            "tokenEndpoint": token_endpoint,
            "jwksUri": jwks_uri,
        }
        answer = self.http.post(f"{self.base_url}/control/platforms", json=platform, timeout=REQUEST_SECONDS)
        answer.raise_for_status()


@contextmanager
def _postgres() -> Iterator[psycopg.Connection]:
    try:
        connection = psycopg.connect(POSTGRES, autocommit=True)
    except psycopg.OperationalError as error:
        raise StartFailed(
            f"ltijs needs PostgreSQL on 127.0.0.1:5432 with user postgres and no password: {error}"
        ) from None
    with connection:
        yield connection
