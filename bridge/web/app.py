"""The web application."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import DataError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.connect import ConnectorError, SignatureInvalid, UnexpectedPayload
from bridge.flows.errors import FlowError, Invalid, NotFound
from bridge.flows.runtime import Runtime
from bridge.lti.errors import LtiError
from bridge.observe import logger
from bridge.settings import Settings
from bridge.web import api, console, content, health, hooks, launch, lrs, lti, oauth, pages, profile, widget
from bridge.web.lrs import border

_SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none';"
        " base-uri 'none'; frame-ancestors 'self'; form-action 'self'"
    ),
}


class BodyLimit:
    """Refuse bodies over the limit with 413, whether their length is announced or not; the LRS has its own limit."""

    def __init__(self, app: ASGIApp, limit: int, of_xapi: int) -> None:
        self.app, self.limit, self.of_xapi = app, limit, of_xapi

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.of_xapi if scope["path"].startswith(f"{border.PREFIX}/") else self.limit
        announced = Headers(scope=scope).get("content-length", "0")
        if not announced.isdecimal() or int(announced) > limit:
            await self._refuse(limit, scope, receive, send)
            return
        body, more = bytearray(), scope["method"] not in ("GET", "HEAD")
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > limit:
                await self._refuse(limit, scope, receive, send)
                return
        first: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return first.pop() if first else await receive()

        await self.app(scope, replay, send)

    async def _refuse(self, limit: int, scope: Scope, receive: Receive, send: Send) -> None:
        body = _error("too_large", f"The body is larger than {limit} bytes. Send less at once.")
        await JSONResponse(body, 413, headers={"Connection": "close"})(scope, receive, send)


class SecurityHeaders:
    """Say on every answer what browsers may do with it, unless its page says so itself; log our own faults."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY.items():
                    headers.setdefault(name, value)
                if framed_by := scope.get("state", {}).get("framed_by"):
                    policy = headers["Content-Security-Policy"]
                    headers["Content-Security-Policy"] = policy.replace(
                        "frame-ancestors 'self'", f"frame-ancestors 'self' {framed_by}"
                    )
                if message["status"] >= 500:
                    logger("web").error("request failed", path=scope["path"], status=message["status"])
            await send(message)

        await self.app(scope, receive, guarded if scope["type"] == "http" else send)


def _error(code: str, message: str, field: str = "") -> dict[str, dict[str, str]]:
    return {"error": {"code": code, "message": message, **({"field": field} if field else {})}}


def _answer(request: Request, status: int, code: str, message: str, field: str = "") -> Response:
    of_programs = request.url.path.startswith(("/api/", "/hooks/", "/xapi/"))
    if "text/html" in request.headers.get("accept", "") and not of_programs:
        return pages.problem(request, status, code, message)
    return JSONResponse(_error(code, message, field), status)


def _flow_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, FlowError)
    status = 404 if isinstance(error, NotFound) else 400 if isinstance(error, Invalid) else 403
    return _answer(request, status, error.code, str(error), getattr(error, "field", ""))


def _lti_error(request: Request, error: Exception) -> Response:
    """Where a person's browser is; services answer in the form that LTI gives them."""
    assert isinstance(error, LtiError)
    return pages.problem(request, error.status, error.code, str(error))


def _connector_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ConnectorError)
    if isinstance(error, SignatureInvalid):
        return _answer(request, 401, "signature_invalid", str(error))
    if isinstance(error, UnexpectedPayload):
        return _answer(request, 400, "malformed", str(error), error.field)
    return _answer(request, 503, "connection_problem", str(error))


#: What the framework says by a status alone, in words that programs can match.
_CODES = {401: "unauthorized", 403: "forbidden", 404: "not_found", 405: "method_not_allowed"}
_WORDS = {
    "Not Found": "There is nothing at this address.",
    "Method Not Allowed": "This address does not take requests of that method.",
}


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code < 400:
        return Response(status_code=error.status_code, headers=error.headers)
    code = _CODES.get(error.status_code, "refused")
    words = _WORDS.get(error.detail, error.detail)
    response = _answer(request, error.status_code, code, words)
    response.headers.update(error.headers or {})
    return response


def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["loc"][0] == "path":
        return _answer(request, 404, "not_found", _WORDS["Not Found"])
    field = ".".join(str(step) for step in first["loc"][1:]) or str(first["loc"][0])
    return _answer(request, 422, "invalid", f"{field}: {first['msg']}", field)


def _data_error(request: Request, _error: Exception) -> Response:
    return _answer(request, 400, "malformed", "This holds a character or number that can't be stored.")


def _unexpected(request: Request, _error: Exception) -> Response:
    """A fault of ours: the server logs its traceback."""
    message = "Something went wrong here, and was logged. Try again; if it stays so, tell your LMS admin."
    response = _answer(request, 500, "internal", message)
    response.headers.update(_SECURITY)
    return response


def create_app(runtime: Runtime | None = None) -> FastAPI:
    """The application; without a runtime it is made from the settings, as a server's process does."""
    the_runtime = runtime or _from_settings()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with widget.watching(app):
            yield
        the_runtime.db.close()

    app = FastAPI(
        title="flowbridge",
        version=version("flowbridge"),
        summary="From an event at work to the help for it, and to the evidence that it helped.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.runtime = the_runtime
    limits = the_runtime.settings
    app.add_middleware(BodyLimit, limit=limits.max_body_bytes, of_xapi=limits.max_xapi_body_bytes)
    app.add_middleware(border.Border)
    app.add_exception_handler(FlowError, _flow_error)
    app.add_exception_handler(LtiError, _lti_error)
    app.add_exception_handler(ConnectorError, _connector_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(DataError, _data_error)
    app.add_exception_handler(Exception, _unexpected)
    app.add_middleware(SecurityHeaders)
    # Routes are tried in their order: those that most requests want are first.
    for part in (launch, lti, widget, hooks, lrs, api, oauth, content, health, console, pages, profile):
        app.include_router(part.router)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    if runtime is None:
        _leave_to_stay()
    return app


def _leave_to_stay() -> None:
    """Spare the garbage collector what a server's process has loaded: it would look through all of it ever again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def _from_settings() -> Runtime:
    from workers.nudge import publisher

    settings = Settings.load()
    runtime = Runtime.start(settings)
    runtime.nudge = publisher(settings)
    return runtime
