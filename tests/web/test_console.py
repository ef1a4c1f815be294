"""The console is for admins only, every page of it can be reached and read, and what changes something is a form."""

from __future__ import annotations

import csv
import dataclasses
import html
import io
import json
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import responses
from fastapi.testclient import TestClient
from sqlalchemy import select

from bridge.domain.events import PersonRef
from bridge.flows import decide_prompts, deliver_prompt, identity, sync_catalogue
from bridge.flows.runtime import Runtime
from bridge.store import tables
from bridge.web.app import create_app
from bridge.web.auth import SESSION_COOKIE
from tests.conftest import make_runtime
from tests.web import monday

PAGES = (
    "",
    "connections",
    "rules",
    "decisions",
    "people",
    "catalogue",
    "destinations",
    "dead-letters",
    "reconciliations",
    "failures",
    "report",
)
HTML = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def seeded_home(fresh_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a bridge on a Monday, to be copied."""
    folder = tmp_path_factory.mktemp("monday")
    made = make_runtime(Path(shutil.copytree(fresh_home, folder / "home")))
    monday.monday(made, folder)
    made.db.close()
    return folder / "home"


@pytest.fixture
def bridge(seeded_home: Path, tmp_path: Path) -> Iterator[Runtime]:
    """A bridge on a Monday."""
    made = make_runtime(Path(shutil.copytree(seeded_home, tmp_path / "monday")))
    yield made
    made.db.close()


def client_of(runtime: Runtime, key: str, *, via: str = "password") -> TestClient:
    """A client whose person has proved who they are, and has a password of their own."""
    with runtime.db.write() as session:
        person = session.scalars(select(tables.Person).where(tables.Person.key == key)).one()
        person.password_once = False
    token, _ = identity.open_session(runtime, person.id, via=via)
    return TestClient(create_app(runtime), base_url="http://bridge.test", cookies={SESSION_COOKIE: token})


@pytest.fixture
def admin(bridge: Runtime) -> Iterator[TestClient]:
    """A signed-in admin of it."""
    with client_of(bridge, "admin") as made:
        yield made


@pytest.fixture
def sam(bridge: Runtime) -> Iterator[TestClient]:
    """Somebody who is signed in there, and no admin."""
    with client_of(bridge, "E001") as made:
        yield made


@pytest.fixture
def new_admin(runtime: Runtime) -> Iterator[TestClient]:
    """A signed-in admin of a bridge where nothing is configured yet."""
    with client_of(runtime, "admin") as made:
        yield made


def read(client: TestClient, path: str) -> str:
    answer = client.get(path, headers=HTML)
    assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:300]}"
    assert answer.headers["cache-control"] == "no-store"
    return answer.text


def words(page: str) -> str:
    """A page's text as somebody reads it."""
    body = re.sub(r"<(script|style|head)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body)))


def csrf(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found
    return found[1]


def send(client: TestClient, path: str, seen: str, **fields: str) -> str:
    """Send a form of the page ``seen``; returns the page that follows."""
    answer = client.post(path, data={"csrf": csrf(read(client, seen)), **fields}, headers=HTML)
    assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:300]}"
    return words(answer.text)


def event_of(runtime: Runtime, subject: str) -> uuid.UUID:
    with runtime.db.read() as session:
        return session.scalars(select(tables.Event.id).where(tables.Event.subject == subject)).one()


# who may come in


@pytest.mark.parametrize("path", [*PAGES, "connections/desk", "report/completions.csv"])
def test_a_stranger_is_sent_to_sign_in_and_comes_back(client: TestClient, path: str) -> None:
    answer = client.get(f"/console/{path}?since=2026-01-01", follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/sign-in?next=/console/{path}%3Fsince%3D2026-01-01"


@pytest.mark.parametrize("path", PAGES)
def test_somebody_who_is_no_admin_is_told_so(sam: TestClient, path: str) -> None:
    answer = sam.get(f"/console/{path}", headers=HTML)
    assert answer.status_code == 403
    assert "The console is for LMS admins" in answer.text


def test_an_admin_for_whom_only_a_business_app_vouches_is_asked_for_the_password(bridge: Runtime) -> None:
    with client_of(bridge, "admin", via="desk") as vouched_for:
        answer = vouched_for.get("/console/", headers=HTML)
    assert answer.status_code == 403
    assert "signed in with their own password" in answer.text


def test_a_one_time_password_opens_nothing_but_the_choice_of_another(runtime: Runtime, client: TestClient) -> None:
    password = identity.reset_password(runtime, monday.ADMIN)
    client.post("/sign-in", data={"email": monday.ADMIN, "password": password})
    answer = client.get("/console/", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/password")


FORMS = (
    "connections/guides/check",
    "connections/guides/sync",
    "connections/guides/off",
    "failures/deliveries",
    "failures/write-backs",
    "dead-letters/records",
    "dead-letters/records/00000000-0000-0000-0000-000000000000",
    "reconciliations/1/repair",
)


@pytest.mark.parametrize("path", FORMS)
def test_a_form_from_elsewhere_does_nothing(admin: TestClient, bridge: Runtime, path: str) -> None:
    assert admin.post(f"/console/{path}", data={"csrf": "guessed"}).status_code == 403
    assert admin.post(f"/console/{path}").status_code == 403
    with bridge.db.read() as session:
        assert session.scalars(select(tables.Audit).where(tables.Audit.actor == "admin")).all() == []


@pytest.mark.parametrize("path", FORMS)
def test_a_form_of_somebody_who_is_no_admin_does_nothing(sam: TestClient, bridge: Runtime, path: str) -> None:
    own = csrf(read(sam, "/"))
    assert sam.post(f"/console/{path}", data={"csrf": own}).status_code == 403
    with bridge.db.read() as session:
        assert session.scalars(select(tables.Audit).where(tables.Audit.actor == "E001")).all() == []


# what there is to see


def _links(page: str) -> Iterator[str]:
    for link in re.findall(r'(?:href|src)="([^"]+)"', page):
        yield html.unescape(link).partition("#")[0]


def test_every_link_leads_somewhere(admin: TestClient) -> None:
    waiting, seen = ["/console/"], set[str]()
    while waiting:
        path = waiting.pop()
        if path in seen or not path.startswith("/"):
            continue
        seen.add(path)
        answer = admin.get(path, headers=HTML)
        assert answer.status_code == 200, f"{path}: {answer.status_code}"
        if path.startswith("/console") and "text/html" in answer.headers["content-type"]:
            waiting += _links(answer.text)
    assert len([path for path in seen if path.startswith("/console/events/")]) > 10


@pytest.mark.parametrize("path", PAGES)
def test_an_empty_bridge_says_what_to_do_first(new_admin: TestClient, path: str) -> None:
    page = read(new_admin, f"/console/{path}")
    for link in _links(page):
        assert new_admin.get(link).status_code == 200
    told = {
        "": "Connect your systems",
        "connections": "flowbridge apply",
        "rules": "flowbridge apply",
        "decisions": "Nothing has been decided yet",
        "people": "Everybody was named for sure",
        "catalogue": "The catalogue is empty",
        "destinations": "No LRS is connected",
        "dead-letters": "No LRS has refused a statement",
        "reconciliations": "Nothing has been compared yet",
        "failures": "Nothing has failed",
        "report": "Nobody completed anything",
    }
    assert told[path] in words(page)


def test_the_overview_tells_numbers_and_troubles_in_words(admin: TestClient) -> None:
    told = words(read(admin, "/console/"))
    for expected in (
        "3 things need you",
        "answered 401 to POST http://archive.test/xapi/statements",
        "correct the connection in its YAML",
        "3 decisions wait for a name",
        "1 prompt, 4 statements",
        "Events 7 Prompts offered 2 Decided against 5 Opened 1 Completed 1",
    ):
        assert expected in told


def test_the_plot_has_a_bar_and_a_cell_for_each_number(admin: TestClient) -> None:
    page = read(admin, "/console/")
    cells = [int(cell) for cell in re.findall(r'<td class="num">(\d+)</td>', page)]
    bars = [int(value) for value in re.findall(r"<title>\d\d \w+: (\d+) \w+</title>", page)]
    assert len(cells) == 14 * 3
    assert sorted(bars) == sorted(cell for cell in cells if cell)
    assert 'role="img"' in page


def test_a_connection_shows_its_settings_without_secrets(admin: TestClient) -> None:
    for name in ("desk", "records", "archive", "chat"):
        page = read(admin, f"/console/connections/{name}")
        assert "(hidden)" in page or "file:" in page
        for secret in (monday.SECRET, "encrypted:", "known to the LRS", "the archive&#39;s own token"):
            assert secret not in page


def test_a_decision_leads_to_the_whole_chain(admin: TestClient, bridge: Runtime) -> None:
    event_id = event_of(bridge, "project/1")
    assert f'href="/console/events/{event_id}#' in read(admin, "/console/decisions?rule=stakeholder-risk")
    told = words(read(admin, f"/console/events/{event_id}"))
    for expected in (
        "desk.project.created",
        "budget 90000",
        "Priya Planner",
        "Stakeholder risk in two minutes",
        "Through widget Shown",
        "Completed",
        "records Refused",
        "the object's id is not an absolute IRI",
        "archive Waiting",
    ):
        assert expected in told


def test_decisions_are_filtered_and_paged(admin: TestClient, bridge: Runtime) -> None:
    told = words(read(admin, "/console/decisions?reason=condition_failed"))
    assert "opportunity/3" in told
    assert "opportunity/1 " not in told
    assert "No decision is like that" in read(admin, "/console/decisions?who=nobody-of-that-name")
    assert "No decision is like that" in read(admin, "/console/decisions?rule=%27%3B--&reason=x&offered=maybe")
    numbers = range(9000, 9060)
    monday.happen(bridge, *map(monday.opportunity, numbers))
    seen: list[str] = []
    path = "/console/decisions?who=sam"
    while path:
        page = read(admin, path)
        seen += re.findall(r"#([0-9a-f-]{36})", page)
        older = re.search(r'href="([^"]+)" rel="next"', page)
        path = html.unescape(older[1]) if older else ""
    assert len(seen) == len(set(seen)) > len(numbers)


def test_what_a_business_system_says_stays_text(admin: TestClient, bridge: Runtime) -> None:
    evil = "<script>alert(1)</script>\"'>"
    event = monday.opportunity(666, owner=PersonRef(id=evil, email=f"{evil}@example.com", name=evil))
    monday.happen(bridge, dataclasses.replace(event, subject=evil, data={**event.data, evil: {"deep": [evil]}}))
    event_id = event_of(bridge, evil)
    with bridge.db.read() as session:
        prompt_id = session.scalars(select(tables.Prompt.id).where(tables.Prompt.event_id == event_id)).one()
    for path in (f"events/{event_id}", "decisions", "people", f"people/{prompt_id}", "rules/enterprise-pricing"):
        page = read(admin, f"/console/{path}")
        assert evil not in page
        assert "&lt;script&gt;" in page
    assert evil not in read(admin, f"/console/decisions?who={evil}")


@pytest.mark.parametrize(
    "path", ["connections/nothing", "rules/nothing", f"events/{uuid.UUID(int=1)}", f"people/{uuid.UUID(int=1)}"]
)
def test_what_is_not_there_is_told_as_a_page(admin: TestClient, path: str) -> None:
    answer = admin.get(f"/console/{path}", headers=HTML)
    assert answer.status_code == 404
    assert "That did not work" in answer.text


# what there is to do


def test_a_check_says_what_works_and_what_is_missing(admin: TestClient) -> None:
    told = send(admin, "/console/connections/guides/check", "/console/connections/guides")
    assert "nothing is missing" in told
    assert "Works" in told
    with responses.RequestsMock() as systems:
        systems.get(f"{monday.ARCHIVE}/statements", status=401)
        told = send(admin, "/console/connections/archive/check", "/console/connections/archive")
    assert "answered 401 to GET" in told
    assert "Nothing at all works with these settings" in told


def test_a_check_that_succeeds_sets_what_waited_free(admin: TestClient, bridge: Runtime) -> None:
    nudged: list[str] = []
    bridge.nudge = nudged.append
    with responses.RequestsMock(assert_all_requests_are_fired=False) as systems:
        systems.get(f"{monday.ARCHIVE}/statements", json={"statements": [], "more": ""})
        systems.get(f"{monday.ARCHIVE}/about", json={"version": ["1.0.3"]})
        told = send(admin, "/console/connections/archive/check", "/console/connections/archive")
    assert "nothing is missing" in told
    assert "archive Works" in told
    assert "drain" in nudged


def test_a_synchronisation_is_asked_for_and_followed_until_it_is_done(admin: TestClient, bridge: Runtime) -> None:
    here = "/console/connections/guides"
    assert "Asked for" in send(admin, f"{here}/sync", here)
    assert "under way already" in send(admin, f"{here}/sync", here)
    assert "data-under-way" in read(admin, f"{here}/walk")
    assert sync_catalogue.sync_due(bridge) == 1
    part = read(admin, f"{here}/walk")
    assert "data-under-way" not in part
    assert "3 seen, 0 changed, 0 retired" in words(part)


def test_a_connection_is_switched_off_and_on(admin: TestClient) -> None:
    here = "/console/connections/chat"
    assert "It is switched off" in send(admin, f"{here}/off", here)
    assert "chat Webhook Off" in words(read(admin, "/console/connections"))
    assert "It is switched on" in send(admin, f"{here}/on", here)


def test_a_person_is_named_and_the_prompt_is_made(admin: TestClient, bridge: Runtime) -> None:
    page = read(admin, "/console/people")
    found = re.search(r'href="(/console/people/[0-9a-f-]+)"[^>]*>Say who it is<span class="unseen">: sandy<', page)
    assert found
    here = found[1]
    told = words(read(admin, f"{here}?q=sandra"))
    assert "Sandra Support" in told
    assert "2 decisions wait" in told
    assert "Choose a person, or nobody" in send(admin, here, here)
    assert "Choose a person, or nobody" in send(admin, here, here, who="person:")
    assert "is known in 'desk' as 'sam' already" in send(admin, here, here, who="person:E001", q="sam")
    told = send(admin, here, here, who="person:E005", q="sandra")
    assert "Decisions made again: 2; prompts that came of them: 2" in told
    assert "add it to your people's YAML" in told
    assert "sandy" not in words(read(admin, "/console/people"))
    assert "Somebody had answered this before" in send(admin, here, "/console/connections/desk", who="nobody")
    assert "Sandra Support" in words(read(admin, "/console/decisions?who=sandra"))
    assert "This has been answered" in read(admin, here)


def test_two_people_with_one_address_are_told_apart_by_the_admin(admin: TestClient, bridge: Runtime) -> None:
    with bridge.db.read() as session:
        unmatched = session.scalars(select(tables.Unmatched).where(tables.Unmatched.email == "twins@example.com")).one()
    here = f"/console/people/{unmatched.prompt_id}"
    told = words(read(admin, here))
    assert "Twin One" in told
    assert "Twin Two" in told
    assert "counts for this one decision" in told
    assert "prompts that came of them: 1" in send(admin, here, here, who="person:E004")
    assert monday.prompt_of(bridge, "opportunity/6").person_id is not None


def test_nobody_is_an_answer_too(admin: TestClient) -> None:
    page = read(admin, "/console/people")
    here = re.findall(r'href="(/console/people/[0-9a-f-]+)"', page)[0]
    assert "Decisions that stay without a prompt: 1" in send(admin, here, here, who="nobody")


def test_what_was_refused_is_shown_in_the_other_s_words_and_sent_again(admin: TestClient, bridge: Runtime) -> None:
    told = words(read(admin, "/console/failures"))
    assert "webhook 'chat' answered 422" in told
    assert "this channel was archived" in told
    assert "records refused 4 statements" in told
    assert "Queued again: 1" in send(admin, "/console/failures/deliveries", "/console/failures")
    assert "Nothing was queued" in send(admin, "/console/failures/deliveries", "/console/connections/desk")
    answer = admin.post(
        "/console/failures/deliveries", data={"csrf": csrf(read(admin, "/console/failures")), "only": "x"}, headers=HTML
    )
    assert answer.status_code == 403
    with responses.RequestsMock() as systems:
        systems.post("http://chat.test/prompts", status=200)
        assert deliver_prompt.deliver(bridge) == 1


# the report


def test_the_report_shows_completions_of_the_days_and_downloads_all(admin: TestClient, bridge: Runtime) -> None:
    told = words(read(admin, "/console/report"))
    assert "Priya Planner" in told
    assert "archive: waiting; records: rejected" in told
    with bridge.db.read() as session:
        completions = session.scalars(select(tables.Outcome).where(tables.Outcome.completed)).all()
    answer = admin.get("/console/report/completions.csv")
    assert answer.headers["content-disposition"].startswith('attachment; filename="completions_')
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == len(completions) > 1
    days = sorted(row["completed_at"][:10] for row in rows)
    one = admin.get(f"/console/report/completions.json?since={days[0]}&until={days[0]}")
    assert [row["completed_at"][:10] for row in json.loads(one.text)] == [day for day in days if day == days[0]]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("since=2026-02-30", "Write dates as 2026-01-31."),
        ("since=2026-02-01&until=2026-01-01", "The first day comes after the last one."),
        ("since=2020-01-01&until=2020-12-31", "Nobody completed anything in these days"),
        ("until=0001-01-01", "Write dates as 2026-01-31."),
        ("since=2020-01-01&until=9999-12-31", "Priya Planner"),
    ],
)
def test_days_that_make_no_sense_are_told(admin: TestClient, query: str, told: str) -> None:
    assert told in words(read(admin, f"/console/report?{query}"))


def test_a_decision_that_comes_later_is_on_the_next_page_load(admin: TestClient, bridge: Runtime) -> None:
    monday.happen(bridge, monday.opportunity(9001))
    decide_prompts.decide(bridge)
    assert "opportunity/9001" in words(read(admin, "/console/decisions"))


def test_the_console_is_no_part_of_the_api_s_description(runtime: Runtime) -> None:
    assert not [path for path in create_app(runtime).openapi()["paths"] if path.startswith("/console")]
