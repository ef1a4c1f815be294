"""LTI 1.3 over HTTP, in both roles."""

from __future__ import annotations

from fastapi import APIRouter

from bridge.web.lti import platform, services

router = APIRouter(tags=["lti"])
for part in (platform, services):
    router.include_router(part.router)
