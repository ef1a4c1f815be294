"""What the settings of LTI peers share: addresses, deployments, key sets (LTI Security Framework 1.0)."""

from __future__ import annotations

import base64
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter

from bridge.connect.http import Http

#: The shortest RSA key that may sign (RFC 7518 section 3.3), in bits.
SHORTEST_KEY = 2048


def _is_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an address begins with https:// and a host")
    return value


#: Kept letter by letter: LTI compares addresses as strings, and pydantic's URL types would add a slash.
Address = Annotated[str, AfterValidator(_is_address)]
DeploymentId = Annotated[str, Field(min_length=1, max_length=255)]


class Key(BaseModel):
    """A key of a JWK set (RFC 7517)."""

    kty: str
    kid: str = ""
    use: str = "sig"
    n: str = ""

    @property
    def signs(self) -> bool:
        """Can what it signed be verified: an RSA key with a name, long enough, not kept for encryption?"""
        try:
            modulus = base64.urlsafe_b64decode(self.n + "=" * (-len(self.n) % 4))
        except ValueError:
            return False
        bits = int.from_bytes(modulus, "big").bit_length()
        return self.kty == "RSA" and bool(self.kid) and self.use == "sig" and bits >= SHORTEST_KEY


class KeySet(BaseModel):
    """A JWK set (RFC 7517 section 5)."""

    keys: list[Key]

    @property
    def usable(self) -> list[Key]:
        return [key for key in self.keys if key.signs]


_KEY_SET = TypeAdapter(KeySet)


def peers_keys(http: Http, jwks_uri: str | None, jwks: dict[str, Any] | None) -> KeySet:
    """The keys of a peer: fetched from its address, else those of the settings; raises ConnectorError."""
    if jwks_uri:
        return http.to(jwks_uri).read(_KEY_SET, "GET", jwks_uri)
    return KeySet.model_validate(jwks or {"keys": []})
