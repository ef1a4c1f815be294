"""Stand-in for the web application: it is ready, and it stores and nudges as the real one does."""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from bridge.flows.runtime import Runtime
from bridge.settings import Settings
from bridge.store import now, tables
from workers.nudge import publisher

Asgi = Callable[[dict[str, Any], Callable[[], Awaitable[Any]], Callable[[dict[str, Any]], Awaitable[None]]], Any]


def create_app() -> Asgi:
    if os.environ.get("STAND_IN_BROKEN"):
        raise RuntimeError("the web application is broken on purpose")
    runtime = Runtime.start(Settings.load())
    nudge = publisher(runtime.settings)

    def event() -> dict[str, Any]:
        row = tables.Event(
            id=uuid.uuid4(), connection_id=1, external_id=uuid.uuid4().hex, type="t", source="s", subject="",
            time=now(), data={}, people={},
        )  # fmt: skip
        with runtime.db.write() as session:
            session.add(row)
        begun = time.perf_counter()
        nudge("decide")
        return {"id": str(row.id), "nudge_seconds": time.perf_counter() - begun}

    async def app(scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
            await asyncio.Event().wait()
        body = event() if scope["path"] == "/event" else {"ready": True, "pid": os.getpid()}
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(body).encode()})

    return app
