"""Desk: a small business app, as a customer of flowbridge runs one.

It knows nothing of the bridge but three things: where its webhooks go, the address of the widget's script, and the
secret with which its server vouches for the person at the screen.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime as dt
import os
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import jwt
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from starlette.datastructures import FormData

from bridge.demo.areas import AREAS, PEOPLE, Area, Colleague, Field
from bridge.demo.records import Outgoing, Record, Records
from bridge.demo.sender import Sender

COOKIE = "desk_session"
#: How long the bridge may take Desk's word for who is at the screen, in seconds.
ASSERTION_LIFE = 300
_HERE = Path(__file__).parent
templates = Jinja2Templates(_HERE / "templates")


@dataclasses.dataclass(frozen=True)
class DeskSettings:
    """``bridge_url`` is where flowbridge is, ``connection`` what Desk is called there."""

    home: Path
    url: str
    bridge_url: str
    webhook_secret: str = dataclasses.field(repr=False)
    sign_in_secret: str = dataclasses.field(repr=False)
    connection: str = "desk"


class _NotSignedIn(Exception):
    """Nobody has chosen yet who they are."""


def create_desk(settings: DeskSettings) -> FastAPI:
    """The application with its records in ``settings.home``."""
    settings.home.mkdir(parents=True, exist_ok=True)
    records = Records(settings.home / "desk.db")
    hook = f"{settings.bridge_url}/hooks/{settings.connection}"
    sender = Sender(records, hook, settings.webhook_secret, source=settings.url)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with sender.running():
            yield

    app = FastAPI(title="Desk", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.settings, app.state.records, app.state.sender = settings, records, sender
    app.state.sessions = {}
    app.add_exception_handler(_NotSignedIn, _ask_who)
    app.mount("/static", StaticFiles(directory=_HERE / "static"))
    for path, methods, endpoint in _ROUTES:
        app.add_api_route(path, endpoint, methods=methods, response_model=None)
    return app


def _ask_who(request: Request, _error: Exception) -> Response:
    if request.url.path == "/bridge-assertion":
        return JSONResponse({"error": "Nobody is signed in here."}, 401)
    return RedirectResponse("/sign-in", 303)


def _me(request: Request) -> Colleague:
    key = request.app.state.sessions.get(request.cookies.get(COOKIE, ""))
    if key is None:
        raise _NotSignedIn
    return PEOPLE[key]


def _area(area: str) -> Area:
    if area not in AREAS:
        raise HTTPException(404, "There is no such page.")
    return AREAS[area]


def _record(request: Request, number: int, area: Annotated[Area, Depends(_area)]) -> Record:
    record = _records(request).get(area, number)
    if record is None:
        raise HTTPException(404, f"There is no {area.one} {number}.")
    return record


def _records(request: Request) -> Records:
    return cast(Records, request.app.state.records)


Me = Annotated[Colleague, Depends(_me)]
TheArea = Annotated[Area, Depends(_area)]
TheRecord = Annotated[Record, Depends(_record)]


async def _form(request: Request) -> FormData:
    return await request.form()


Form = Annotated[FormData, Depends(_form)]


def _page(request: Request, name: str, me: Colleague | None = None, *, status: int = 200, **values: Any) -> Response:
    settings = cast(DeskSettings, request.app.state.settings)
    assertion = _assertion(settings, me) if me else ""
    shown = {"me": me, "areas": AREAS.values(), "settings": settings, "assertion": assertion, **values}
    response = templates.TemplateResponse(request, name, shown, status_code=status)
    response.headers["Cache-Control"] = "no-store"
    return response


def _assertion(settings: DeskSettings, me: Colleague) -> str:
    """Desk's word for who is at the screen, for the bridge alone and for five minutes."""
    at = int(time.time())
    claims = {
        "iss": settings.connection,
        "aud": settings.bridge_url,
        "sub": me.key,
        "iat": at,
        "exp": at + ASSERTION_LIFE,
    }
    return jwt.encode(claims, settings.sign_in_secret, algorithm="HS256")


def sign_in_page(request: Request) -> Response:
    """Who are you? The demo asks for no password."""
    return _page(request, "sign_in.html", people=PEOPLE.values())


def sign_in(request: Request, form: Form) -> Response:
    """Sign in as one of the people, and go to where they work."""
    key = str(form.get("person", ""))
    if key not in PEOPLE:
        raise HTTPException(400, "Choose one of the people.")
    token = secrets.token_urlsafe(24)
    request.app.state.sessions[token] = key
    response = RedirectResponse(f"/{PEOPLE[key].home}", 303)
    response.set_cookie(COOKIE, token, httponly=True, samesite="lax")
    return response


def sign_out(request: Request) -> Response:
    """End the sign-in."""
    request.app.state.sessions.pop(request.cookies.get(COOKIE, ""), None)
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(COOKIE)
    return response


def start(me: Me) -> Response:
    """Go to where this person works."""
    return RedirectResponse(f"/{me.home}", 303)


def assertion(request: Request, me: Me) -> Response:
    """A fresh assertion for the widget, for as long as the sign-in lasts."""
    word = _assertion(request.app.state.settings, me)
    return JSONResponse({"assertion": word}, headers={"Cache-Control": "no-store"})


def webhooks(request: Request, me: Me, subject: str = "") -> Response:
    """What was sent, and how it went; as JSON for programs."""
    events = _records(request).events(subject=subject)
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"events": [_as_json(event) for event in events]})
    return _page(request, "webhooks.html", me, events=events, here="webhooks")


def _as_json(event: Outgoing) -> dict[str, Any]:
    return {**dataclasses.asdict(event), "at": event.at.isoformat()}


