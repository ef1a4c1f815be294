"""Tokens for an LMS's services, and the clients that carry them.

1EdTech Security Framework 1.0 section 4.1 (https://www.imsglobal.org/spec/security/v1p0/), RFC 7523.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from bridge.connect import ConfigError, Http, UnexpectedPayload
from bridge.lti import keys
from bridge.lti.host import Host
from bridge.lti.tool.platforms import Platform

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
#: An assertion is dated back: Moodle refuses one that its own clock has not reached, by as little as a second.
BACKDATE_SECONDS, ASSERTION_SECONDS = 30, 60
#: A token is used until so long before its end, and for a day at most.
MARGIN_SECONDS, LONGEST_SECONDS = 60.0, 86_400.0


class _Key(NamedTuple):
    """What a token is good for."""

    issuer: str
    client_id: str
    token_url: str
    scopes: tuple[str, ...]


class _Cache:
    """The tokens of this process; whoever needs one that another thread is asking for waits for that one."""

    def __init__(self) -> None:
        self._tokens: dict[tuple[str, _Key], tuple[str, float]] = {}
        self._locks: dict[tuple[str, _Key], threading.Lock] = {}

    def get(self, host: Host, platform: Platform, key: _Key, *, instead_of: str = "") -> str:
        """A token that lives; a new one where the known one is ``instead_of``, which the LMS has refused."""
        of = (host.settings.issuer, key)
        with self._locks.setdefault(of, threading.Lock()):
            token, until = self._tokens.get(of, ("", 0.0))
            if not token or token == instead_of or time.monotonic() >= until:
                token, seconds = _ask(host, platform, key)
                self._tokens[of] = token, time.monotonic() + min(seconds, LONGEST_SECONDS) - MARGIN_SECONDS
            return token

    def clear(self) -> None:
        self._tokens.clear()


_CACHE = _Cache()
forget = _CACHE.clear


def tokens(host: Host, platform: Platform, scopes: tuple[str, ...]) -> Iterator[str]:
    """The token for these scopes, and a new one for whoever comes back because the LMS refused the first."""
    key = _Key(platform.issuer, platform.client_id, platform.auth_token_url, scopes)
    first = _CACHE.get(host, platform, key)
    yield first
    yield _CACHE.get(host, platform, key, instead_of=first)


def client(host: Host, platform: Platform, url: str) -> Http:
    """A client for an address of the platform; into a private network only where an admin typed its settings in."""
    return (host.http if platform.trusted_network else host.public_http).to(url)


def _ask(host: Host, platform: Platform, key: _Key) -> tuple[str, float]:
    if not platform.auth_token_url:
        raise ConfigError(f"the LMS '{platform.name}' has no auth_token_url: its services can't be asked")
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": JWT_BEARER,
        "client_assertion": _assertion(host, platform),
        "scope": " ".join(key.scopes),
    }
    response = client(host, platform, key.token_url).request("POST", key.token_url, data=form, ok=(400, 401, 403, 404))
    # Moodle calls its JSON text/html, and says what is wrong as a bare text.
    answer: Any = None
    with contextlib.suppress(orjson.JSONDecodeError):
        answer = orjson.loads(response.content)
    said = answer if isinstance(answer, dict) else {}
    if not response.ok:
        why = said.get("error_description") or said.get("error") or _bare(response.text)
        raise ConfigError(
            f"the LMS '{platform.name}' gives no access token ({response.status_code} {str(why)[:200]}); check that it"
            " has this client id, the bridge's key set address and these services for the bridge"
        )
    token = said.get("access_token")
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        raise UnexpectedPayload(f"the LMS '{platform.name}' answered a token request without a token")
    return token, _seconds(said.get("expires_in"))


def _bare(text: str) -> str:
    return "" if text.lstrip().startswith("<") else text.strip()


def _seconds(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0  # it does not say how long: used once


def _assertion(host: Host, platform: Platform) -> str:
    at = int(time.time())
    return keys.sign(
        host,
        {
            "iss": platform.client_id,
            "sub": platform.client_id,
            "aud": platform.auth_audience,
            "iat": at - BACKDATE_SECONDS,
            "exp": at + ASSERTION_SECONDS,
            "jti": str(uuid.uuid4()),
        },
    )
