"""The built-in LRS over HTTP, at /xapi, for xAPI 1.0.3 and 2.0."""

from __future__ import annotations

from fastapi import APIRouter

from bridge.web.lrs import about, activities, agents, documents, statements

#: The xAPI specification describes it, not OpenAPI.
router = APIRouter(prefix="/xapi", include_in_schema=False)
for part in (statements, documents, activities, agents, about):
    router.include_router(part.router)
