"""The console: what an LMS admin sees and does. Every page is made on the server; what changes something is a form."""

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import StreamingResponse

from bridge.connect import ConnectorError, Health
from bridge.domain.assets import AssetKind
from bridge.flows import operate, report, resolve_person, same_person
from bridge.flows.errors import NotFound, Refused
from bridge.flows.identity import SignedIn
from bridge.flows.overview import assets, attention, connections, decisions, destinations, overview
from bridge.flows.runtime import Runtime
from bridge.store import now
from bridge.web import pages
from bridge.web.auth import TheRuntime
from bridge.web.console import content, evidence, peers
from bridge.web.console.frame import Admin, AdminForm, Text, page, to
from bridge.web.console.plot import SERIES, of_days
from bridge.web.console.words import REASONS

_ON_SCREEN = 100
_REPORT_DAYS = 30

router = APIRouter(prefix="/console", include_in_schema=False)
router.include_router(content.router)
router.include_router(evidence.router)
router.include_router(peers.router)


@router.get("/")
def see_overview(request: Request, runtime: TheRuntime, person: Admin) -> Response:
    shown = overview(runtime)
    return page(request, runtime, person, "overview", shown=shown, plot=of_days(shown.days), series=SERIES)


@router.get("/connections")
def see_connections(request: Request, runtime: TheRuntime, person: Admin) -> Response:
    return page(request, runtime, person, "connections", rows=connections.listing(runtime))


@router.get("/connections/{name}")
def see_connection(name: str, request: Request, runtime: TheRuntime, person: Admin) -> Response:
    return _connection(request, runtime, person, name)


def _connection(
    request: Request, runtime: Runtime, person: SignedIn, name: str, *, health: Health | None = None, refusal: str = ""
) -> Response:
    detail = connections.detail(runtime, name)
    return page(request, runtime, person, "connection", shown=detail, health=health, refusal=refusal)


@router.get("/connections/{name}/walk")
def follow_walk(name: str, request: Request, runtime: TheRuntime, person: Admin) -> Response:
    """The part of a connection's page that changes while its catalogue is walked."""
    return pages.page(request, "console/_walk.html", person, walk=connections.walk(runtime, name))


@router.post("/connections/{name}/check")
def check(name: str, request: Request, runtime: TheRuntime, person: AdminForm) -> Response:
    try:
        health = operate.check(runtime, name, actor=person.key)
    except ConnectorError as error:
        return _connection(request, runtime, person, name, refusal=str(error))
    return _connection(request, runtime, person, name, health=health)


@router.post("/connections/{name}/sync")
def synchronise(name: str, runtime: TheRuntime, person: AdminForm) -> Response:
    asked = operate.ask_for_sync(runtime, name, actor=person.key)
    return to(f"connections/{name}", done="sync" if asked else "sync-already")


@router.post("/connections/{name}/{position}")
def switch(name: str, position: Literal["on", "off"], runtime: TheRuntime, person: AdminForm) -> Response:
    operate.switch(runtime, name, on=position == "on", actor=person.key)
    return to(f"connections/{name}", done=position)


@router.get("/rules")
def see_rules(request: Request, runtime: TheRuntime, person: Admin) -> Response:
    return page(request, runtime, person, "rules", rows=decisions.rule_rows(runtime), days=decisions.COUNTED_DAYS)


@router.get("/rules/{name}")
def see_rule(name: str, request: Request, runtime: TheRuntime, person: Admin) -> Response:
    row = decisions.rule_row(runtime, name)
    last, more = decisions.decisions(runtime, decisions.Wanted(rule=name), limit=20)
    return page(request, runtime, person, "rule", row=row, last=last, more=more, days=decisions.COUNTED_DAYS)


