"""A scripted LMS: it begins logins, signs what a test tells it to sign, and posts launches like a browser."""

from __future__ import annotations

import base64
import dataclasses
import json
import time
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi.testclient import TestClient
from jwt.algorithms import RSAAlgorithm

from bridge.flows.runtime import Runtime
from bridge.store import tables

CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
DEEP_LINKING = "https://purl.imsglobal.org/spec/lti-dl/claim/deep_linking_settings"
AGS = "https://purl.imsglobal.org/spec/lti-ags/claim/endpoint"
NRPS = "https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice"
ROLE = "http://purl.imsglobal.org/vocab/lis/v2/"
LEARNER, INSTRUCTOR = (f"{ROLE}membership#{name}" for name in ("Learner", "Instructor"))
ADMINISTRATOR = f"{ROLE}institution/person#Administrator"
_CORE = (
    *("version", "message_type", "deployment_id", "target_link_uri", "roles", "resource_link", "context", "custom"),
    *("lis", "launch_presentation", "tool_platform"),
)


def jwk(key: rsa.RSAPrivateKey, kid: str, **members: str) -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", "alg": "RS256", **members}


def part(value: Any) -> str:
    """A part of a JWT, unsigned."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


@dataclasses.dataclass
class Login:
    """What came of a login initiation: the bridge's authentication request."""

    url: str
    request: dict[str, str]

    @property
    def state(self) -> str:
        return self.request["state"]

    @property
    def nonce(self) -> str:
        return self.request["nonce"]


@dataclasses.dataclass
class Lms:
    """An LMS at ``issuer``, which knows the bridge by ``client_id``, and the browser of one of its people."""

    runtime: Runtime
    client: TestClient
    key: rsa.RSAPrivateKey
    issuer: str = "https://lms.test"
    client_id: str = "bridge-1"
    deployment_id: str = "d-1"
    connection_id: int = 0

    @property
    def tool(self) -> str:
        """Where the bridge is launched."""
        return f"{self.runtime.settings.issuer}/lti/tool/launch"

    def register(self, name: str = "lms", **changes: Any) -> Lms:
        """Make the LMS known to the bridge; ``changes`` are of the connection's settings."""
        config: dict[str, Any] = {
            "issuer": self.issuer,
            "client_id": self.client_id,
            "auth_login_url": f"{self.issuer}/auth",
            "auth_token_url": f"{self.issuer}/token",
            "jwks": {"keys": [jwk(self.key, "lms-1")]},
            "deployment_ids": [self.deployment_id],
        }
        merged = {key: value for key, value in (config | changes).items() if value is not None}
        row = tables.Connection(name=name, connector="lti_platform", config=merged)
        with self.runtime.db.write() as session:
            session.add(row)
        self.connection_id = row.id
        return self

    def reconfigure(self, *, enabled: bool = True, **changes: Any) -> None:
        with self.runtime.db.write() as session:
            row = session.get_one(tables.Connection, self.connection_id)
            row.config, row.enabled = {**row.config, **changes}, enabled

    def initiation(self, **changes: str | None) -> dict[str, str]:
        """The parameters of a login initiation."""
        params: dict[str, str | None] = {
            "iss": self.issuer,
            "target_link_uri": self.tool,
            "login_hint": "user-7",
            "lti_message_hint": "link-5",
            "client_id": self.client_id,
            "lti_deployment_id": self.deployment_id,
        }
        return {name: value for name, value in (params | changes).items() if value is not None}

    def begin(self, **changes: str | None) -> Any:
        """The answer to a login initiation."""
        return self.client.post("/lti/tool/login", data=self.initiation(**changes), follow_redirects=False)

    def login(self, **changes: str | None) -> Login:
        """Begin a login that goes well."""
        answer = self.begin(**changes)
        assert answer.status_code == 302, answer.text
        url = answer.headers["location"]
        return Login(url, dict(parse_qsl(urlsplit(url).query, keep_blank_values=True)))

    def claims(self, login: Login, **changes: Any) -> dict[str, Any]:
        """The claims of a learner's launch. A claim of LTI Core goes by its short name; None leaves one out."""
        at = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": self.client_id,
            "sub": "user-7",
            "iat": at,
            "exp": at + 60,
            "nonce": login.nonce,
            "name": "Ada Learner",
            "given_name": "Ada",
            "family_name": "Learner",
            "email": "ada@lms.test",
            "version": "1.3.0",
            "message_type": "LtiResourceLinkRequest",
            "deployment_id": self.deployment_id,
            "target_link_uri": self.tool,
            "roles": [LEARNER],
            "resource_link": {"id": "link-5", "title": "Help for the job"},
            "context": {"id": "course-2", "title": "Selling", "label": "S1", "type": ["CourseSection"]},
            "launch_presentation": {"document_target": "window", "return_url": f"{self.issuer}/return"},
        }
        told = {name: value for name, value in (claims | changes).items() if value is not None}
        return {(CLAIM + name if name in _CORE else name): value for name, value in told.items()}

    def deep_linking(self, **settings: Any) -> dict[str, Any]:
        """What a deep linking request has in place of a resource link's claims."""
        asked = {
            "deep_link_return_url": f"{self.issuer}/deep-link-return",
            "accept_types": ["ltiResourceLink", "link"],
            "accept_presentation_document_targets": ["iframe", "window"],
            "accept_multiple": True,
            "data": "course-2:op-9",
        }
        return {
            "message_type": "LtiDeepLinkingRequest",
            "resource_link": None,
            "roles": [INSTRUCTOR],
            DEEP_LINKING: {name: value for name, value in (asked | settings).items() if value is not None},
        }

    def sign(self, claims: Any, *, key: Any = None, header: dict[str, Any] | None = None, alg: str = "RS256") -> str:
        merged = {"kid": "lms-1"} | (header or {})
        headers = {name: value for name, value in merged.items() if value is not None}
        return jwt.encode(claims, key or self.key, algorithm=alg, headers=headers)

    def id_token(self, login: Login, **changes: Any) -> str:
        """A good token for that login, but for the changes of its claims."""
        return self.sign(self.claims(login, **changes))

    def post(self, token: str, state: str, **more: Any) -> Any:
        """Post a launch from the browser; the answer to it, before any redirect."""
        return self.client.post(
            "/lti/tool/launch", data={"id_token": token, "state": state}, follow_redirects=False, **more
        )

    def launch(self, **changes: Any) -> Any:
        """A whole launch with these claims; the answer to its form, before any redirect."""
        login = self.login()
        return self.post(self.id_token(login, **changes), login.state)

    def enter(self, **changes: Any) -> Any:
        """A whole launch, followed to the page where the person ends up."""
        answer = self.launch(**changes)
        assert answer.status_code == 303, answer.text
        return self.client.get(answer.headers["location"])

    def rows(self, table: Any) -> list[Any]:
        with self.runtime.db.read() as session:
            return list(session.query(table))
