"""An LMS that plays a script, over real HTTP: status lines and headers come as Moodle's do. And a course in it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import http.server
import json
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from sqlalchemy import select

from bridge.flows import record_outcome
from bridge.flows.runtime import Runtime
from bridge.lti.tool import service_tokens
from bridge.lti.tool.platforms import Platform
from bridge.store import now, tables

AGS = "https://purl.imsglobal.org/spec/lti-ags/scope/"
MEMBERS = "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly"
LEARNER = "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"
MOODLE = "http://127.0.0.1:18080"
SERVICES = "/mod/lti/services.php"
TOKEN = "/mod/lti/token.php"


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int = 200
    body: str = ""
    reason: str | None = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Asked:
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query))

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Turn = Answer | Callable[[Asked], Answer]


class Lms:
    """Answers by script: the turns of a method and path (with its query, or without) one by one, the last for ever."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.turns: defaultdict[tuple[str, str], list[Turn]] = defaultdict(list)
        self.lock = threading.Lock()
        self.issued = 0
        lms = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                lms.answer(self, Asked(self.command, self.path, dict(self.headers.items()), self.rfile.read(length)))

            do_GET = do_POST = answer

            def log_message(self, *_args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.on("POST", TOKEN, self.token)

    def on(self, method: str, target: str, *turns: Turn) -> None:
        self.turns[method, target] = list(turns)

    def replay(self, exchange: Mapping[str, Any]) -> Answer:
        """A recorded answer, with this server's address in the recorded one's place."""
        told = exchange["response"]
        kept = {name: value for name, value in told["headers"].items() if name in ("link", "content-type")}
        here = {name: value.replace(MOODLE, self.address) for name, value in kept.items()}
        escaped = MOODLE.replace("/", "\\/"), self.address.replace("/", "\\/")
        body = told.get("body", "").replace(*escaped).replace(MOODLE, self.address)
        return Answer(told["status"], body, told.get("reason"), here)

    def token(self, _asked: Asked) -> Answer:
        """As Moodle writes it: JSON that is called HTML."""
        self.issued += 1
        body = json.dumps({"access_token": f"token-{self.issued}", "token_type": "Bearer", "expires_in": 3600})
        return Answer(200, body, None, {"content-type": "text/html; charset=utf-8"})

    def answer(self, handler: Any, asked: Asked) -> None:
        with self.lock:
            self.asked.append(asked)
            path = urlsplit(asked.target).path
            turns = self.turns.get((asked.method, asked.target)) or self.turns.get((asked.method, path), [])
            turn: Turn = Answer(404, "<html>no such page</html>") if not turns else turns[0]
            if len(turns) > 1:
                del turns[0]
        answer = turn if isinstance(turn, Answer) else turn(asked)
        content = answer.body.encode()
        handler.send_response(answer.status, answer.reason)
        for name, value in answer.headers.items():
            handler.send_header(name, value.encode().decode("latin-1"))  # the same bytes on the wire
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def sent(self, method: str, path: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.method == method and urlsplit(asked.target).path == path]


@pytest.fixture
def lms() -> Iterator[Lms]:
    service_tokens.forget()
    made = Lms()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()
    service_tokens.forget()


@dataclasses.dataclass
class Course:
    """Moodle's course 2 with one activity, in which an author placed the guide; Emp1 (3) is Sam, E001."""

    runtime: Runtime
    lms: Lms
    Answer = Answer
    LEARNER = LEARNER
    scores = f"{SERVICES}/2/lineitems/21/lineitem/scores"
    results = f"{SERVICES}/2/lineitems/21/lineitem/results"
    items = f"{SERVICES}/2/lineitems"
    memberships = f"{SERVICES}/CourseSection/2/bindings/6/memberships"
    token = TOKEN

    @property
    def platform(self) -> Platform:
        with self.runtime.db.read() as session:
            return Platform.of(session.scalars(_named("moodle")).one())

    def add(self, row: Any) -> Any:
        with self.runtime.db.write() as session:
            session.add(row)
        return row

    def link(self, **changes: Any) -> tables.LmsLink:
        with self.runtime.db.write() as session:
            link = session.scalars(select(tables.LmsLink)).one()
            for name, value in changes.items():
                setattr(link, name, value)
        return link

    def launch(self, person: str = "E001") -> uuid.UUID:
        """The guide, opened from a prompt at work."""
        with self.runtime.db.write() as session:
            who = session.scalars(select(tables.Person).where(tables.Person.key == person)).one()
            asset = session.scalars(select(tables.Asset)).one()
            event = tables.Event(
                id=uuid.uuid4(),
                connection_id=session.scalars(_named("desk")).one().id,
                external_id=uuid.uuid4().hex,
                type="desk.opportunity.created",
                source="https://desk.test",
                subject="opportunity,42",
                time=now(),
                data={},
                people={},
                due_at=None,
            )
            rule = session.scalars(select(tables.Rule)).one()
            prompt = tables.Prompt(
                id=uuid.uuid4(),
                event=event,
                rule_id=rule.id,
                rule_version=1,
                person_id=who.id,
                asset_id=asset.id,
                offered=True,
                reason="offered",
            )
            launch = tables.Launch(id=uuid.uuid4(), prompt=prompt, person_id=who.id, asset_id=asset.id, how="inline")
            session.add_all([event, prompt, launch])
        return launch.id

    def report(self, launch: uuid.UUID | None = None, **report: Any) -> uuid.UUID:
        """What came of a launch: completed, unless something else is said."""
        told = {"source": "page", "verb": "completed", "completed": True} | report
        return record_outcome.record(self.runtime, launch or self.launch(), **told)

    @property
    def grades(self) -> list[tables.LmsGrade]:
        with self.runtime.db.read() as session:
            return list(session.scalars(select(tables.LmsGrade).order_by(tables.LmsGrade.subject)))

    def hurry(self) -> None:
        """Let what waits for a time be due."""
        with self.runtime.db.write() as session:
            for row in session.scalars(select(tables.LmsGrade).where(tables.LmsGrade.due_at.is_not(None))):
                row.due_at = now() - dt.timedelta(seconds=1)

    def problem(self) -> str | None:
        with self.runtime.db.read() as session:
            return session.scalars(_named("moodle")).one().problem


def _named(name: str) -> Any:
    return select(tables.Connection).where(tables.Connection.name == name)


def furnish(runtime: Runtime, lms: Lms) -> Course:
    course = Course(runtime, lms)
    config = {
        "issuer": lms.address,
        "client_id": "bridge-at-moodle",
        "auth_login_url": f"{lms.address}/mod/lti/auth.php",
        "auth_token_url": f"{lms.address}{TOKEN}",
        "jwks_uri": f"{lms.address}/mod/lti/certs.php",
        "deployment_ids": ["6"],
    }
    moodle = course.add(tables.Connection(name="moodle", connector="lti_platform", config=config))
    guides = course.add(tables.Connection(name="guides", connector="files", config={"path": "/guides"}))
    course.add(tables.Connection(name="desk", connector="webhook", config={}))
    course.add(tables.Rule(name="guide", event_type="desk.opportunity.created", definition={}))
    asset = tables.Asset(
        id=uuid.uuid4(),
        connection_id=guides.id,
        external_id="pricing.md",
        kind="guide",
        title="Pricing",
        summary="",
        language="en",
        tags=[],
        activity_id="https://bridge.test/assets/pricing",
        opening={"how": "inline"},
        fingerprint="0",
    )
    course.add(asset)
    account = tables.Account(issuer="moodle", subject="3")
    course.add(tables.Person(key="E001", name="Sam Seller", email="sam@example.com", accounts=[account]))
    link = tables.LmsLink(
        connection_id=moodle.id,
        deployment_id="6",
        context_id="2",
        context_title="Phishing awareness",
        resource_link_id="5",
        title="Pricing",
        asset_id=asset.id,
        line_item=f"{lms.address}{SERVICES}/2/lineitems/21/lineitem?type_id=6",
        line_items=f"{lms.address}{SERVICES}/2/lineitems?type_id=6",
        memberships=f"{lms.address}{Course.memberships}",
        scopes=[f"{AGS}score", f"{AGS}lineitem", f"{AGS}result.readonly", MEMBERS],
    )
    course.add(link)
    course.add(tables.LmsMember(connection_id=moodle.id, context_id="2", subject="3", roles=[LEARNER]))
    return course


@pytest.fixture
def course(runtime: Runtime, lms: Lms) -> Course:
    return furnish(runtime, lms)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def either_course(request: pytest.FixtureRequest, lms: Lms) -> Course:
    """The same on each kind of database."""
    return furnish(request.getfixturevalue("runtime" if request.param == "sqlite" else "pg_runtime"), lms)