def table(request: Request, area: TheArea, me: Me, q: str = "") -> Response:
    """The records of an area, or those that hold every word of ``q``."""
    found = _records(request).all(area, q)
    return _page(request, "table.html", me, area=area, records=found, q=q, here=area.key)


def new(request: Request, area: TheArea, me: Me) -> Response:
    """The empty form of a new record."""
    return _page(request, "form.html", me, area=area, given={}, wrong={}, here=area.key)


def create(request: Request, area: TheArea, me: Me, form: Form) -> Response:
    """Save a new record; its event leaves afterwards, on its own."""
    data, wrong = _read(area.fields, form)
    if wrong:
        return _page(request, "form.html", me, status=400, area=area, given=form, wrong=wrong, here=area.key)
    record = _records(request).create(area, me, data, request.app.state.settings.url)
    request.app.state.sender.nudge()
    return RedirectResponse(f"/{area.key}/{record.id}", 303)


def show(request: Request, record: TheRecord, me: Me) -> Response:
    """One record with its history."""
    activity = _records(request).activity(record)
    return _page(request, "record.html", me, area=record.area, record=record, activity=activity, here=record.area.key)


def move(request: Request, record: TheRecord, me: Me, form: Form) -> Response:
    """Bring a record into another state."""
    wanted = str(form.get("state", ""))
    state = next((state for state in record.area.states if state.key == wanted), None)
    if state is None:
        raise HTTPException(400, "There is no such step.")
    asked, wrong = _read(state.asks, form)
    if wrong:
        raise HTTPException(400, "; ".join(f"{name}: {words}" for name, words in wrong.items()))
    if state != record.state:
        _records(request).move(record, state, me, asked, request.app.state.settings.url)
        request.app.state.sender.nudge()
    return RedirectResponse(f"/{record.area.key}/{record.id}", 303)


def _read(fields: tuple[Field, ...], form: FormData) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of a form, and what is wrong with them by field."""
    data: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for field in fields:
        text = str(form.get(field.name, "")).strip()
        try:
            value = _value(field, text)
        except ValueError as error:
            wrong[field.name] = str(error)
            continue
        if value is not None:
            data[field.name] = value
    return data, wrong


def _value(field: Field, text: str) -> Any:
    if not text:
        if field.required:
            raise ValueError("Fill this in.")
        return None
    if field.kind == "money":
        digits = text.replace(",", "").replace(" ", "").removeprefix("$")
        if not digits.isascii() or not digits.isdigit() or len(digits) > 12:
            raise ValueError("Write a whole amount, like 120,000.")
        return int(digits)
    if field.kind == "date":
        try:
            return dt.date.fromisoformat(text).isoformat()
        except ValueError:
            raise ValueError("Write a date like 2026-03-31.") from None
    if field.kind == "choice" and text not in field.choices:
        raise ValueError("Choose one of the list.")
    return text[:2000]


def money(amount: int) -> str:
    """Whole US dollars."""
    return f"${amount:,}"


def day(value: str) -> str:
    """An ISO date as people write it."""
    at = dt.date.fromisoformat(value)
    return f"{at.day} {at:%b %Y}"


def ago(at: dt.datetime) -> str:
    """How long ago something was."""
    seconds = (dt.datetime.now(dt.UTC) - at).total_seconds()
    for size, word in ((86400, "day"), (3600, "hour"), (60, "minute")):
        count = int(seconds // size)
        if count:
            return f"{count} {word}{'s' if count > 1 else ''} ago"
    return "just now"


def shown(value: Any, field: Field) -> str:
    """A field's value as its page shows it."""
    if value in (None, ""):
        return "-"
    if field.kind == "money":
        return money(value)
    if field.kind == "date":
        return day(value)
    return str(value).capitalize() if field.kind == "choice" and str(value).islower() else str(value)


templates.env.filters |= {"ago": ago, "shown": shown}

_ROUTES: tuple[tuple[str, list[str], Any], ...] = (
    ("/", ["GET"], start),
    ("/sign-in", ["GET"], sign_in_page),
    ("/sign-in", ["POST"], sign_in),
    ("/sign-out", ["POST"], sign_out),
    ("/bridge-assertion", ["GET"], assertion),
    ("/webhooks", ["GET"], webhooks),
    ("/{area}", ["GET"], table),
    ("/{area}", ["POST"], create),
    ("/{area}/new", ["GET"], new),
    ("/{area}/{number:int}", ["GET"], show),
    ("/{area}/{number:int}/state", ["POST"], move),
)


def main() -> None:
    """``python -m bridge.demo.desk``: the secrets come by the environment."""
    parser = argparse.ArgumentParser(prog="desk", description="Desk, the sample business app.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--bridge", required=True, help="the address of flowbridge")
    parser.add_argument("--home", type=Path, required=True, help="the folder of its database")
    arguments = parser.parse_args()
    settings = settings_from(os.environ, home=arguments.home, port=arguments.port, bridge_url=arguments.bridge)
    uvicorn.run(create_desk(settings), host="127.0.0.1", port=arguments.port, log_level="warning")


def settings_from(environment: Mapping[str, str], *, home: Path, port: int, bridge_url: str) -> DeskSettings:
    """The settings of the demo's Desk, with the secrets of ``environment``."""
    return DeskSettings(
        home=home,
        url=f"http://127.0.0.1:{port}",
        bridge_url=bridge_url,
        webhook_secret=environment["DEMO_WEBHOOK_SECRET"],
        sign_in_secret=environment["DEMO_SIGN_IN_SECRET"],
    )


if __name__ == "__main__":
    main()
