"""The console's pages about destinations, dead letters and reconciliations, and the API's word on the latter."""

from __future__ import annotations

import datetime as dt
import html
import json
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from bridge.connect import Rejected, Retryable
from bridge.flows import identity, void_statement
from bridge.flows.reconcile import reconcile
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from bridge.web.app import create_app
from bridge.xapi.validation.statement import SIGNATURE
from tests.flows import scripted
from tests.flows.conftest import each_runtime
from tests.flows.evidence import audited, connect, deliver, receipts, state, statement, waiting
from tests.web import monday
from tests.web.test_console import client_of, csrf, read, words

__all__ = ["each_runtime"]

BAD, GOOD, LOST = (statement(number) for number in range(3))


@pytest.fixture
def bridge(each_runtime: Runtime, script: scripted.Script) -> Runtime:
    """An LRS has refused one statement, keeps another, and has lost a third; one waits for it."""
    connect(each_runtime)
    state(each_runtime, BAD)
    script.shelf.answers = [Rejected("the verb is too loud")]
    deliver(each_runtime)
    state(each_runtime, GOOD, LOST)
    deliver(each_runtime, ago=dt.timedelta(minutes=30))
    del script.shelf.stored[LOST["id"]]
    state(each_runtime, statement(3))
    return each_runtime


@pytest.fixture
def admin(bridge: Runtime) -> Iterator[TestClient]:
    with client_of(bridge, "admin") as made:
        yield made


def send(client: TestClient, path: str, page: str, **fields: str) -> tuple[int, str]:
    """Send a form of a page; returns the status and the text of what is shown then."""
    answer = client.post(path, data={"csrf": csrf(read(client, page)), **fields}, headers={"Accept": "text/html"})
    return answer.status_code, words(answer.text)


def test_a_destination_tells_what_waits_what_got_there_and_what_it_refused(admin: TestClient) -> None:
    page = read(admin, "/console/destinations")
    told = words(page)
    for expected in ("records", "Waiting 1", "Delivered, last hour 2", "Delivered, last day 2", "Refused 1"):
        assert expected in told
    assert len(re.findall(r"<rect ", page)) in (1, 2), "half an hour ago can be another hour"
    assert "Nobody has compared yet" in told


def test_why_a_destination_does_not_go_on(admin: TestClient, bridge: Runtime) -> None:
    with bridge.db.write() as session:
        row = session.scalars(select(tables.Connection).where(tables.Connection.name == "records")).one()
        row.failures, row.paused_until = 3, now() + dt.timedelta(minutes=10, seconds=30)
    told = words(read(admin, "/console/destinations"))
    assert "3 times in a row" in told
    assert "in 10 minutes" in told


def test_a_letter_is_read_corrected_and_gone(admin: TestClient, bridge: Runtime) -> None:
    listed = read(admin, "/console/dead-letters")
    assert "the verb is too loud" in words(listed)
    here = f"/console/dead-letters/records/{BAD['id']}"
    assert here in listed
    page = read(admin, here)
    found = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)
    assert found
    text = html.unescape(found[1])
    assert json.loads(text) == {name: value for name, value in BAD.items() if name != "id"}

    status, told = send(admin, here, here, statement=text.replace("http://adlnet.gov", "adlnet.gov"))
    assert (status, "verb.id" in told, "Nothing was sent" in told, "adlnet.gov/expapi" in told) == (
        400,
        True,
        True,
        True,
    )
    assert receipts(bridge)[BAD["id"]] == "rejected"

    status, told = send(admin, here, here, statement=text.replace("completed", "experienced"))
    assert (status, "Queued in its place" in told) == (200, True)
    assert receipts(bridge)[BAD["id"]] == "replaced"
    assert len(waiting(bridge)) == 2
    assert [action for action, _, _ in audited(bridge, "admin")] == ["statement.correct"]
    assert admin.get(here, headers={"Accept": "text/html"}).status_code == 404
    assert "No LRS has refused a statement" in words(read(admin, "/console/dead-letters"))


