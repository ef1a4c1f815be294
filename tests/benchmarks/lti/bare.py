"""The least that the framework can do for a launch: two handlers that answer pages of the same size.

``python -m tests.benchmarks.lti.bare PORT SIZE SIZE``; the server's settings are those of ``flowbridge web``.
"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI
from fastapi.responses import HTMLResponse


def create_app(first: int, second: int) -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None)
    pages = "x" * first, "x" * second

    @app.post("/prompts/{prompt_id}/open")
    async def open_own(prompt_id: str) -> HTMLResponse:
        return HTMLResponse(pages[0])

    @app.get("/lti/authorize")
    async def authorize() -> HTMLResponse:
        return HTMLResponse(pages[1])

    return app


if __name__ == "__main__":
    port, first, second = map(int, sys.argv[1:])
    uvicorn.run(
        create_app(first, second),
        port=port,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
    )
