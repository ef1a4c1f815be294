"""What the console's pages share: who may see them, what stands around them, and where a form leads afterwards."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import Depends, HTTPException, Query, Request, Response
from fastapi.responses import RedirectResponse

from bridge.flows import approve_peer
from bridge.flows.errors import Refused
from bridge.flows.identity import SignedIn
from bridge.flows.overview import attention
from bridge.flows.runtime import Runtime
from bridge.web import pages
from bridge.web.auth import FormSender, Visitor
from bridge.web.console.words import FILTERS

#: What was done, told on the page that follows a form.
_DONE = {
    "on": "It is switched on.",
    "off": "It is switched off. What is meant for it waits until it is switched on again.",
    "sync": "Asked for. A worker begins within a minute; this page follows it.",
    "sync-already": "A synchronisation is under way already.",
    "chosen": "Added to the catalogue: {n}. Put the settings below into your YAML as well (`flowbridge export` writes"
    " them), or the next `flowbridge apply` takes them away.",
    "discarded": "Discarded. Nothing was added.",
    "settled": "Settled. Decisions made again: {n}; prompts that came of them: {m}.",
    "settled-added": "Settled. Decisions made again: {n}; prompts that came of them: {m}. The account belongs to the"
    " person from now on: add it to your people's YAML as well, or the next `flowbridge apply` takes it away.",
    "settled-nobody": "Settled. Decisions that stay without a prompt: {n}.",
    "same-person": "The account is theirs from now on: add it to your people's YAML as well, or the next"
    " `flowbridge apply` takes it away.",
    "answered-before": "Somebody had answered this before; nothing was changed.",
    "again": "Queued again: {n}.",
    "corrected": "Queued in its place. The page of its event shows what becomes of it.",
    "approved": "It is approved and switched on.",
    "rejected": "It is rejected and forgotten.",
    "trusted": "The deployment is approved: it can be launched from there.",
    "dismissed": "The deployment is dismissed. If somebody launches from there again, it waits again.",
    "nothing-again": "Nothing was queued: it was dealt with in the meantime.",
}

pages.templates.env.filters.update(FILTERS)


def admin(request: Request, visitor: Visitor) -> SignedIn:
    """The signed-in admin; everybody else is sent to sign in, or told that this is not for them."""
    if visitor is None:
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        raise HTTPException(303, headers={"Location": f"/sign-in?next={quote(here, safe='/')}"})
    return _only_admin(visitor)


def admin_form(person: FormSender) -> SignedIn:
    """The admin who sent one of the console's forms."""
    return _only_admin(person)


def _only_admin(person: SignedIn) -> SignedIn:
    if person.must_change:
        raise HTTPException(303, headers={"Location": "/password"})
    if person.role != "admin":
        raise Refused(
            "The console is for LMS admins who signed in with their own password. Sign out and sign in with yours;"
            " your own prompts are on the start page.",
            code="admins_only",
        )
    return person


Admin = Annotated[SignedIn, Depends(admin)]
AdminForm = Annotated[SignedIn, Depends(admin_form)]
Text = Annotated[str, Query(max_length=200)]


def page(request: Request, runtime: Runtime, person: SignedIn, name: str, **values: Any) -> Response:
    """A page of the console: ``console/{name}.html`` with what was just done, and who waits to be named."""
    done, *numbers = (request.query_params.get(key, "") for key in ("done", "n", "m"))
    n, m = (number if number.isdigit() else "" for number in numbers)
    values |= {
        "section": name,
        "done": _DONE.get(done, "").format(n=n, m=m),
        "strangers_waiting": attention.waiting_people(runtime),
        "peers_waiting": len(approve_peer.waiting(runtime)),
    }
    return pages.page(request, f"console/{name}.html", person, **values)


def to(path: str, **query: object) -> Response:
    """On to a page after a form: loading that page again sends nothing again."""
    return RedirectResponse(f"/console/{path}" + (f"?{urlencode(query)}" if query else ""), 303)