def test_a_letter_is_sent_again_as_it_is(admin: TestClient, bridge: Runtime) -> None:
    path = "/console/dead-letters/records"
    status, told = send(admin, path, "/console/dead-letters", only=BAD["id"])
    assert (status, "Queued again: 1" in told) == (200, True)
    assert BAD["id"] in waiting(bridge)
    assert "Nothing was queued" in send(admin, path, "/console/connections/records")[1]
    assert send(admin, path, "/console/connections/records", only="x")[0] == 403


def test_letters_are_downloaded_a_line_each(admin: TestClient) -> None:
    answer = admin.get("/console/dead-letters.ndjson?connection=records")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    (line,) = map(json.loads, answer.text.splitlines())
    assert (line["connection"], line["statement"], line["words"]) == ("records", BAD, "the verb is too loud")
    assert admin.get("/console/dead-letters.ndjson?connection=nobody").status_code == 404


def test_a_reconciliation_is_read_and_what_is_missing_sent_again(admin: TestClient, bridge: Runtime) -> None:
    run = reconcile(bridge, "records", actor="cli")
    assert "1 matched, 1 missing, 0 different" in words(read(admin, "/console/destinations"))
    assert "Different" in words(read(admin, "/console/reconciliations"))
    here = f"/console/reconciliations/{run.id}"
    told = words(read(admin, here))
    assert LOST["id"] in told
    assert "It was delivered, and is not there any more" in told
    assert "Queued again: 1" in send(admin, f"{here}/repair", here)[1]
    assert LOST["id"] in waiting(bridge)
    told = words(read(admin, here))
    assert "1 statement was queued again" in told
    assert "Send again what is missing" not in told
    assert admin.get("/console/reconciliations/99", headers={"Accept": "text/html"}).status_code == 404


def test_what_a_comparison_found_needs_somebody_until_it_is_dealt_with(
    admin: TestClient, bridge: Runtime, script: scripted.Script
) -> None:
    found = "records does not have all as it was sent there"
    assert found not in words(read(admin, "/console/"))
    run = reconcile(bridge, "records", actor="cli")
    told = words(read(admin, "/console/"))
    assert found in told
    assert "1 missing, 0 different, 0 voided on one side only" in told
    send(admin, f"/console/reconciliations/{run.id}/repair", f"/console/reconciliations/{run.id}")
    assert found not in words(read(admin, "/console/"))
    script.shelf.answers = [Retryable("the LRS did not answer")]
    with pytest.raises(Retryable):
        reconcile(bridge, "records", actor="cli")
    told = words(read(admin, "/console/"))
    assert "records could not be compared with what was sent there the LRS did not answer" in told
    with bridge.db.write() as session:
        session.execute(update(tables.Connection).values(enabled=False))
    assert "could not be compared" not in words(read(admin, "/console/"))


def test_the_last_comparison_is_found_however_often_others_were_compared(admin: TestClient, bridge: Runtime) -> None:
    connect(bridge, "archive")
    reconcile(bridge, "archive", actor="cli")
    with bridge.db.write() as session:
        row = session.scalars(select(tables.Connection).where(tables.Connection.name == "records")).one()
        session.add_all(tables.Reconciliation(connection_id=row.id, finished_at=now()) for _ in range(60))
    assert "Nobody has compared" not in words(read(admin, "/console/destinations"))


def test_a_comparison_that_has_not_ended_shows_no_numbers(admin: TestClient, bridge: Runtime) -> None:
    with bridge.db.write() as session:
        row = session.scalars(select(tables.Connection).where(tables.Connection.name == "records")).one()
        session.add(run := tables.Reconciliation(connection_id=row.id))
    page = read(admin, f"/console/reconciliations/{run.id}")
    assert "or was stopped before it ended" in words(page)
    assert "<dd>0</dd>" not in page
    assert "Running 0" not in words(read(admin, "/console/reconciliations"))
    assert "Nobody has compared yet" in words(read(admin, "/console/destinations"))


