"""Signed statements: the signature is an attachment, a JWS of the statement itself (xAPI-Data 2.6)."""

from __future__ import annotations

import base64
from typing import Any

import jwt
from cryptography import x509

from bridge.xapi.index import Json
from bridge.xapi.lrs.comparing import alike
from bridge.xapi.validation import InvalidStatement, loads

_SECTION = "xAPI-Data 2.6"
_ALGORITHMS = ["RS256", "RS384", "RS512"]


def check(statement: Json, signature: bytes, path: str) -> None:
    """Raises InvalidStatement where this is not a signature of the statement.

    Where its header brings the certificate, the signature is verified by it. Whom the certificate belongs to is for
    the reader to judge: an LRS knows no authorities to ask.
    """
    try:
        header = jwt.get_unverified_header(signature)
        if header.get("alg") not in _ALGORITHMS:
            raise InvalidStatement(path, f"must be signed by {', '.join(_ALGORITHMS)} ({_SECTION})")
        payload = _payload(signature, header)
    except InvalidStatement:
        raise
    except (jwt.PyJWTError, ValueError, TypeError, LookupError):  # whatever a made-up certificate can raise
        rule = f"must be a JWS, and one that the certificate in it verifies ({_SECTION})"
        raise InvalidStatement(path, rule) from None
    _compare(statement, payload, path)


def _payload(signature: bytes, header: dict[str, Any]) -> bytes:
    if "x5c" not in header:
        return bytes(jwt.PyJWS().decode_complete(signature, options={"verify_signature": False})["payload"])
    key = x509.load_der_x509_certificate(base64.b64decode(header["x5c"][0], validate=True)).public_key()
    return bytes(jwt.PyJWS().decode(signature, key, algorithms=_ALGORITHMS))  # type: ignore[arg-type]


def _compare(statement: Json, payload: bytes, path: str) -> None:
    signed = loads(payload)
    if not isinstance(signed, dict) or not {"actor", "verb", "object"} <= signed.keys():
        raise InvalidStatement(path, f"must hold a statement ({_SECTION})")
    try:
        equal = alike(signed, statement, beside=("attachments",))
    except (AttributeError, LookupError, TypeError, ValueError):
        equal = False  # it is not even a statement
    if not equal:
        raise InvalidStatement(path, f"is the signature of another statement ({_SECTION})")
