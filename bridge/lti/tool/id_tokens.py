"""The id_token of a launch: signature first, then who it is for, how old it is, and what it says.

LTI Core 1.3 section 5.3, LTI Security Framework 1.0 section 5.1.3, Deep Linking 2.0 section 4.4.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.utils import base64url_decode

from bridge.lti import vocabulary
from bridge.lti.errors import LtiError

LEEWAY: Final = 60
#: A token is sent at once: one that was issued longer ago was kept by somebody. In seconds, as the next.
OLDEST: Final = 600
LONGEST_LIFE: Final = 86_400
#: Characters of a whole token, and of an identifier in it.
LARGEST: Final = 65_536
LONGEST_ID: Final = 255
_REQUIRED = ["exp", "iat", "iss", "aud", "sub", "nonce"]
_TIMES = ("exp", "iat", "nbf")
_CODES: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.InvalidSignatureError, "signature_wrong"),
    (jwt.ExpiredSignatureError, "token_expired"),
    (jwt.ImmatureSignatureError, "token_not_yet_valid"),
    (jwt.InvalidIssuerError, "issuer_wrong"),
    (jwt.InvalidAudienceError, "audience_wrong"),
    (jwt.MissingRequiredClaimError, "claim_missing"),
    (jwt.PyJWTError, "token_malformed"),
)


def refused(code: str, what: str, *, status: int = 400) -> LtiError:
    """The refusal of a launch whose token is not as it has to be."""
    again = "Open it again from your LMS; if it stays so, tell your LMS admin."
    return LtiError(code, f"Your LMS sent a launch that can't be trusted: {what}. {again}", status=status)


def kid_of(token: str) -> str:
    """The name of the key that signed a token, from its header alone; raises LtiError."""
    if len(token) > LARGEST:
        raise refused("token_too_large", f"it is longer than {LARGEST} characters", status=413)
    try:
        header = orjson.loads(base64url_decode(token.partition(".")[0]))
    except ValueError:
        header = None
    if not isinstance(header, dict) or token.count(".") != 2:
        raise refused("token_malformed", "it is no signed JWT")
    if header.get("alg") != "RS256":
        raise refused("algorithm_refused", "it is not signed with RS256", status=401)
    if "crit" in header:
        raise refused("header_critical", "its header asks for an extension that is not known here")
    kid = header.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= LONGEST_ID:
        raise refused("kid_missing", "it does not say with which key it is signed", status=401)
    return kid


class _Strict(jwt.PyJWT):
    """Reads claims without NaN, half characters or endless nesting, and times only from numbers."""

    def _decode_payload(self, decoded: dict[str, Any]) -> dict[str, Any]:
        try:
            claims = orjson.loads(decoded["payload"])
        except orjson.JSONDecodeError:
            raise jwt.DecodeError("its claims are not JSON") from None
        if not isinstance(claims, dict):
            raise jwt.DecodeError("its claims are not an object")
        for name in _TIMES:
            if type(claims.get(name, 0)) not in (int, float):
                raise jwt.DecodeError(f"its {name} is not a number")
        return claims


_JWT = _Strict()


def claims_of(token: str, key: rsa.RSAPublicKey, *, issuer: str, client_id: str) -> dict[str, Any]:
    """The claims of a token that this key has signed, now, and for this client alone; raises LtiError."""
    try:
        claims = _JWT.decode(
            token,
            key,
            algorithms=["RS256"],
            audience=client_id,
            issuer=issuer,
            leeway=LEEWAY,
            options={"require": _REQUIRED},
        )
    except jwt.PyJWTError as error:
        code = next(code for kind, code in _CODES if isinstance(error, kind))
        raise refused(code, str(error), status=401) from None
    _check_party(claims, client_id)
    _check_age(claims)
    return claims


def _check_party(claims: Mapping[str, Any], client_id: str) -> None:
    """OpenID Connect Core section 3.1.3.7, steps 4 and 5."""
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if (several or claims.get("azp") is not None) and claims.get("azp") != client_id:
        raise refused("azp_wrong", "it was issued for somebody else", status=401)


def _check_age(claims: Mapping[str, Any]) -> None:
    if claims["iat"] < time.time() - OLDEST:
        raise refused("token_too_old", f"it was issued more than {OLDEST // 60} minutes ago", status=401)
    if not 0 < claims["exp"] - claims["iat"] <= LONGEST_LIFE:
        raise refused("token_life_wrong", "it ends before it begins, or lives longer than a day", status=401)


def check_message(claims: Mapping[str, Any], target: str) -> None:
    """The shape of a message's claims; ``target`` is the address that its login was for. Raises LtiError."""
    core = vocabulary.CLAIM
    if claims.get(core + "version") != vocabulary.VERSION:
        raise refused("version_wrong", "it is not of LTI 1.3")
    if claims.get(core + "target_link_uri") != target:
        raise refused("target_link_uri_wrong", "it leads elsewhere than its login")
    identifier(claims, "sub")
    roles = claims.get(core + "roles")
    if not isinstance(roles, list) or not all(isinstance(role, str) and "\x00" not in role for role in roles):
        _wrong("roles", "is not a list of names")
    if claims.get(core + "context") is not None:
        identifier(_object(claims, core + "context"), "id")
    match claims.get(core + "message_type"):
        case vocabulary.RESOURCE_LINK_REQUEST:
            identifier(_object(claims, core + "resource_link"), "id")
        case vocabulary.DEEP_LINKING_REQUEST:
            back = _object(claims, vocabulary.DEEP_LINKING_SETTINGS).get("deep_link_return_url")
            if not isinstance(back, str) or not back.startswith(("http://", "https://")):
                _wrong("deep_link_return_url", "is not a web address")
        case _:
            raise refused("message_type_unknown", "it is no message that flowbridge takes")


def identifier(claims: Mapping[str, Any], name: str) -> str:
    """A claim that is kept as it is: a text of 1 to 255 characters; raises LtiError."""
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_ID or "\x00" in value:
        _wrong(name, f"is not a text of 1 to {LONGEST_ID} characters")
    return value


def _object(claims: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = claims.get(name)
    return value if isinstance(value, dict) else _wrong(name, "is missing or not an object")


def _wrong(claim: str, what: str) -> NoReturn:
    raise refused("claim_invalid", f"{claim.rpartition('/')[2]} {what}")
