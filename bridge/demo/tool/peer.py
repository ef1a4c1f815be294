"""The tool's end of LTI 1.3: pylti1p3 fitted to FastAPI.

pylti1p3 has adapters for Django and Flask; these are the same four for Starlette, with the gaps closed that a tool in
production has to close as well: a nonce counts once, tokens need a time of issue and an end, every call has a timeout.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pylti1p3.cookie import CookieService
from pylti1p3.exception import LtiException
from pylti1p3.grade import Grade
from pylti1p3.launch_data_storage.base import LaunchDataStorage
from pylti1p3.message_launch import MessageLaunch
from pylti1p3.oidc_login import OIDCLogin
from pylti1p3.redirect import Redirect
from pylti1p3.request import Request as LtiRequest
from pylti1p3.session import SessionService
from pylti1p3.tool_config.dict import ToolConfDict
from starlette.responses import RedirectResponse, Response

#: How long a launch can be worked on, in seconds.
LAUNCH_SECONDS = 8 * 3600
_TIMEOUT = (5, 15)
_MOST = 10_000


class Memory(LaunchDataStorage[Any]):
    """Launches, states and nonces of this process."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[str, tuple[float, Any]] = {}
        self._lock = threading.Lock()

    def get_session_cookie_name(self) -> None:
        return None

    def can_set_keys_expiration(self) -> bool:
        return True

    def get_value(self, key: str) -> Any:
        until, value = self._kept.get(key, (0.0, None))
        return value if time.monotonic() < until else None

    def set_value(self, key: str, value: Any, exp: int | None = None) -> None:
        at = time.monotonic()
        with self._lock:
            if len(self._kept) >= _MOST:
                self._kept = {name: kept for name, kept in self._kept.items() if kept[0] > at}
            self._kept[key] = (at + (exp or LAUNCH_SECONDS), value)

    def check_value(self, key: str) -> bool:
        """Asked for nonces only: whoever takes one out is the only one."""
        with self._lock:
            until, _ = self._kept.pop(key, (0.0, None))
        return time.monotonic() < until


class Exchange(LtiRequest, CookieService):
    """One request of a browser and the cookies of its answer."""

    def __init__(self, params: Mapping[str, str], cookies: Mapping[str, str], *, secure: bool) -> None:
        self._params, self._cookies, self._secure = params, cookies, secure
        self._answer: dict[str, tuple[str, int | None]] = {}

    @property
    def session(self) -> dict[str, Any]:
        return {}

    def is_secure(self) -> bool:
        return self._secure

    def get_param(self, key: str) -> str:
        return self._params.get(key, "")

    def get_cookie(self, name: str) -> str | None:
        return self._cookies.get(f"{self._cookie_prefix}-{name}")

    def set_cookie(self, name: str, value: str | int, exp: int | None = 3600) -> None:
        self._answer[f"{self._cookie_prefix}-{name}"] = (str(value), exp)

    def finish(self, response: Response) -> Response:
        """``response`` with the cookies; over https they also come back with a form that another site posts."""
        for name, (value, exp) in self._answer.items():
            same_site = "none" if self._secure else "lax"
            response.set_cookie(name, value, max_age=exp, httponly=True, secure=self._secure, samesite=same_site)  # type: ignore[arg-type]
        return response


class _Redirect(Redirect[Response]):
    def __init__(self, url: str) -> None:
        self._url = url

    def do_redirect(self) -> Response:
        return RedirectResponse(self._url, 302)

    def do_js_redirect(self) -> Response:
        return self.do_redirect()

    def set_redirect_url(self, location: str) -> None:
        self._url = location

    def get_redirect_url(self) -> str:
        return self._url


class _Registrations(ToolConfDict):
    def get_iss_config(self, iss: str, client_id: str | None = None) -> Any:
        try:
            return super().get_iss_config(iss, client_id)
        except Exception as error:  # pylti1p3 says in no narrower way that it does not know an issuer
            raise LtiException(str(error)) from None


class _Login(OIDCLogin[Exchange, ToolConfDict, SessionService, Exchange, Response]):
    def get_redirect(self, url: str) -> _Redirect:
        return _Redirect(url)


class Launch(MessageLaunch[Exchange, ToolConfDict, SessionService, Exchange]):
    """A launch of this tool."""

    def _get_request_param(self, key: str) -> Any:
        return self._request.get_param(key)


class _Session(requests.Session):
    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs.setdefault("timeout", _TIMEOUT)
        return super().request(*args, **kwargs)


class Peer:
    """This tool as one platform knows it. Refusals are pylti1p3's ``LtiException`` and ``OIDCException``."""

    def __init__(
        self, issuer: str, *, client_id: str = "demo-tool", deployment_id: str = "1", key_file: Path | None = None
    ) -> None:
        issuer = issuer.rstrip("/")
        platform: Any = {
            "client_id": client_id,
            "auth_login_url": f"{issuer}/lti/authorize",
            "auth_token_url": f"{issuer}/lti/token",
            "key_set_url": f"{issuer}/lti/jwks",
            "deployment_ids": [deployment_id],
        }
        private, public = _key_pair(key_file)
        self._config = _Registrations({issuer: [platform]})
        self._config.set_private_key(issuer, private, client_id=client_id)
        self._config.set_public_key(issuer, public, client_id=client_id)
        self._memory, self._http = Memory(), _Session()

    def key_set(self) -> dict[str, Any]:
        """The tool's public key as a JWK set."""
        return dict(self._config.get_jwks())

    def login(self, exchange: Exchange, redirect_uri: str) -> Response:
        """Answer a login initiation: to the platform, and back to ``redirect_uri`` from there."""
        login = _Login(exchange, self._config, SessionService(exchange), exchange, launch_data_storage=self._memory)
        return exchange.finish(login.redirect(redirect_uri))

    def launch(self, exchange: Exchange) -> str:
        """Check a launch that a platform posts; its id in this tool."""
        launch, strict = Launch(**self._parts(exchange)), {"verify_aud": False, "require": ["exp", "iat"]}
        launch.set_jwt_verify_options(cast(dict[str, bool], strict))
        launch.set_launch_data_lifetime(LAUNCH_SECONDS)
        return str(launch.validate().get_launch_id())

    def resume(self, launch_id: str) -> Launch:
        """A launch that was checked before."""
        return cast(Launch, Launch.from_cache(launch_id, **self._parts(Exchange({}, {}, secure=False))))

    def report(self, launch: Launch, grade: Grade) -> None:
        """Send a score to the launch's own line item (AGS 2.0)."""
        launch.get_ags().put_grade(grade.set_user_id(launch.get_launch_data()["sub"]))

    def _parts(self, exchange: Exchange) -> dict[str, Any]:
        return {
            "request": exchange,
            "tool_config": self._config,
            "session_service": SessionService(exchange),
            "cookie_service": exchange,
            "launch_data_storage": self._memory,
            "requests_session": self._http,
        }


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
