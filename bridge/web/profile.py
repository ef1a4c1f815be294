"""The bridge's xAPI profile, for validators and for people who meet its words in a statement."""

from __future__ import annotations

import functools

import orjson
from fastapi import APIRouter, Response

from bridge.xapi.profile.document import as_jsonld

router = APIRouter(tags=["xapi"])


@router.get("/profiles/flowbridge")
def show() -> Response:
    """The profile document in JSON-LD; any page may fetch it (``docs/xapi-profile.md``)."""
    return Response(_document(), media_type="application/ld+json", headers={"Access-Control-Allow-Origin": "*"})


@functools.cache
def _document() -> bytes:
    return orjson.dumps(as_jsonld())
