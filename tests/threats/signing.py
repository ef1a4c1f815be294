"""JWTs as attackers write them: any header over any claims, signed with any key."""

from __future__ import annotations

import base64
import dataclasses
import functools
import json
import math
import re
import time
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm, get_default_algorithms

_ALGORITHMS = get_default_algorithms()
_RAW = re.compile(r'"\\u0000raw:([^"]*)"')
_CURVES = {"ES256": ec.SECP256R1, "ES256K": ec.SECP256K1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}


def clock() -> int:
    """The second that is about to begin: what is 59 s off is still that when it arrives, and 61 s stays over 60."""
    return math.ceil(time.time())


def raw(text: str) -> str:
    """A value that stands in the JSON as it is written here, such as 1e309."""
    return f"\0raw:{text}"


@functools.cache
def rsa_key(owner: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key of its own for every owner, made once: keys cost more than most cases."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@functools.cache
def curve_key(algorithm: str) -> ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey:
    """The key for an algorithm on a curve."""
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(_CURVES[algorithm]())


def pem(key: rsa.RSAPrivateKey) -> bytes:
    """The public key as a file, which some take for a shared secret."""
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def jwk(key: Any, kid: str, **members: Any) -> dict[str, Any]:
    """A public key in the form of RFC 7517; a member that is None is left out."""
    kinds = ((rsa.RSAPrivateKey, RSAAlgorithm), (ec.EllipticCurvePrivateKey, ECAlgorithm))
    kind: Any = next((one for of, one in kinds if isinstance(key, of)), OKPAlgorithm)
    usual = {"kid": kid, "use": "sig", "alg": "RS256"}
    told = {**kind.to_jwk(key.public_key(), as_dict=True), **usual, **members}
    return {name: value for name, value in told.items() if value is not None}


@dataclasses.dataclass(slots=True)
class Draft:
    """A token before it is signed: ``key`` signs, as the header's ``alg`` says."""

    header: dict[str, Any]
    claims: Any
    key: Any = dataclasses.field(repr=False)

    def apply(self, change: Mapping[str, Any]) -> None:
        """Set, take out and keep members, as a case's ``change`` says (its ``@`` words are filled in already)."""
        if "keep_only" in change:
            self.claims = {name: value for name, value in self.claims.items() if name in change["keep_only"]}
        for part, target in (("header", self.header), ("claims", self.claims)):
            target.update(change.get(part, {}))
            for name in [name for name, value in change.get(part, {}).items() if value is None]:
                del target[name]

    def signed(self) -> str:
        text = f"{part(self.header)}.{part(self.claims)}"
        return f"{text}.{encoded(self._signature(text.encode()))}"

    def _signature(self, message: bytes) -> bytes:
        name = self.header.get("alg")
        algorithm = _ALGORITHMS.get(name) if isinstance(name, str) else None
        if isinstance(name, str) and name.casefold() == "none":
            return b""
        if algorithm is None:  # a name that nobody knows: the signature is what a careless reader would take it for
            algorithm = _ALGORITHMS["HS256" if isinstance(self.key, bytes) else "RS256"]
        return bytes(algorithm.sign(message, self.key))


def raw_token(draft: Draft, members: Mapping[str, str]) -> str:
    """A draft with more members in its claims, whose values are JSON already: too deep for the encoder."""
    more = "".join(f", {json.dumps(name)}: {text}" for name, text in members.items())
    claims = json.dumps(draft.claims)[:-1] + more + "}"
    text = f"{part(draft.header)}.{encoded(claims.encode())}"
    return f"{text}.{encoded(draft._signature(text.encode()))}"


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def part(value: Any) -> str:
    """A part of a JWT."""
    return encoded(_RAW.sub(r"\1", json.dumps(value)).encode())


def with_flipped_byte(token: str) -> str:
    """The token with one byte of its signature changed."""
    head, _, signature = token.rpartition(".")
    content = bytearray(base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)))
    content[len(content) // 2] ^= 1
    return f"{head}.{encoded(bytes(content))}"
