"""The About Resource (xAPI-Communication 2.8)."""

from __future__ import annotations

import json

from fastapi import APIRouter, Response

from bridge.web.lrs.frame import as_json
from bridge.xapi.validation import Version

router = APIRouter()


@router.api_route("/about", methods=["GET", "HEAD"])
def about() -> Response:
    """Which versions this LRS speaks."""
    versions = [Version.V2_0_0, Version.V1_0_3]
    return as_json(200, json.dumps({"version": versions}), {"X-Experience-API-Version": Version.V2_0_0})
