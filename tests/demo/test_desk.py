"""Desk, the sample business app: what its people see, and what it tells others."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import responses
from fastapi.testclient import TestClient
from httpx2 import Response

from bridge.connect.cloudevents import parse_cloudevents
from bridge.connect.signing import verify_standard_webhook
from bridge.demo.desk import DeskSettings, create_desk

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
SIGN_IN = "a sign-in secret of thirty-two bytes"
BRIDGE = "http://127.0.0.1:9"  # nothing listens there
DEAL = {
    "name": "Fleet planning",
    "customer": "Kestrel <Freight>",
    "contact": "Ana Ribeiro",
    "amount": "$480,000",
    "close_date": "2027-03-31",
}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[TestClient]:
    settings = DeskSettings(tmp_path, "http://desk.test", BRIDGE, SECRET, SIGN_IN)
    with TestClient(create_desk(settings), base_url="http://desk.test") as client:
        yield client


@pytest.fixture
def hook() -> Iterator[responses.RequestsMock]:
    """The bridge's address for webhooks: a test says what it answers."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def signed_in(desk: TestClient, person: str = "sam") -> TestClient:
    assert desk.post("/sign-in", data={"person": person}).status_code == 200
    return desk


def sent(desk: TestClient, number: int = 1) -> list[dict[str, Any]]:
    """The list of webhooks, when this many have been tried."""
    deadline = time.monotonic() + 10
    while True:
        events: list[dict[str, Any]] = desk.get("/webhooks").json()["events"]
        if sum(event["attempts"] > 0 for event in events) >= number:
            return events
        assert time.monotonic() < deadline, events
        time.sleep(0.01)


def took(hook: responses.RequestsMock, *answers: int) -> None:
    for status in answers:
        body = {"events": [{"id": "3f2c0000-0000-5000-8000-000000000001", "duplicate": False}]} if status < 300 else {}
        hook.post(f"{BRIDGE}/hooks/desk", json=body, status=status)


def created(desk: TestClient) -> Response:
    page = signed_in(desk).post("/opportunities", data=DEAL)
    assert page.status_code == 200, page.text
    return page


def test_nobody_works_unnamed(desk: TestClient) -> None:
    for path in ("/", "/opportunities", "/opportunities/1021", "/webhooks"):
        assert desk.get(path, follow_redirects=False).headers["location"] == "/sign-in"
    assert desk.get("/bridge-assertion").status_code == 401
    assert desk.post("/sign-in", data={"person": "mallory"}).status_code == 400
    assert "Opportunities" in signed_in(desk).get("/").text
    desk.post("/sign-out")
    assert desk.get("/opportunities", follow_redirects=False).status_code == 303


def test_a_saved_record_is_told_as_a_signed_cloudevent(desk: TestClient, hook: responses.RequestsMock) -> None:
    took(hook, 202)
    page = created(desk)
    [event] = sent(desk)
    request = hook.calls[0].request
    headers = {name.lower(): value for name, value in request.headers.items()}
    assert verify_standard_webhook((SECRET,), headers, request.body) == event["id"]
    people = {"actor": "people.actor", "owner": "people.owner"}
    [told] = parse_cloudevents(headers, request.body, people)
    assert (told.type, told.source) == ("desk.opportunity.created", "http://desk.test")
    assert str(page.url).endswith(f"/opportunities/{told.subject.removeprefix('opportunity/')}")
    assert told.data["amount"] == 480_000
    assert told.data["customer"] == "Kestrel <Freight>"
    assert (told.people["owner"].id, told.people["owner"].email) == ("sam", "sam@example.com")
    assert (event["answer"], event["received_as"]) == ("202 Accepted", "3f2c0000-0000-5000-8000-000000000001")


def test_an_event_is_sent_again_with_the_same_id_until_it_is_taken(
    desk: TestClient, hook: responses.RequestsMock
) -> None:
    took(hook, 503, 202)
    created(desk)
    deadline = time.monotonic() + 10
    while not (event := sent(desk)[0])["received_as"]:
        assert time.monotonic() < deadline, event
        time.sleep(0.02)
    ids = [json.loads(call.request.body or b"")["id"] for call in hook.calls]
    assert ids == [event["id"], event["id"]]
    assert event["attempts"] == 2


