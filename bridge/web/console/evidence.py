"""The console's pages about statements: where they go, what was refused, and whether each LRS has them all."""

from __future__ import annotations

import itertools
import uuid
from typing import Annotated

from fastapi import APIRouter, Form, Path, Request, Response
from fastapi.responses import StreamingResponse

from bridge.flows import dead_letters, operate, reconcile
from bridge.flows.errors import Invalid, Refused
from bridge.flows.identity import SignedIn
from bridge.flows.overview import destinations, reconciliations
from bridge.flows.runtime import Runtime
from bridge.web.auth import TheRuntime
from bridge.web.console.frame import Admin, AdminForm, Text, page, to
from bridge.web.console.plot import of_hours

_ON_SCREEN = 200

router = APIRouter()
RunId = Annotated[int, Path(ge=1, lt=2**63)]


@router.get("/destinations")
def see_destinations(request: Request, runtime: TheRuntime, person: Admin) -> Response:
    rows = destinations.listing(runtime)
    newest = reconciliations.newest(runtime)
    plots = {row.row.name: of_hours(row.delivered.hours) for row in rows}
    refused = destinations.rejected(runtime)
    return page(request, runtime, person, "destinations", rows=rows, plots=plots, newest=newest, refused=refused)


@router.get("/dead-letters")
def see_dead_letters(request: Request, runtime: TheRuntime, person: Admin, connection: Text = "") -> Response:
    found = list(dead_letters.letters(runtime, connection, most=_ON_SCREEN))
    refused = destinations.rejected(runtime)
    values = {"found": found, "refused": refused, "connection": connection, "most": _ON_SCREEN}
    return page(request, runtime, person, "dead-letters", **values)


@router.get("/dead-letters.ndjson")
def download_dead_letters(runtime: TheRuntime, _person: Admin, connection: Text = "") -> Response:
    """All of them, one JSON object a line, with the statements as they are; streamed."""
    found = dead_letters.letters(runtime, connection)
    first = list(itertools.islice(found, 1))  # so that an unknown connection is told as a page
    lines = (letter.line for letter in itertools.chain(first, found))
    head = {"Content-Disposition": 'attachment; filename="dead-letters.ndjson"', "Cache-Control": "no-store"}
    return StreamingResponse(lines, media_type="application/x-ndjson", headers=head)


@router.post("/dead-letters/{name}")
def send_again(name: str, runtime: TheRuntime, person: AdminForm, only: Annotated[str, Form()] = "") -> Response:
    """Send ``only`` one statement, or all that an LRS refused, again as they are."""
    number = operate.replay_statements(runtime, name, _id(only), actor=person.key)
    return to("dead-letters", done="again", n=number) if number else to("dead-letters", done="nothing-again")


def _id(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text) if text else None
    except ValueError:
        raise Refused("This form was not made by the console. Load the page again.", code="wrong_form") from None


@router.get("/dead-letters/{name}/{statement_id}")
def see_dead_letter(
    name: str, statement_id: uuid.UUID, request: Request, runtime: TheRuntime, person: Admin
) -> Response:
    letter = dead_letters.letter(runtime, name, statement_id)
    return _letter(request, runtime, person, letter, text=letter.editable)


def _letter(
    request: Request,
    runtime: Runtime,
    person: SignedIn,
    letter: dead_letters.DeadLetter,
    *,
    text: str,
    wrong: Exception | None = None,
) -> Response:
    response = page(request, runtime, person, "dead-letter", letter=letter, text=text, wrong=wrong)
    response.status_code = 400 if wrong else 200
    return response


@router.post("/dead-letters/{name}/{statement_id}")
def correct_dead_letter(
    name: str,
    statement_id: uuid.UUID,
    request: Request,
    runtime: TheRuntime,
    person: AdminForm,
    statement: Annotated[str, Form()] = "",
) -> Response:
    """Send what the form says in place of the refused statement; what is wrong with it is told beside it."""
    try:
        dead_letters.correct(runtime, name, statement_id, statement, actor=person.key)
    except (Invalid, Refused) as error:  # what was typed stays on the page
        letter = dead_letters.letter(runtime, name, statement_id)
        return _letter(request, runtime, person, letter, text=statement, wrong=error)
    return to("dead-letters", done="corrected")


@router.get("/reconciliations")
def see_reconciliations(request: Request, runtime: TheRuntime, person: Admin) -> Response:
    refused = destinations.rejected(runtime)
    runs = reconciliations.runs(runtime)
    return page(request, runtime, person, "reconciliations", runs=runs, refused=refused)


@router.get("/reconciliations/{run_id}")
def see_reconciliation(run_id: RunId, request: Request, runtime: TheRuntime, person: Admin) -> Response:
    run = reconciliations.run(runtime, run_id)
    gaps = list(reconciliations.gaps(runtime, run_id, most=_ON_SCREEN))
    values = {"run": run, "gaps": gaps, "kinds": reconciliations.KINDS, "most": _ON_SCREEN}
    return page(request, runtime, person, "reconciliation", **values)


@router.post("/reconciliations/{run_id}/repair")
def repair(run_id: RunId, runtime: TheRuntime, person: AdminForm) -> Response:
    number = reconcile.repair(runtime, run_id, actor=person.key)
    told = {"done": "again", "n": number} if number else {"done": "nothing-again"}
    return to(f"reconciliations/{run_id}", **told)
