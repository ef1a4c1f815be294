"""LTI 1.3 over HTTP, in both roles."""

from __future__ import annotations

from fastapi import APIRouter

from bridge.web.lti import deep_linking, placing, platform, registering, registration, services, tool

router = APIRouter(tags=["lti"])
for part in (platform, services, deep_linking, registration, registering, tool, placing):
    router.include_router(part.router)