@router.get("/decisions")
def see_decisions(
    request: Request,
    runtime: TheRuntime,
    person: Admin,
    offered: Text = "",
    reason: Text = "",
    rule: Text = "",
    who: Text = "",
    after: Text = "",
) -> Response:
    wanted = decisions.Wanted(
        offered={"yes": True, "no": False}.get(offered), reason=reason, rule=rule, person=who.strip()
    )
    found, following = decisions.decisions(runtime, wanted, after=decisions.Cursor.read(after))
    asked = {"offered": offered, "reason": reason, "rule": rule, "who": who.strip()}
    used = {key: value for key, value in asked.items() if value}
    return page(
        request,
        runtime,
        person,
        "decisions",
        found=found,
        following=f"?{urlencode({**used, 'after': following})}" if following else "",
        first=f"?{urlencode(used)}" if after else "",
        asked=asked,
        filtered=bool(used),
        reasons=REASONS,
        rules=decisions.rule_names(runtime),
    )


@router.get("/events/{event_id}")
def see_event(event_id: uuid.UUID, request: Request, runtime: TheRuntime, person: Admin) -> Response:
    return page(request, runtime, person, "event", event=decisions.chain(runtime, event_id))


@router.get("/people")
def see_people(request: Request, runtime: TheRuntime, person: Admin, q: Text = "") -> Response:
    return _people(request, runtime, person, q=q)


def _people(request: Request, runtime: Runtime, person: SignedIn, *, q: str, refusal: str = "") -> Response:
    newcomers = same_person.newcomers(runtime, q)
    shown = {"strangers": attention.strangers(runtime), "newcomers": newcomers, "q": q.strip(), "refusal": refusal}
    return page(request, runtime, person, "people", **shown)


@router.post("/people/same")
def say_same(
    request: Request,
    runtime: TheRuntime,
    person: AdminForm,
    issuer: Annotated[str, Form()],
    subject: Annotated[str, Form()],
    key: Annotated[str, Form()] = "",
    q: Annotated[str, Form()] = "",
) -> Response:
    """The account ``subject`` of the LMS ``issuer`` belongs to the person with that key."""
    try:
        same_person.say_same(runtime, issuer, subject, key.strip(), actor=person.key)
    except (Refused, NotFound) as error:
        return _people(request, runtime, person, q=q, refusal=str(error))
    return to("people", done="same-person")


@router.get("/people/{prompt_id}")
def see_stranger(prompt_id: uuid.UUID, request: Request, runtime: TheRuntime, person: Admin, q: Text = "") -> Response:
    return _stranger(request, runtime, person, prompt_id, q=q)


def _stranger(
    request: Request, runtime: Runtime, person: SignedIn, prompt_id: uuid.UUID, *, q: str = "", **values: Any
) -> Response:
    stranger = attention.stranger(runtime, prompt_id)
    candidates = {known.key for known in stranger.candidates}
    found = [known for known in attention.find_people(runtime, q) if known.key not in candidates]
    return page(request, runtime, person, "stranger", stranger=stranger, found=found, q=q.strip(), **values)


@router.post("/people/{prompt_id}")
def resolve(
    prompt_id: uuid.UUID,
    request: Request,
    runtime: TheRuntime,
    person: AdminForm,
    who: Annotated[str, Form()] = "",
    q: Annotated[str, Form()] = "",
) -> Response:
    """``who`` is "person:KEY", or "nobody"."""
    kind, _, key = who.partition(":")
    if kind not in ("person", "nobody") or (kind == "person") != bool(key):
        return _stranger(request, runtime, person, prompt_id, q=q, refusal="Choose a person, or nobody.")
    try:
        resolved = resolve_person.resolve(runtime, prompt_id, key, actor=person.key)
    except Refused as error:
        return _stranger(request, runtime, person, prompt_id, q=q, refusal=str(error))
    if not resolved.settled:
        return to("people", done="answered-before")
    told = "settled-nobody" if kind == "nobody" else "settled-added" if resolved.account_added else "settled"
    return to("people", done=told, n=resolved.settled, m=resolved.offered)


