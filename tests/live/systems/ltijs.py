"""ltijs (npm `ltijs`), the widespread LTI 1.3 tool library, in a small tool of our own: `node/ltijs/server.js`."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.live.systems.install import LIVE_TESTS, find_node, node_part
from tests.live.systems.lti_tool import LtiTool
from tests.live.systems.system import StartFailed

NODE = node_part("ltijs")
SERVER = LIVE_TESTS / "node" / "ltijs" / "server.js"
POSTGRES = "host=127.0.0.1 port=5432 user=postgres dbname=postgres connect_timeout=5"


class Ltijs(LtiTool):
    """An LTI tool that can also register itself dynamically, and knows a launch only in its browser.

    Its pages carry the launch on in the field `ltik`, which `/members` and `/results` take in the query. Its state is a
    database in the PostgreSQL on 127.0.0.1:5432, made at the start and dropped at the exit.
    """

    name = "ltijs"
    needs_node = True
    parts = (NODE,)

    def __init__(self, port: int | None = None) -> None:
        super().__init__(port)
        self.database = f"flowbridge_live_ltijs_{secrets.token_hex(4)}"
        self._key = secrets.token_hex(16)

    @property
    def launch_url(self) -> str:
        """The target link URI and redirect URI."""
        return self.base_url

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
