"""Pages for people: sign-in, their own prompts, and errors that say what to do next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.templating import Jinja2Templates
from sqlalchemy import select

from bridge.flows import identity, show_prompts
from bridge.flows.errors import Invalid, Refused
from bridge.flows.identity import SignedIn
from bridge.store import tables
from bridge.web.auth import SESSION_COOKIE, FormSender, TheRuntime, Visitor, keep_session

router = APIRouter(include_in_schema=False)
templates = Jinja2Templates(Path(__file__).parent / "templates")


def duration(seconds: int | None) -> str:
    """Seconds as people say them."""
    if not seconds:
        return ""
    if seconds < 120:
        return f"{seconds} seconds"
    return f"{round(seconds / 60)} minutes"


templates.env.filters["duration"] = duration


def page(request: Request, name: str, visitor: SignedIn | None = None, *, status: int = 200, **values: Any) -> Response:
    """A page that is about one person and is kept by nobody."""
    response = templates.TemplateResponse(request, name, {"visitor": visitor, **values}, status_code=status)
    response.headers["Cache-Control"] = "no-store"
    return response


def problem(request: Request, status: int, code: str, message: str) -> Response:
    """An error as a page: what happened and what to do next."""
    framed = getattr(request.state, "framed_by", "") != ""
    return page(request, "problem.html", status=status, code=code, message=message, framed=framed)


def local(path: str) -> str:
    """``path`` when it leads to this site, else the start page: no open redirect."""
    try:
        parts = urlsplit(path)
    except ValueError:
        return "/"
    leads_here = path.startswith("/") and not path.startswith(("//", "/\\")) and not parts.scheme and not parts.netloc
    return path if leads_here and path.isprintable() and "\\" not in path else "/"


def to_sign_in(request: Request) -> Response:
    """Ask who it is, and come back here afterwards."""
    return RedirectResponse(f"/sign-in?next={request.url.path}", 303)


@router.get("/")
def start(request: Request, runtime: TheRuntime, visitor: Visitor) -> Response:
    if visitor is None:
        return page(request, "welcome.html", apps=_apps(runtime))
    if visitor.must_change:
        return RedirectResponse("/password", 303)
    prompts = show_prompts.open_prompts(runtime, visitor.person_id)
    return page(request, "start.html", visitor, prompts=prompts, apps=_apps(runtime))


def _apps(runtime: TheRuntime) -> list[dict[str, str]]:
    with runtime.db.read() as session:
        rows = session.scalars(select(tables.Connection).where(tables.Connection.enabled)).all()
    return [{"name": row.name, "url": row.options["app_url"]} for row in rows if row.options.get("app_url")]


@router.get("/sign-in")
def sign_in_page(request: Request, visitor: Visitor, then: Annotated[str, Query(alias="next")] = "/") -> Response:
    if visitor is not None:
        return RedirectResponse(local(then), 303)
    return page(request, "sign_in.html", then=local(then), email="", error="")


@router.post("/sign-in")
def sign_in(
    request: Request,
    runtime: TheRuntime,
    email: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    then: Annotated[str, Form(alias="next")] = "/",
) -> Response:
    try:
        token, person = identity.sign_in(runtime, email, password)
    except Refused as error:
        status = 429 if error.code == "too_many_tries" else 401
        return page(request, "sign_in.html", status=status, then=local(then), email=email, error=str(error))
    response = RedirectResponse("/password" if person.must_change else local(then), 303)
    keep_session(response, runtime, token)
    return response


@router.post("/sign-out")
def sign_out(request: Request, runtime: TheRuntime, _person: FormSender) -> Response:
    identity.sign_out(runtime, request.cookies[SESSION_COOKIE])
    response = RedirectResponse("/", 303)
    response.delete_cookie(SESSION_COOKIE)
    return response


@router.get("/password")
def password_page(request: Request, visitor: Visitor) -> Response:
    if visitor is None:
        return to_sign_in(request)
    _need_password_sign_in(visitor)
    return page(request, "password.html", visitor, error="")


def _need_password_sign_in(person: SignedIn) -> None:
    """A business app that vouches for somebody must not be able to take over their account here."""
    if person.via != "password":
        raise Refused("Sign out, and sign in with your password to change it.", code="password_needed")


@router.post("/password")
def change_password(
    request: Request, runtime: TheRuntime, person: FormSender, password: Annotated[str, Form()] = ""
) -> Response:
    _need_password_sign_in(person)
    try:
        identity.set_password(runtime, person.person_id, password)
    except Invalid as error:
        return page(request, "password.html", person, status=400, error=str(error))
    token, changed = identity.open_session(runtime, person.person_id, via="password")
    response = RedirectResponse("/console/" if changed.role == "admin" else "/", 303)
    keep_session(response, runtime, token)
    return response
