"""The tool's end of LTI 1.3: the bridge's own adapter of pylti1p3, with memory in place of a database."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from pathlib import Path
from typing import Any, Final, cast

import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pylti1p3.grade import Grade
from pylti1p3.registration import Registration

from bridge.connect import Egress, Http
from bridge.lti.errors import LtiError
from bridge.lti.keysets import KeySets
from bridge.lti.tool import peer
from bridge.lti.tool.peer import Begun, Exchange
from bridge.lti.tool.platforms import Platform

#: How long a login may take, and a launch can be worked on, in seconds.
LOGIN_SECONDS: Final = 600
LAUNCH_SECONDS: Final = 8 * 3600
_TIMEOUT = (5, 15)
_MOST = 10_000


class Memory:
    """Logins under way and launches of this process."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, Any]] = {}
        self._lock = threading.Lock()

    def keep(self, key: str, value: Any, seconds: float) -> None:
        at = time.monotonic()
        with self._lock:
            if len(self._kept) >= _MOST:
                self._kept = {name: kept for name, kept in self._kept.items() if kept[0] > at}
            self._kept[key] = (at + seconds, value)

    def find(self, key: str) -> Any:
        until, value = self._kept.get(key, (0.0, None))
        if time.monotonic() >= until:
            raise LtiError("launch_unknown", "This is over, or was never begun here.")
        return value

    def begun(self, exchange: Exchange) -> Begun:
        state = exchange.get_param("state")
        if not exchange.holds(state):
            raise LtiError("state_cookie_missing", "This launch was not begun in this browser.")
        begun: Begun = self.find(state)
        return begun

    def take(self, exchange: Exchange) -> None:
        with self._lock:
            if self._kept.pop(exchange.get_param("state"), None) is None:
                raise LtiError("state_used", "This launch was opened before.")


@dataclasses.dataclass(frozen=True, slots=True)
class Begin:
    """Where a login goes on, and the state that the browser takes with it."""

    url: str
    state: str


class Launch(peer.Launch):
    """A launch of this tool, which can sign for its scores."""

    def __init__(self, exchange: Exchange, tool: Peer) -> None:
        super().__init__(exchange, tool.memory, tool.key_of, http=tool.http)
        self._tool = tool

    def validate_registration(self) -> Launch:
        super().validate_registration()
        private, public = self._tool.keys
        cast(Registration, self._registration).set_tool_private_key(private).set_tool_public_key(public)
        return self

    def save_launch_data(self) -> Launch:
        self._tool.memory.keep(self.get_launch_id(), self, LAUNCH_SECONDS)
        return self


class _Session(requests.Session):
    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs.setdefault("timeout", _TIMEOUT)
        return super().request(*args, **kwargs)


class Peer:
    """This tool as one platform knows it. Refusals are LtiError and pylti1p3's ``LtiException``."""

    def __init__(
        self, issuer: str, *, client_id: str = "demo-tool", deployment_id: str = "1", key_file: Path | None = None
    ) -> None:
        issuer = issuer.rstrip("/")
        self._platform = Platform(
            connection_id=0,
            name="platform",
            issuer=issuer,
            client_id=client_id,
            auth_login_url=f"{issuer}/lti/authorize",
            auth_token_url=f"{issuer}/lti/token",
            auth_audience=f"{issuer}/lti/token",
            jwks_uri=f"{issuer}/lti/jwks",
            jwks=None,
            deployment_ids=(deployment_id,),
            match_people="nobody",
            console_for="nobody",
            trusted_network=True,
        )
        self.keys = _key_pair(key_file)
        self.memory, self.http = Memory(), _Session()
        self._key_sets, self._fetch = KeySets(), Http(egress=Egress(allow_private=True))

    def key_set(self) -> dict[str, Any]:
        """The tool's public key as a JWK set."""
        return {"keys": [Registration.get_jwk(self.keys[1])]}

    def key_of(self, platform: Platform, kid: str) -> rsa.RSAPublicKey:
        """The platform's key of that name."""
        return self._key_sets.key(self._fetch, platform.jwks_uri, kid)

    def login(self, exchange: Exchange, redirect_uri: str) -> Begin:
        """Answer a login initiation: to the platform, and back to ``redirect_uri`` from there."""
        sessions = peer.Sessions()
        url = peer.Login(exchange, peer.Registrations([self._platform]), sessions).redirect(redirect_uri)
        begun = Begun(self._platform, sessions.nonce, exchange.get_param("target_link_uri"))
        self.memory.keep(exchange.state, begun, LOGIN_SECONDS)
        return Begin(url, exchange.state)

    def launch(self, exchange: Exchange) -> str:
        """Check a launch that a platform posts; its id in this tool."""
        return Launch(exchange, self).validate().get_launch_id()

    def resume(self, launch_id: str) -> Launch:
        """A launch that was checked before."""
        launch = self.memory.find(launch_id)
        if not isinstance(launch, Launch):
            raise LtiError("launch_unknown", "There is no such launch.")
        return launch

    def report(self, launch: Launch, grade: Grade) -> None:
        """Send a score to the launch's own line item (AGS 2.0)."""
        launch.get_ags().put_grade(grade.set_user_id(launch.claims["sub"]))


def _key_pair(file: Path | None) -> tuple[str, str]:
    """The private and public key in PEM: from the file, which is made where there is none, or new."""
    if file is not None and file.exists():
        loaded = serialization.load_pem_private_key(file.read_bytes(), password=None)
        assert isinstance(loaded, rsa.RSAPrivateKey)
        key = loaded
    else:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    if file is not None and not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(private)
    return private.decode(), public.decode()