def test_no_form_waits_for_the_bridge(desk: TestClient) -> None:
    """Nothing answers at the bridge's address here, and the record is saved all the same."""
    page = created(desk)
    assert "Fleet planning" in page.text
    [event] = sent(desk)
    assert event["received_as"] is None
    assert event["answer"].startswith("no answer")
    assert "no answer" in desk.get("/webhooks", headers={"Accept": "text/html"}).text


def test_every_move_is_told_once(desk: TestClient, hook: responses.RequestsMock) -> None:
    took(hook, 202, 202, 202)
    page = created(desk)
    for _ in range(2):
        moved = desk.post(f"{page.url}/state", data={"state": "proposal"})
    assert 'aria-current="step">Proposal' in moved.text
    events = sent(desk, 2)
    assert [event["type"] for event in events] == ["desk.opportunity.stage_changed", "desk.opportunity.created"]
    assert (events[0]["data"]["stage"], events[0]["data"]["stage_before"]) == ("proposal", "discovery")
    assert desk.post(f"{page.url}/state", data={"state": "nowhere"}).status_code == 400


def test_escalating_needs_a_reason_and_takes_the_facts_along(desk: TestClient, hook: responses.RequestsMock) -> None:
    took(hook, 202)
    signed_in(desk, "ravi")
    assert desk.post("/tickets/1023/state", data={"state": "escalated"}).status_code == 400
    reason = "The promised time has passed"
    assert reason in desk.post("/tickets/1023/state", data={"state": "escalated", "reason": reason}).text
    [event] = sent(desk)
    facts = {name: event["data"][name] for name in ("ticket", "customer", "contract_tier", "product", "owner")}
    assert facts == {
        "ticket": "TIC-1023",
        "customer": "Alder Rail",
        "contract_tier": "gold",
        "product": "Atlas Insight",
        "owner": "Ravi Desai",
    }


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("amount", "a lot", "Write a whole amount"),
        ("amount", "²²", "Write a whole amount"),
        ("close_date", "31.03.2027", "Write a date"),
        ("customer", "   ", "Fill this in"),
    ],
)
def test_a_form_says_what_is_wrong_and_keeps_what_was_written(
    desk: TestClient, field: str, value: str, words: str
) -> None:
    page = signed_in(desk).post("/opportunities", data={**DEAL, field: value})
    assert page.status_code == 400
    assert words in page.text
    assert "Fleet planning" in page.text
    assert desk.get("/webhooks").json()["events"] == []


def test_a_page_embeds_the_widget_with_a_word_for_this_person(desk: TestClient) -> None:
    page = signed_in(desk).get("/opportunities/1021").text
    assert f'src="{BRIDGE}/widget.js"' in page
    assert 'data-record="opportunity/1021"' in page
    word = desk.get("/bridge-assertion").json()["assertion"]
    claims = jwt.decode(word, SIGN_IN, algorithms=["HS256"], audience=BRIDGE, issuer="desk")
    assert claims["sub"] == "sam"
    assert claims["exp"] - claims["iat"] <= 600
    assert SIGN_IN not in page


def test_what_people_write_is_never_markup(desk: TestClient, hook: responses.RequestsMock) -> None:
    took(hook, 202)
    page = created(desk)
    assert "Kestrel &lt;Freight&gt;" in page.text
    found = desk.get("/opportunities", params={"q": "<Freight>"}).text
    assert "Kestrel &lt;Freight&gt;" in found
    assert "1 record<" in found


def test_the_table_finds_by_words(desk: TestClient) -> None:
    signed_in(desk)
    assert "Alder Rail" in desk.get("/opportunities", params={"q": "rail qualified"}).text
    assert "Nothing matches" in desk.get("/opportunities", params={"q": "rail lost"}).text
    assert desk.get("/nothing").status_code == 404
    assert desk.get("/tickets/1021").status_code == 404  # an opportunity's number
