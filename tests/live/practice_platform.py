"""The least of an LTI 1.3 platform that a tool can be launched from, to prove the tool of the live tests by itself."""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import requests
from cryptography.hazmat.primitives.asymmetric import rsa

CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
DEEP_LINKING = "https://purl.imsglobal.org/spec/lti-dl/claim/"
TOKEN = "practice-access-token"
LEARNER = {"user_id": "u-ana", "name": "Ana Sales", "email": "ana@example.com", "roles": ["Learner"]}


@dataclass
class PracticePlatform:
    """Issues launches for one tool and keeps what the tool sends: scores, token requests and registrations."""

    issuer: str
    client_id: str = "practice-tool"
    scores: list[dict[str, Any]] = field(default_factory=list)
    token_requests: list[dict[str, str]] = field(default_factory=list)
    registrations: list[dict[str, Any]] = field(default_factory=list)

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def endpoints(self) -> dict[str, str]:
        """The arguments of `Ltijs.register_platform` besides the client id."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/auth",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
        }

    def launch(
        self, browser: requests.Session, login_url: str, target: str, claims: dict[str, Any]
    ) -> requests.Response:
        """Take a browser through login initiation, authentication and form post; returns the tool's page."""
        hints = {"iss": self.issuer, "client_id": self.client_id, "login_hint": "ana", "target_link_uri": target}
        login = browser.get(login_url, params=hints, allow_redirects=False, timeout=30)
        asked = {name: values[0] for name, values in parse_qs(urlsplit(login.headers["location"]).query).items()}
        form = {
            "id_token": self.signed({"nonce": asked["nonce"], f"{CLAIM}target_link_uri": target, **claims}),
            "state": asked["state"],
        }
        return browser.post(asked["redirect_uri"], data=form, timeout=30)

    def signed(self, claims: dict[str, Any]) -> str:
        now = int(time.time())
        base = {
            "iss": self.issuer,
            "aud": self.client_id,
            "sub": LEARNER["user_id"],
            "name": LEARNER["name"],
            "iat": now,
            "exp": now + 60,
            f"{CLAIM}version": "1.3.0",
            f"{CLAIM}deployment_id": "1",
            f"{CLAIM}roles": ["http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"],
            f"{CLAIM}context": {"id": "sales"},
        }
        return jwt.encode(base | claims, self._key, algorithm="RS256", headers={"kid": "practice"})

    def answer(self, method: str, path: str, body: bytes) -> object:
        """The JSON for one request of the tool."""
        match method, path:
            case "GET", "/jwks":
                public = jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
                return {"keys": [public | {"kid": "practice", "alg": "RS256", "use": "sig"}]}
            case "POST", "/token":
                form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
                self.token_requests.append(form)
                return {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600, "scope": form["scope"]}
            case "POST", "/items/1/scores":
                self.scores.append(json.loads(body))
                return {}
            case "GET", "/members":
                return {"id": f"{self.issuer}/members", "context": {"id": "sales"}, "members": [LEARNER]}
            case "GET", "/configuration":
                return self.endpoints | {
                    "registration_endpoint": f"{self.issuer}/registrations",
                    "claims_supported": ["sub"],
                }
            case "POST", "/registrations":
                self.registrations.append(json.loads(body))
                return self.registrations[-1] | {"client_id": f"registered-{uuid.uuid4()}"}
        raise LookupError(f"{method} {path}")


@contextmanager
def practice_platform() -> Iterator[PracticePlatform]:
    """A platform that listens on a free port of 127.0.0.1. Service calls without its token get a 401."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply(b"")

        def do_POST(self) -> None:
            self._reply(self.rfile.read(int(self.headers["content-length"])))

        def _reply(self, body: bytes) -> None:
            path = urlsplit(self.path).path
            needs_token = path.startswith(("/items", "/members"))
            allowed = not needs_token or self.headers["authorization"] == f"Bearer {TOKEN}"
            text = json.dumps(
                platform.answer(self.command, path, body) if allowed else {"error": "invalid_token"}
            ).encode()
            self.send_response(200 if allowed else 401)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Nothing on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        platform = PracticePlatform(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield platform
        finally:
            server.shutdown()
            thread.join()
