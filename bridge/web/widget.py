"""The widget in business apps: its script, its sign-in, and the prompts that it waits for.

A business app's page loads ``/widget.js``. The app's server vouches for the person with a signed assertion, the widget
exchanges it for a bearer token, and asks for prompts with a request that is answered as soon as there is something new.
Cookies play no part: a page elsewhere can do nothing with a sign-in of the bridge. Only pages of the connection's own
``origins`` may read the answers.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import datetime as dt
import functools
import hashlib
import json
import signal
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, cast

import jwt
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from bridge.connect import SignatureInvalid
from bridge.flows import identity, open_launch, record_outcome, show_prompts
from bridge.flows.errors import NotFound, Refused
from bridge.flows.open_launch import Opened
from bridge.flows.runtime import Runtime
from bridge.flows.show_prompts import ShownPrompt
from bridge.observe import logger
from bridge.store import now, tables
from bridge.web.auth import TheRuntime, runtime_of

TOKEN_LIFE = dt.timedelta(hours=1)
#: How often the database is asked whether anything is new, in seconds; once per process, however many widgets wait.
WATCH_EVERY = 0.15
#: One person's waiting requests per process: a visible page each, with room for a few windows.
WAITING_PER_PERSON = 8
_READERS = 4
_STOPS = (signal.SIGINT, signal.SIGTERM)


class Watcher:
    """Wakes the requests that wait for prompts when something in the database has changed."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._cursor = ""
        self._changed = asyncio.Event()
        self._ended = False
        self._waiting: collections.Counter[int] = collections.Counter()
        # A change wakes every waiting widget at once: their queries must not take all of the threads that serve others.
        self._readers = CapacityLimiter(_READERS)

    async def run(self) -> None:
        """Look for changes for ever, as long as anybody waits."""
        while True:
            if self._waiting:
                await self._look()
            await asyncio.sleep(WATCH_EVERY)

    async def _look(self) -> None:
        try:
            cursor = await to_thread.run_sync(show_prompts.latest, self._runtime)
        except SQLAlchemyError as error:  # those who wait are answered when the database is back
            logger("widget").warning("can't look for new prompts", problem=type(error).__name__)
            return
        if cursor != self._cursor:
            self._cursor = cursor
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def end(self) -> None:
        """Answer everybody now: a server that is told to stop waits for its open requests."""
        self._ended = True
        self._wake()

    @contextlib.contextmanager
    def _place(self, person_id: int) -> Iterator[None]:
        self._waiting[person_id] += 1
        try:
            yield
        finally:
            self._waiting[person_id] -= 1
            if not self._waiting[person_id]:
                del self._waiting[person_id]

    async def prompts(
        self, person_id: int, after: str, wait: float, *, gone: asyncio.Future[None]
    ) -> dict[str, Any] | None:
        """The person's prompts as soon as they differ from ``after``, at the latest after ``wait`` seconds.

        Stops waiting when ``gone`` is done: nobody listens any more. None when the person has too many requests
        waiting already.
        """
        if self._waiting[person_id] >= WAITING_PER_PERSON:
            return None
        deadline = asyncio.get_running_loop().time() + wait
        with self._place(person_id):
            while True:
                changed = asyncio.create_task(self._changed.wait())
                shown = await to_thread.run_sync(self._read, person_id, limiter=self._readers)
                left = deadline - asyncio.get_running_loop().time()
                if shown["cursor"] != after or left <= 0 or self._ended or gone.done():
                    changed.cancel()
                    return shown
                await asyncio.wait((changed, gone), timeout=left, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()

    def _read(self, person_id: int) -> dict[str, Any]:
        prompts = [_as_json(prompt) for prompt in show_prompts.open_prompts(self._runtime, person_id)]
        digest = hashlib.sha256(json.dumps(prompts, sort_keys=True).encode()).hexdigest()
        return {"cursor": digest[:20], "prompts": prompts}


def _as_json(prompt: ShownPrompt) -> dict[str, Any]:
    return {**dataclasses.asdict(prompt), "id": str(prompt.id), "created_at": prompt.created_at.isoformat()}


@contextlib.asynccontextmanager
async def watching(app: FastAPI) -> AsyncIterator[None]:
    """Keep this process's watcher running for as long as the application does."""
    app.state.watcher = Watcher(app.state.runtime)
    task = asyncio.create_task(app.state.watcher.run())
    try:
        with _told_to_stop(app.state.watcher.end):
            yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.contextmanager
def _told_to_stop(call: Callable[[], None]) -> Iterator[None]:
    """Also ``call`` when the process gets a signal to stop; the server's own handlers stay in charge.

    The lifespan's end would be too late: a server ends that only after the last request.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, before = asyncio.get_running_loop(), {number: signal.getsignal(number) for number in _STOPS}

    def stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(call)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number in _STOPS:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def origins_of(runtime: Runtime) -> dict[str, frozenset[str]]:
    """By connection in use: the origins whose pages may embed the widget."""
    with runtime.db.read() as session:
        rows = session.execute(
            select(tables.Connection.name, tables.Connection.config).where(tables.Connection.enabled)
        ).all()
    return {name: frozenset(str(origin).rstrip("/") for origin in config.get("origins", ())) for name, config in rows}


class _Shared(APIRoute):
    """A route whose answers, and refusals, may be read by pages of the connections' origins (CORS without cookies)."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        origin = request.headers.get("origin", "")
        known = await to_thread.run_sync(origins_of, runtime_of(request)) if origin else {}
        shared = any(origin in origins for origins in known.values())

        async def share(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Vary"] = "Origin"
                headers["Cache-Control"] = "no-store"
                if shared:
                    headers["Access-Control-Allow-Origin"] = origin
                    headers["Access-Control-Expose-Headers"] = "Retry-After"
            await send(message)

        await super().handle(scope, receive, share)


router = APIRouter(tags=["widget"])
_shared = APIRouter(prefix="/api/v1/widget", route_class=_Shared)


@functools.cache
def _script() -> tuple[bytes, str]:
    body = (Path(__file__).parent / "static" / "widget.js").read_bytes()
    return body, f'"{hashlib.sha256(body).hexdigest()[:20]}"'


@router.get("/widget.js", include_in_schema=False)
def script(if_none_match: Annotated[str, Header()] = "") -> Response:
    """The widget itself: one file, for the pages of business apps."""
    body, tag = _script()
    headers = {"ETag": tag, "Cache-Control": "public, max-age=300", "Cross-Origin-Resource-Policy": "cross-origin"}
    if tag in if_none_match:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="text/javascript", headers=headers)


@_shared.options("/{path:path}", include_in_schema=False)
def preflight(path: str) -> Response:
    """What a page elsewhere may send; whether it may at all is said by the route's own header."""
    allowed = {
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Allow-Headers": "authorization, content-type",
        "Access-Control-Max-Age": "600",
    }
    return Response(status_code=204, headers=allowed)


class SignInRequest(BaseModel):
    """What the widget signs in with."""

    connection: str = Field(max_length=255)
    assertion: str = Field(max_length=8192)


class Token(BaseModel):
    """A bearer token for the widget's other requests; ``expires_in`` is in seconds."""

    token: str
    expires_in: int


class Tick(BaseModel):
    """A step of a checklist was done, or was not."""

    done: bool


def _may_embed(runtime: Runtime, connection: str, request: Request) -> None:
    """Raises Refused unless the connection is in use and the page, if it is one, belongs to it."""
    origins = origins_of(runtime)
    if connection not in origins:
        raise Refused(f"The connection '{connection}' is not known or is switched off.", code="connection_disabled")
    origin = request.headers.get("origin")
    if origin is not None and origin not in origins[connection] | {runtime.settings.issuer}:
        logger("widget").warning("a page elsewhere tried to embed the widget", origin=origin, connection=connection)
        raise Refused(
            f"Pages of {origin} may not embed the widget of '{connection}'. An admin can add the address to the"
            " connection's `origins`.",
            code="origin_refused",
        )


@_shared.post("/session", operation_id="widget_session")
def sign_in(body: SignInRequest, request: Request, runtime: TheRuntime) -> Token:
    """Exchange the assertion of a business app's server for a token of the person whom it vouches for."""
    _may_embed(runtime, body.connection, request)
    person_id = identity.person_from_assertion(runtime, body.connection, body.assertion)
    claims = {"sub": str(person_id), "connection": body.connection, "exp": now() + TOKEN_LIFE}
    token = jwt.encode(claims, runtime.vault.derive("widget"), algorithm="HS256")
    return Token(token=token, expires_in=int(TOKEN_LIFE.total_seconds()))


def _person(request: Request, runtime: TheRuntime) -> int:
    """The person behind the bearer token; raises SignatureInvalid or Refused."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    try:
        claims = jwt.decode(
            token if kind.lower() == "bearer" else "",
            runtime.vault.derive("widget"),
            algorithms=["HS256"],
            options={"require": ["exp", "sub"]},
        )
    except jwt.PyJWTError:
        raise SignatureInvalid(
            "The widget's sign-in has ended; post a new assertion to /api/v1/widget/session."
        ) from None
    _may_embed(runtime, claims["connection"], request)
    return int(claims["sub"])


Person = Annotated[int, Depends(_person)]


@_shared.get("/prompts", operation_id="widget_prompts", response_model=None)
async def prompts(
    request: Request,
    person: Person,
    after: Annotated[str, Query(max_length=64)] = "",
    wait: Annotated[float, Query(ge=0, le=30)] = 0.0,
) -> dict[str, Any] | Response:
    """The person's prompts, as soon as they are others than those of the cursor ``after``, or when ``wait`` is over."""
    watcher = cast(Watcher, request.app.state.watcher)
    gone = asyncio.create_task(_gone(request))
    try:
        shown = await watcher.prompts(person, after, wait, gone=gone)
    finally:
        gone.cancel()
    if shown is None:
        message = "This person has many pages waiting for prompts. Close some, or ask again in a while."
        error = {"code": "too_many_waiting", "message": message}
        return JSONResponse({"error": error}, 429, headers={"Retry-After": "15"})
    return shown


async def _gone(request: Request) -> None:
    """Returns when the browser has given up the request: its page was left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


@_shared.post("/prompts/{prompt_id}/shown", operation_id="widget_shown", status_code=204)
def shown(prompt_id: uuid.UUID, person: Person, runtime: TheRuntime) -> None:
    """The prompt is on the person's screen."""
    show_prompts.mark_shown(runtime, prompt_id, person)


@_shared.post("/prompts/{prompt_id}/dismiss", operation_id="widget_dismiss", status_code=204)
def dismiss(prompt_id: uuid.UUID, person: Person, runtime: TheRuntime) -> None:
    """The person does not want the prompt: it is not shown again."""
    show_prompts.dismiss(runtime, prompt_id, person)


@_shared.post("/prompts/{prompt_id}/open", operation_id="widget_open")
def open_(prompt_id: uuid.UUID, request: Request, person: Person, runtime: TheRuntime) -> dict[str, Any]:
    """Open inline help: a launch begins, or the one that began goes on, with its ticks.

    For a link or an LTI tool, only the form that a new tab posts to begin one: ``action``, and a ``handoff`` code that
    works once, within ten minutes. With ``frame=1`` in the form, an LTI tool opens in a frame of the asking page.
    """
    prompt = next((p for p in show_prompts.open_prompts(runtime, person) if p.id == prompt_id), None)
    if prompt is None:
        raise NotFound("there is no such prompt for you")
    if prompt.how == "inline":
        begun = _begun(runtime, prompt_id, person)
        if begun is not None:
            return _opened(open_launch.launch_page(runtime, begun, person))
        return _opened(open_launch.open_prompt(runtime, prompt_id, person))
    code = identity.handoff(runtime, person, str(prompt_id), page=request.headers.get("origin", ""))
    return {"how": prompt.how, "action": open_launch.launch_url(runtime, prompt_id), "handoff": code}


def _begun(runtime: Runtime, prompt_id: uuid.UUID, person_id: int) -> uuid.UUID | None:
    """The launch of inline help that this person has begun from this prompt."""
    mine = select(tables.Launch.id).where(
        tables.Launch.prompt_id == prompt_id, tables.Launch.person_id == person_id, tables.Launch.how == "inline"
    )
    with runtime.db.read() as session:
        return session.scalar(mine.order_by(tables.Launch.started_at.desc()).limit(1))


@_shared.post("/launches/{launch_id}/steps/{step}", operation_id="widget_tick")
def tick(launch_id: uuid.UUID, step: str, body: Tick, person: Person, runtime: TheRuntime) -> dict[str, Any]:
    """Tick a step of a checklist, or take the tick back."""
    return _opened(record_outcome.tick(runtime, launch_id, person, step, done=body.done))


@_shared.post("/launches/{launch_id}/finish", operation_id="widget_finish")
def finish(launch_id: uuid.UUID, person: Person, runtime: TheRuntime) -> dict[str, Any]:
    """The person has read it, or has done all of it."""
    return _opened(record_outcome.finish(runtime, launch_id, person))


def _opened(opened: Opened) -> dict[str, Any]:
    """``html`` is sanitised when it is rendered (bridge.support); everything else is text."""
    return {**dataclasses.asdict(opened), "launch_id": str(opened.launch_id)}


router.include_router(_shared)
