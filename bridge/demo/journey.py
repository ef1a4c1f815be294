"""Play the demo's scenes without a browser, over HTTP only, and show every hop with its id.

What a person's browser does is done here: forms of Desk and of the tool are filled in and sent, the widget's requests
are made with the assertion that Desk put into its page, and the forms that pages send by themselves are followed.
Whatever is printed was read from a public face: the API, the widget, the company's LRS.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests
import typer

from bridge.demo import run
from bridge.demo.tool import quiz
from bridge.flows import identity
from bridge.flows.runtime import Runtime

#: How long a hop may take, in seconds.
PATIENCE = 15.0
_TIMEOUT = (3.0, 20.0)


class Broken(Exception):
    """A hop was not seen."""

    def __init__(self, hop: str, seen: object) -> None:
        super().__init__(f"{hop}: {seen}")
        self.hop, self.seen = hop, seen


def seen(hop: str, look: Callable[[], Any]) -> Any:
    """The first true answer of ``look``; raises Broken with the last one when there is none in time."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        if time.monotonic() > deadline:
            raise Broken(hop, f"not there after {PATIENCE:.0f} s")
        time.sleep(0.03)
    return found


def tell(hop: str, id_: str, words: str) -> None:
    typer.echo(f"  {hop:11}  {id_:36}  {words}")


class _Markup(HTMLParser):
    """The tags of a page with their attributes, the text of its scripts, and its forms."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts: list[dict[str, str]] = []
        self.forms: list[tuple[dict[str, str], dict[str, str]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if tag == "script":
            self.scripts.append(given)
        elif tag == "form":
            self.forms.append((given, {}))
        elif tag == "input" and self.forms and given.get("name"):
            self.forms[-1][1][given["name"]] = given.get("value", "")

    def handle_data(self, data: str) -> None:
        self.text += data


class Client:
    """A person's browser, without its screen."""

    def __init__(self) -> None:
        self._session = requests.Session()

    def get(self, url: str, **kwargs: Any) -> requests.Response:
        return self._checked(self._session.get(url, timeout=_TIMEOUT, **kwargs))

    def post(self, url: str, data: Mapping[str, Any], **kwargs: Any) -> requests.Response:
        return self._checked(self._session.post(url, data=data, timeout=_TIMEOUT, **kwargs))

    def follow(self, response: requests.Response) -> requests.Response:
        """Send the forms that pages send by themselves, until a page waits for its reader."""
        for _ in range(10):
            page = _Markup(response.text)
            if "forms[0].submit()" not in page.text or not page.forms:
                return response
            form, fields = page.forms[0]
            target = urljoin(response.url, form.get("action", ""))
            is_post = form.get("method", "get").lower() == "post"
            response = self.post(target, fields) if is_post else self.get(target, params=fields)
        raise Broken("launch", f"the forms never end; the last was at {response.url}")

    @staticmethod
    def _checked(response: requests.Response) -> requests.Response:
        if not response.ok:
            method, url = response.request.method, response.url.partition("?")[0]
            raise Broken(f"{method} {url}", f"{response.status_code}: {_Markup(response.text).text.strip()[:300]}")
        return response


class Desk:
    """Desk, as one of its people uses it."""

    def __init__(self, url: str, person: str) -> None:
        self._url, self._client = url, Client()
        self._client.post(f"{url}/sign-in", {"person": person})

    def save(self, area: str, **fields: str) -> requests.Response:
        """Fill in the form of a new record; returns the record's page."""
        return self._client.post(f"{self._url}/{area}", fields)

    def move(self, record: requests.Response, state: str, **fields: str) -> requests.Response:
        return self._client.post(f"{record.url}/state", {"state": state, **fields})

    def event(self, subject: str, kind: str) -> dict[str, Any]:
        """The event that Desk sent about a record, as its own list of webhooks shows it."""

        def look() -> dict[str, Any] | None:
            told = self._client.get(f"{self._url}/webhooks", params={"subject": subject}).json()["events"]
            return next((event for event in told if event["type"] == kind and event["received_as"]), None)

        found: dict[str, Any] = seen("event", look)
        return found


