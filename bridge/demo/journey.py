"""Play the demo's scenes without a browser, over HTTP only, and show every hop with its id.

What a person's browser does is done here: forms of Desk and of the tool are filled in and sent, the widget's requests
are made with the assertion that Desk put into its page, and the forms that pages send by themselves are followed.
Whatever is printed was read from a public face: the API, the widget, the company's LRS.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import functools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests
import typer

from bridge.demo import run
from bridge.demo.tool import quiz
from bridge.demo.visitors import Broken, Client, Desk, Markup, Office, Widget, seen
from bridge.flows import identity
from bridge.flows.runtime import Runtime


def tell(hop: str, id_: str, words: str) -> None:
    typer.echo(f"  {hop:11}  {id_:36}  {words}")


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
        state = functools.partial(self.decision, event_id)
        launch, outcome = seen("outcome", lambda: self._outcome(event_id, verb), state)
        tell("launch", launch["id"], launch["how"])
        score = "" if outcome["score"] is None else f", score {outcome['score']:.0%}"
        tell("outcome", outcome["id"], f"{outcome['verb']}, from {outcome['source']}{score}")
        statements = seen("statement", lambda: self._delivered(event_id, launch["id"]), state)
        [statement] = [statement for statement in statements if statement["id"] == outcome["id"]]
        tell("statement", statement["id"], statement["verb"].rpartition("/")[2])
        stored = [self._stored(statement["id"], launch["id"]) for statement in statements]
        at = next(each["stored"] for each in stored if each["id"] == statement["id"])
        tell("LRS receipt", statement["id"], f"stored there {at}, with {len(stored) - 1} more of this launch")
        row = seen("report row", lambda: self._row(launch["id"]), self.office.report)
        if (row["event"], row["rule"], row["statement"]) != (event_id, self.rule, statement["id"]):
            raise Broken("report row", row)
        tell("report row", row["launch"], f"{row['person_name']}, {row['asset_title']}, {row['lrs']}")

    def _outcome(self, event_id: str, verb: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        launches = self.decision(event_id)["launches"]
        found = ((launch, outcome) for launch in launches for outcome in launch["outcomes"] if outcome["verb"] == verb)
        return next(found, None)

    def _delivered(self, event_id: str, launch_id: str) -> list[dict[str, Any]]:
        """The launch's statements, once the bridge has the LRS's receipt for every one of them."""
        [launch] = [launch for launch in self.decision(event_id)["launches"] if launch["id"] == launch_id]
        statements: list[dict[str, Any]] = launch["statements"]
        are_there = all(
            any(receipt["state"] == "delivered" for receipt in statement["receipts"]) for statement in statements
        )
        return statements if are_there else []

    def _stored(self, statement_id: str, launch_id: str) -> dict[str, Any]:
        """A statement as the LRS gives it back, under the launch as its registration."""
        found = self.office.in_lrs(statement_id)
        if found is None or found["context"]["registration"] != launch_id:
            raise Broken("LRS receipt", {"statement": statement_id, "launch": launch_id, "in the LRS": found})
        return found

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
    form, fields = next((form for form in Markup(page.text).forms), ({}, {}))
    if set(answers) - set(fields):
        raise Broken("launch", f"{page.url} shows no quiz: {Markup(page.text).text.strip()[:300]}")
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
