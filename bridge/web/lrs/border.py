"""What holds for every answer of the LRS, also those that no resource made: browsers of other origins may read it."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.xapi.validation import Version

PREFIX = "/xapi"
#: What a script may read of an answer beside the few headers that each may (Fetch 3.2.3).
_EXPOSED = (
    "ETag",
    "Last-Modified",
    "X-Experience-API-Consistent-Through",
    "X-Experience-API-Hash",
    "X-Experience-API-Version",
)


class Border:
    """Let content that runs on other origins in: it is known by its Authorization header, never by a cookie."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.open = CORSMiddleware(
            self._versioned,
            allow_origins=["*"],
            allow_methods=["GET", "HEAD", "PUT", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=_EXPOSED,
            max_age=3600,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        inside = scope["type"] == "http" and f"{scope['path']}/".startswith(f"{PREFIX}/")
        await (self.open if inside else self.app)(scope, receive, send)

    async def _versioned(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def said(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).setdefault("X-Experience-API-Version", Version.V2_0_0)
            await send(message)

        await self.app(scope, receive, said)