def test_a_signed_letter_stays_on_its_page_with_what_was_typed(admin: TestClient, bridge: Runtime) -> None:
    signed = {"usageType": SIGNATURE, "display": {"en": "signature"}, "contentType": "application/octet-stream"}
    attachments = [{**signed, "length": 3, "sha2": "a" * 64, "fileUrl": "https://lms.test/signature"}]
    with bridge.db.write() as session:
        row = session.scalars(select(tables.Statement).where(tables.Statement.id == uuid.UUID(BAD["id"]))).one()
        row.payload = json.dumps({**BAD, "attachments": attachments}).encode()
    here = f"/console/dead-letters/records/{BAD['id']}"
    typed = json.dumps({**BAD, "verb": {"id": "http://adlnet.gov/expapi/verbs/experienced"}})
    status, told = send(admin, here, here, statement=typed)
    assert status == 400
    assert "ask who signed it to send another one" in told
    assert "verbs/experienced" in told


def test_a_missing_statement_leads_to_its_event_which_says_that_it_was_taken_back(
    runtime: Runtime, tmp_path: Path
) -> None:
    monday.monday(runtime, tmp_path)
    with runtime.db.write() as session:
        of_launch = tables.Statement.verb.endswith("/completed"), tables.Launch.prompt.has(subject="project/1")
        row = session.scalars(select(tables.Statement).join(tables.Launch).where(*of_launch)).one()
        lrs = session.scalars(select(tables.Connection).where(tables.Connection.name == "records")).one()
        session.add(run := tables.Reconciliation(connection_id=lrs.id, finished_at=now(), missing=1))
        session.flush()
        session.add(
            tables.Difference(reconciliation_id=run.id, statement_id=row.id, kind="missing", detail="it is gone")
        )
        event = monday.prompt_of(runtime, "project/1").event_id
    with client_of(runtime, "admin") as admin:
        assert f'href="/console/events/{event}"' in read(admin, f"/console/reconciliations/{run.id}")
        assert "Taken back" not in words(read(admin, f"/console/events/{event}"))
        by = void_statement.void(runtime, row.id, reason="it was another person", actor="cli")
        assert f"completed Taken back {row.id} voided by {by}" in words(read(admin, f"/console/events/{event}"))


def test_a_report_whose_end_lies_before_its_beginning_is_refused(
    admin: TestClient, bridge: Runtime, credential_of: Callable[..., tuple[str, str]]
) -> None:
    days = "since=2026-12-31&until=2026-01-01"
    assert admin.get(f"/console/report/completions.csv?{days}", headers={"Accept": "text/html"}).status_code == 400
    answer = admin.get(f"/api/v1/reports/completions?{days}", auth=credential_of(bridge, "reports:read"))
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "until")


def test_the_api_tells_reconciliations(bridge: Runtime, credential_of: Callable[..., tuple[str, str]]) -> None:
    run = reconcile(bridge, "records", actor="cli")
    with TestClient(create_app(bridge), base_url="http://bridge.test") as client:
        auth = credential_of(bridge, "reports:read")
        (told,) = client.get("/api/v1/reconciliations?connection=records", auth=auth).json()["reconciliations"]
        assert (told["id"], told["state"], told["matched"], told["missing"]) == (run.id, "different", 1, 1)
        one = client.get(f"/api/v1/reconciliations/{run.id}", auth=auth).json()
        assert [(gap["kind"], gap["statement_id"]) for gap in one["differences"]] == [("missing", LOST["id"])]
        rest = client.get(f"/api/v1/reconciliations/{run.id}?offset=1", auth=auth).json()
        assert (rest["missing"], rest["differences"]) == (1, [])
        assert client.get("/api/v1/reconciliations/99", auth=auth).status_code == 404
        assert client.get("/api/v1/reconciliations?connection=nobody", auth=auth).status_code == 404
        other = credential_of(bridge, "events:write")
        assert client.get("/api/v1/reconciliations", auth=other).status_code == 403
        assert client.get("/api/v1/reconciliations").status_code == 401


@pytest.fixture
def credential_of() -> Callable[..., tuple[str, str]]:
    return lambda runtime, *scopes: identity.create_credential(runtime, str(uuid.uuid4()), list(scopes))
