"""Public keys of peers: fetched, kept, and fetched again when a peer rotates.

A set is kept for as long as its answer allows, within bounds; a kid that is not in it is looked for once more at once,
so that a rotation costs no launch; a set that can't be fetched any more goes on being used.
"""

from __future__ import annotations

import dataclasses
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

import orjson
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from jwt.exceptions import InvalidKeyError

from bridge.connect import ConnectorError, Http
from bridge.lti.errors import LtiError
from bridge.lti.host import Host
from bridge.observe import logger

DEFAULT_SECONDS = 3600.0
SHORTEST, LONGEST = 300.0, 86_400.0
#: A set is asked again for an unknown kid once in this time, whichever kid it is: a forger invents them.
MISS_SECONDS = 60.0
#: After a failed fetch the peer is left alone for so long.
RETRY_SECONDS = 10.0
MAX_BYTES = 256 * 1024
MIN_BITS = 2048


@dataclasses.dataclass(slots=True)
class _Kept:
    """A key set as it was last seen; ``problem`` says why the newest attempt to fetch it failed."""

    keys: Mapping[str, rsa.RSAPublicKey]
    until: float
    problem: str = ""
    looked_again: float = float("-inf")


def usable(key_set: Any) -> dict[str, rsa.RSAPublicKey]:
    """The keys of a JWK set (RFC 7517) that may sign: RSA of 2048 bits or more, public, for signatures, RS256."""
    listed = key_set.get("keys") if isinstance(key_set, Mapping) else None
    found: dict[str, rsa.RSAPublicKey] = {}
    for jwk in listed if isinstance(listed, list) else ():
        if not isinstance(jwk, dict) or jwk.get("kty") != "RSA" or not isinstance(jwk.get("kid"), str):
            continue
        if jwk.get("use") not in (None, "sig") or jwk.get("alg") not in (None, "RS256"):
            continue
        key = _load(jwk)
        if key is not None:
            found.setdefault(jwk["kid"], key)
    return found


def _load(jwk: dict[str, Any]) -> rsa.RSAPublicKey | None:
    try:
        key = RSAAlgorithm.from_jwk(jwk)
    except (InvalidKeyError, ValueError, TypeError):
        return None
    return key if isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_BITS else None


class KeySets:
    """The key sets that this process knows, by URL."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._locks: dict[str, threading.Lock] = {}

    def key(self, http: Http, url: str, kid: str) -> rsa.RSAPublicKey:
        """The key with that kid in the set at ``url``; raises LtiError saying what the tool's side has to change."""
        with self._locks.setdefault(url, threading.Lock()):  # a slow peer holds up nobody but its own requests
            kept = self._kept.get(url)
            if kept is None or self._clock() >= kept.until:
                kept = self._fetch(http, url, kept)
            if kid not in kept.keys and not kept.problem and self._may_look_again(kept):
                kept = self._fetch(http, url, kept)
        if kid not in kept.keys:
            raise _missing(url, kept.problem)
        return kept.keys[kid]

    def _may_look_again(self, kept: _Kept) -> bool:
        at = self._clock()
        if at - kept.looked_again < MISS_SECONDS:
            return False
        kept.looked_again = at
        return True

    def _fetch(self, http: Http, url: str, kept: _Kept | None) -> _Kept:
        fresh = dataclasses.replace(kept) if kept is not None else _Kept({}, 0.0)
        try:
            fresh.keys, seconds = self._read(http.to(url).request("GET", url, headers={"Accept": "application/json"}))
            fresh.problem = ""
        except (ConnectorError, ValueError) as error:
            logger("lti").warning("key set not fetched", url=_shown(url), problem=str(error))
            fresh.problem, seconds = str(error), RETRY_SECONDS
        fresh.until = self._clock() + seconds
        self._kept[url] = fresh
        return fresh

    @staticmethod
    def _read(response: requests.Response) -> tuple[dict[str, rsa.RSAPublicKey], float]:
        if len(response.content) > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES} bytes")
        keys = usable(orjson.loads(response.content))
        if not keys:
            raise ValueError("it holds no usable key")
        age = re.search(r"max-age=(\d{1,9})", response.headers.get("Cache-Control", ""))
        return keys, min(max(float(age[1]), SHORTEST), LONGEST) if age else DEFAULT_SECONDS


_KEY_SETS = KeySets()


class Peer(Protocol):
    """A registered tool or platform, as far as its keys go.

    ``trusted_network`` says that an admin typed its addresses in by hand, so that they may be on a private network.
    """

    @property
    def name(self) -> str: ...

    @property
    def jwks_uri(self) -> str: ...

    @property
    def jwks(self) -> Mapping[str, Any] | None: ...

    @property
    def trusted_network(self) -> bool: ...


def public_key(host: Host, peer: Peer, kid: str) -> rsa.RSAPublicKey:
    """A peer's key: from its key set's URL, else from the set that was typed in. Raises LtiError."""
    if peer.jwks_uri:
        return _KEY_SETS.key(host.http if peer.trusted_network else host.public_http, peer.jwks_uri, kid)
    keys = usable(peer.jwks)
    if kid not in keys:
        raise LtiError("kid_unknown", f"the key set of '{peer.name}' has no usable key with this kid", status=401)
    return keys[kid]


def _missing(url: str, problem: str) -> LtiError:
    if problem:
        return LtiError("key_set_unreachable", f"the key set at {_shown(url)} can't be read: {problem}", status=401)
    wanted = f"RSA of at least {MIN_BITS} bits, for signatures, RS256"
    return LtiError("kid_unknown", f"the key set at {_shown(url)} has no key with this kid ({wanted})", status=401)


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