class Widget:
    """The widget on a page of Desk."""

    def __init__(self, page: requests.Response) -> None:
        tag = next((tag for tag in _Markup(page.text).scripts if tag.get("src", "").endswith("/widget.js")), None)
        if tag is None:
            raise Broken("widget", f"{page.url} does not embed it")
        self.record = tag["data-record"]
        self._base = tag["src"].removesuffix("widget.js") + "api/v1/widget/"
        self._session = requests.Session()
        self._session.headers["Origin"] = page.url.partition("//")[0] + "//" + page.url.split("/")[2]
        if self._session.get(tag["src"], timeout=_TIMEOUT).status_code != 200:
            raise Broken("widget", f"{tag['src']} is not served")
        body = {"connection": tag["data-connection"], "assertion": tag["data-assertion"]}
        token = self.post("session", body)["token"]
        self._session.headers["Authorization"] = f"Bearer {token}"

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._json(self._session.post(self._base + path, json=body or {}, timeout=_TIMEOUT))

    def prompt(self, title: str) -> dict[str, Any]:
        """The prompt for this page's record, as soon as the bridge has it."""
        cursor, deadline = "", time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            parameters = {"after": cursor, "wait": "5"}
            news = self._json(self._session.get(self._base + "prompts", params=parameters, timeout=_TIMEOUT))
            for prompt in news["prompts"]:
                if prompt["subject"] == self.record and prompt["title"] == title:
                    return dict(prompt)
            cursor = news["cursor"]
        raise Broken("prompt", f"none for {self.record} with '{title}'; the widget has {news['prompts']}")

    @staticmethod
    def _json(response: requests.Response) -> dict[str, Any]:
        if not response.ok:
            path = response.url.partition("?")[0]
            raise Broken(f"{response.request.method} {path}", f"{response.status_code}: {response.text[:300]}")
        return dict(response.json()) if response.content else {}


@dataclasses.dataclass(frozen=True)
class Office:
    """What an LMS admin and a compliance team see: the bridge's API and the company's LRS."""

    ports: run.Ports
    credential: tuple[str, str] = dataclasses.field(repr=False)
    lrs_credential: tuple[str, str] = dataclasses.field(repr=False)
    since: dt.datetime

    def chain(self, event_id: str) -> dict[str, Any]:
        return dict(self._get(f"/api/v1/events/{event_id}"))

    def report(self) -> list[dict[str, Any]]:
        rows = self._get("/api/v1/reports/completions", since=self.since.isoformat(), format="json")
        return [dict(row) for row in rows]

    def _get(self, path: str, **parameters: str) -> Any:
        url = self.ports.url("bridge") + path
        answer = requests.get(url, params=parameters, auth=self.credential, timeout=_TIMEOUT)
        if not answer.ok:
            raise Broken(f"GET {path}", f"{answer.status_code}: {answer.text[:300]}")
        return answer.json()

    def in_lrs(self, statement_id: str) -> dict[str, Any] | None:
        """A statement as the company's LRS gives it back."""
        answer = requests.get(
            f"{self.ports.url('lrs')}/xapi/statements",
            params={"statementId": statement_id},
            headers={"X-Experience-API-Version": "1.0.3"},
            auth=self.lrs_credential,
            timeout=_TIMEOUT,
        )
        if answer.status_code == 404:
            return None
        if not answer.ok:
            raise Broken("LRS receipt", f"{answer.status_code}: {answer.text[:300]}")
        return dict(answer.json())