@router.get("/catalogue")
def see_catalogue(
    request: Request,
    runtime: TheRuntime,
    person: Admin,
    q: Text = "",
    kind: Text = "",
    connection: Text = "",
    retired: bool = False,
) -> Response:
    asked = {"q": q.strip(), "kind": kind, "connection": connection, "retired": retired}
    found = assets.listing(runtime, q=q, kind=kind, connection=connection, retired=retired, limit=_ON_SCREEN)
    return page(
        request,
        runtime,
        person,
        "catalogue",
        found=found,
        asked=asked,
        filtered=any(asked.values()),
        kinds=list(AssetKind),
        sources=[row.name for row in connections.listing(runtime) if "catalogue" in row.capabilities],
        most=_ON_SCREEN,
    )


@router.get("/failures")
def see_failures(request: Request, runtime: TheRuntime, person: Admin) -> Response:
    return page(
        request,
        runtime,
        person,
        "failures",
        deliveries=attention.dead_deliveries(runtime),
        statements=destinations.rejected(runtime),
        write_backs=attention.dead_write_backs(runtime),
        grades=attention.dead_grades(runtime),
    )


@router.post("/failures/deliveries")
def replay_deliveries(runtime: TheRuntime, person: AdminForm, only: Annotated[str, Form()] = "") -> Response:
    return _replayed(operate.replay_deliveries(runtime, _id(only), actor=person.key))


@router.post("/failures/write-backs")
def replay_write_backs(runtime: TheRuntime, person: AdminForm, only: Annotated[str, Form()] = "") -> Response:
    return _replayed(operate.replay_write_backs(runtime, _id(only), actor=person.key))


@router.post("/failures/grades")
def replay_grades(runtime: TheRuntime, person: AdminForm, only: Annotated[str, Form()] = "") -> Response:
    return _replayed(operate.replay_grades(runtime, _id(only), actor=person.key))


def _id(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text) if text else None
    except ValueError:
        raise Refused("This form was not made by the console. Load the page again.", code="wrong_form") from None


def _replayed(number: int) -> Response:
    return to("failures", done="again", n=number) if number else to("failures", done="nothing-again")


@router.get("/report")
def see_report(request: Request, runtime: TheRuntime, person: Admin, since: Text = "", until: Text = "") -> Response:
    first, last, wrong = _days(since, until)
    rows = iter(()) if wrong else report.completions(runtime, _midnight(first), _midnight(last, after=1))
    found = list(itertools.islice(rows, _ON_SCREEN + 1))
    return page(
        request,
        runtime,
        person,
        "report",
        found=found[:_ON_SCREEN],
        more=len(found) > _ON_SCREEN,
        first=first,
        last=last,
        wrong=wrong,
        download=urlencode({"since": first, "until": last}),
    )


@router.get("/report/completions.{form}")
def download_report(
    form: Literal["csv", "json"], runtime: TheRuntime, _person: Admin, since: Text = "", until: Text = ""
) -> Response:
    """The whole report of the days, streamed; the same rows as the API gives to a program."""
    first, last, _ = _days(since, until)
    rows = report.completions(runtime, _midnight(first), _midnight(last, after=1))
    pieces = report.as_csv(rows) if form == "csv" else report.as_json(rows)
    kind = "text/csv; charset=utf-8" if form == "csv" else "application/json"
    name = f'attachment; filename="completions_{first}_{last}.{form}"'
    headers = {"Content-Disposition": name, "Cache-Control": "no-store"}
    return StreamingResponse(pieces, media_type=kind, headers=headers)


def _days(since: str, until: str) -> tuple[dt.date, dt.date, str]:
    """The first and the last day (both included), and what is wrong with what was asked for."""
    today = now().date()
    try:
        last = dt.date.fromisoformat(until) if until else today
        first = dt.date.fromisoformat(since) if since else last - dt.timedelta(days=_REPORT_DAYS)
    except (ValueError, OverflowError):
        return today - dt.timedelta(days=_REPORT_DAYS), today, "Write dates as 2026-01-31."
    return first, last, "The first day comes after the last one." if first > last else ""


def _midnight(day: dt.date, *, after: int = 0) -> dt.datetime:
    start = dt.datetime.combine(day, dt.time(), dt.UTC)
    return start if day == dt.date.max else start + dt.timedelta(days=after)