@dataclasses.dataclass(frozen=True)
class Scene:
    """One prompt and what is to come of it."""

    office: Office
    desk: Desk
    page: requests.Response
    event_type: str
    rule: str
    title: str

    def prompt(self) -> tuple[Widget, dict[str, Any], str]:
        """From the event to the prompt on the screen; returns the widget, the prompt and the event's id."""
        widget = Widget(self.page)
        event = self.desk.event(widget.record, self.event_type)
        event_id = str(event["received_as"])
        tell("event", event_id, f"{self.event_type}, {widget.record}, sent as {event['id']}")
        prompt = widget.prompt(self.title)
        decision = self.decision(event_id)
        if decision["id"] != prompt["id"]:
            raise Broken("prompt", f"the widget shows {prompt['id']}, the decision was {decision['id']}")
        tell("rule", self.rule, f"version {decision['rule_version']}, for person {decision['person']}")
        tell("prompt", prompt["id"], f"“{prompt['say']}”")
        widget.post(f"prompts/{prompt['id']}/shown")
        [delivery] = [item for item in self.decision(event_id)["deliveries"] if item["channel"] == "widget"]
        if delivery["state"] != "shown":
            raise Broken("delivery", delivery)
        tell("delivery", delivery["id"], "widget, shown")
        return widget, prompt, event_id

    def decision(self, event_id: str) -> dict[str, Any]:
        """What the rule decided on the event, and all that came of it."""
        found = [prompt for prompt in self.office.chain(event_id)["prompts"] if prompt["rule"] == self.rule]
        if len(found) != 1 or not found[0]["offered"]:
            raise Broken("rule", f"{self.rule} offered nothing: {found}")
        return dict(found[0])

    def evidence(self, event_id: str, verb: str) -> None:
        """From the launch to the report: everything that the last step left behind."""
        launch, outcome = seen("outcome", lambda: self._outcome(event_id, verb))
        tell("launch", launch["id"], launch["how"])
        score = "" if outcome["score"] is None else f", score {outcome['score']:.0%}"
        tell("outcome", outcome["id"], f"{outcome['verb']}, from {outcome['source']}{score}")
        statement = seen("statement", lambda: self._delivered(event_id, outcome["id"]))
        tell("statement", statement["id"], f"{statement['verb'].rpartition('/')[2]}")
        stored = seen("LRS receipt", lambda: self.office.in_lrs(statement["id"]))
        if stored["context"]["registration"] != launch["id"]:
            raise Broken("LRS receipt", f"its registration is {stored['context']['registration']}, not the launch")
        tell("LRS receipt", stored["id"], f"stored there {stored['stored']}")
        row = seen("report row", lambda: self._row(launch["id"]))
        if (row["event"], row["rule"], row["statement"]) != (event_id, self.rule, statement["id"]):
            raise Broken("report row", row)
        tell("report row", row["launch"], f"{row['person_name']}, {row['asset_title']}, {row['lrs']}")

    def _outcome(self, event_id: str, verb: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        for launch in self.decision(event_id)["launches"]:
            for outcome in launch["outcomes"]:
                if outcome["verb"] == verb:
                    return launch, outcome
        return None

    def _delivered(self, event_id: str, outcome_id: str) -> dict[str, Any] | None:
        launches = self.decision(event_id)["launches"]
        statements = (statement for launch in launches for statement in launch["statements"])
        found = next((statement for statement in statements if statement["id"] == outcome_id), None)
        is_there = found and any(receipt["state"] == "delivered" for receipt in found["receipts"])
        return found if is_there else None

    def _row(self, launch_id: str) -> dict[str, Any] | None:
        rows = [row for row in self.office.report() if row["launch"] == launch_id]
        return rows[0] if rows and "delivered" in rows[0]["lrs"] else None


def _guide(scene: Scene) -> None:
    widget, prompt, event_id = scene.prompt()
    opened = widget.post(f"prompts/{prompt['id']}/open")
    _expect(opened["html"], "Kestrel Freight", "480,000")
    widget.post(f"launches/{opened['launch_id']}/finish")
    scene.evidence(event_id, "completed")


def _quiz(scene: Scene) -> None:
    widget, prompt, event_id = scene.prompt()
    door, browser = widget.post(f"prompts/{prompt['id']}/open"), Client()
    page = browser.follow(browser.post(door["action"], {"handoff": door["handoff"]}))
    answers = {question.id: question.options.index(question.best) for question in quiz.QUESTIONS}
    [first, *_] = answers
    answers[first] += 1 if answers[first] == 0 else -1  # nobody is perfect
    form, fields = next((form for form in _Markup(page.text).forms), ({}, {}))
    if set(answers) - set(fields):
        raise Broken("launch", f"{page.url} shows no quiz: {_Markup(page.text).text.strip()[:300]}")
    browser.post(urljoin(page.url, form.get("action", "")), answers)
    scene.evidence(event_id, "passed")


def _checklist(scene: Scene) -> None:
    widget, prompt, event_id = scene.prompt()
    opened = widget.post(f"prompts/{prompt['id']}/open")
    for step in opened["steps"]:
        opened = widget.post(f"launches/{opened['launch_id']}/steps/{step['id']}", {"done": True})
    done = sum(step["done"] for step in opened["steps"])
    tell("checklist", opened["launch_id"], f"{done} of {len(opened['steps'])} ticked")
    widget.post(f"launches/{opened['launch_id']}/finish")
    scene.evidence(event_id, "completed")


def _filled(scene: Scene, *facts: str) -> None:
    widget, prompt, event_id = scene.prompt()
    opened = widget.post(f"prompts/{prompt['id']}/open")
    _expect(opened["html"], *facts)
    tell("filled with", opened["launch_id"], ", ".join(facts))
    widget.post(f"launches/{opened['launch_id']}/finish")
    scene.evidence(event_id, "completed")


def _expect(html: str, *facts: str) -> None:
    missing = [fact for fact in facts if fact not in html]
    if missing:
        raise Broken("help", f"it lacks {', '.join(missing)} of the record")


def scenes(office: Office) -> None:
    """All of them, in the order of a day; raises Broken at the first hop that is not seen."""
    url, soon = office.ports.url("desk"), (dt.date.today() + dt.timedelta(days=30)).isoformat()  # noqa: DTZ011

    typer.echo("\nSam enters an opportunity of $480,000, and reads the guide that comes with it.")
    sam = Desk(url, "sam")
    deal = {"name": "Fleet planning, 140 depots", "customer": "Kestrel Freight", "contact": "Ana Ribeiro"}
    page = sam.save("opportunities", amount="480,000", close_date=soon, **deal)
    pricing = "Four things to check before you send an enterprise price"
    _guide(Scene(office, sam, page, "desk.opportunity.created", "enterprise-pricing", pricing))

    typer.echo("\nThe deal moves to Proposal: Sam practises in the vendor's quiz, opened by LTI 1.3.")
    page = sam.move(page, "proposal")
    practice = "Negotiating under pressure"
    _quiz(Scene(office, sam, page, "desk.opportunity.stage_changed", "negotiation-practice", practice))

    typer.echo("\nPriya starts a project, and ticks off the stakeholder risk assessment.")
    priya = Desk(url, "priya")
    goal = {"goal": "All depots plan on their own.", "budget": "120000", "sponsor": "Ana Ribeiro"}
    plan = priya.save("projects", project="Depot rollout", customer="Kestrel Freight", start_date=soon, **goal)
    page = priya.move(plan, "started")
    _checklist(Scene(office, priya, page, "desk.project.started", "stakeholder-risk", "Who could stop this project?"))

    typer.echo("\nRavi receives a complaint, and is shown three ways to calm it.")
    ravi = Desk(url, "ravi")
    what = {"subject": "Export failed again at month end", "kind": "complaint", "description": "Third time this year."}
    whose = {"customer": "Alder Rail", "contact": "Tomasz Nowak", "contract_tier": "gold"}
    ticket = ravi.save("tickets", **what, **whose, product="Atlas Insight", severity="high")
    calm = Scene(office, ravi, ticket, "desk.ticket.created", "de-escalation", "Three ways to calm a complaint")
    _filled(calm, "Alder Rail", what["subject"])

    typer.echo("\nHe escalates it, and the steps come filled in with this customer's facts.")
    page = ravi.move(ticket, "escalated", reason="The promised time has passed")
    steps = "Escalate a ticket so that it is accepted"
    number = f"TIC-{ticket.url.rpartition('/')[2]}"
    escalate = Scene(office, ravi, page, "desk.ticket.escalated", "escalation-guide", steps)
    _filled(escalate, "Alder Rail", number, "gold", "Atlas Insight", "Ravi Desai")


@contextlib.contextmanager
def _running(demo: run.Prepared, log: Path) -> Iterator[None]:
    """The whole demo in processes of its own; they end with the block."""
    argv = [sys.executable, "-P", "-m", "bridge.demo.run", "--home", str(demo.home), "--port", str(demo.ports.bridge)]
    with log.open("wb") as output, subprocess.Popen(argv, stdout=output, stderr=output) as process:  # noqa: S603
        try:
            late = run.wait_for(run.doors(demo.ports).values(), run.START_SECONDS)
            if late:
                raise Broken("start", f"no answer from {', '.join(late)}")
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def play(home: Path) -> int:
    """Play every scene in a fresh home; returns the exit code: 0 only if every hop was seen."""
    began, log = time.monotonic(), home / "demo.log"
    demo = run.prepare(home, run.Ports.free())
    runtime = Runtime.start(demo.settings)
    credential = identity.create_credential(runtime, "compliance", ["prompts:read", "reports:read"])
    runtime.db.close()
    lrs = (demo.secrets.lrs_key, demo.secrets.lrs_secret)
    office = Office(demo.ports, credential, lrs, since=dt.datetime.now(dt.UTC))
    try:
        with _running(demo, log):
            typer.echo(f"Everything runs after {time.monotonic() - began:.1f} s.")
            scenes(office)
    except (Broken, requests.RequestException, LookupError) as error:
        hop = error.hop if isinstance(error, Broken) else "unexpected answer"
        what = error.seen if isinstance(error, Broken) else f"{type(error).__name__}: {error}"
        typer.echo(f"\nNOT SEEN  {hop}: {json.dumps(what, default=str) if isinstance(what, dict) else what}", err=True)
        typer.echo("\n".join(log.read_text(errors="replace").splitlines()[-30:]), err=True)
        return 1
    typer.echo(f"\nEvery hop was seen, in {time.monotonic() - began:.1f} s.")
    return 0
