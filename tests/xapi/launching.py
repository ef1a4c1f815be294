"""Content that is launched from a prompt, and speaks to the LRS over HTTP as it would from a learner's browser."""

from __future__ import annotations

import json
import uuid
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import select

from bridge.domain.events import BusinessEvent, PersonRef
from bridge.flows import accept_event, configure, decide_prompts, identity, open_launch, sync_catalogue
from bridge.flows.runtime import Runtime
from bridge.store import now, tables

BRIDGE = "http://bridge.test"
SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
TIN_CAN = """<tincan xmlns="http://projecttincan.com/tincan.xsd"><activities>
  <activity id="https://learn.test/phishing" type="http://adlnet.gov/expapi/activities/course">
    <name>Phishing</name><description lang="en">Spot it</description><launch lang="en">index.html</launch></activity>
</activities></tincan>"""
CMI5 = """<courseStructure xmlns="https://w3id.org/xapi/profiles/cmi5/v1/CourseStructure.xsd">
  <course id="https://learn.test/negotiation"><title><langstring lang="en">Negotiate</langstring></title>
    <description><langstring lang="en">Defend the price</langstring></description></course>
  <au id="https://learn.test/negotiation/1" moveOn="%(move_on)s" masteryScore="0.8"><url>index.html?lang=en</url>
    <launchParameters>slow</launchParameters></au>
</courseStructure>"""
CONFIGURATION = """
connections:
  - {name: desk, connector: webhook, config: {secrets: ["%(secret)s"]}}
  - {name: library, connector: files, config: {path: "%(library)s", packages_base_url: "https://cdn.test/"}}
people:
  - {key: E001, name: Sam Seller, email: sam@example.com, accounts: {desk: sam}}
  - {key: E002, name: Ann Other, email: ann@example.com, accounts: {desk: ann}}
rules:
  - {name: spot-it, on: mail.opened, offer: {asset: library/phishing.zip}, say: "Look twice."}
  - {name: defend-it, on: quote.created, offer: {asset: library/negotiation.zip}, say: "Defend it."}
"""
VERBS = "http://adlnet.gov/expapi/verbs/"


def equip(runtime: Runtime, folder: Path, *, move_on: str = "CompletedAndPassed") -> None:
    """Desk sends events, Library has a Tin Can and a cmi5 package; Sam and Ann work at the desk."""
    library = folder / "library"
    library.mkdir()
    for name, manifest, text in (
        ("phishing", "tincan.xml", TIN_CAN),
        ("negotiation", "cmi5.xml", CMI5 % {"move_on": move_on}),
    ):
        with zipfile.ZipFile(library / f"{name}.zip", "w") as archive:
            archive.writestr(manifest, text)
    file = folder / "flowbridge.yaml"
    file.write_text(CONFIGURATION % {"secret": SECRET, "library": library})
    configure.apply(runtime, file)
    sync_catalogue.sync(runtime, "library")


def prompted(runtime: Runtime, event: str = "mail.opened", account: str = "sam") -> uuid.UUID:
    """A prompt for somebody, by an event of Desk."""
    about = BusinessEvent(
        id=str(uuid.uuid4()),
        type=event,
        source="https://desk.test",
        subject="customer/42",
        time=now(),
        data={},
        people={"actor": PersonRef(id=account)},
    )
    [accepted] = accept_event.accept(runtime, "desk", [about])
    decide_prompts.decide(runtime)
    with runtime.db.read() as session:
        return session.scalars(select(tables.Prompt.id).where(tables.Prompt.event_id == accepted.id)).one()


def person(runtime: Runtime, account: str = "sam") -> int:
    with runtime.db.read() as session:
        return session.get_one(tables.Account, ("desk", account)).person_id


def opened(runtime: Runtime, prompt: uuid.UUID, account: str = "sam") -> str:
    """The address to which the person's browser goes when the prompt is opened."""
    token, who = identity.open_session(runtime, person(runtime, account), via="password")
    return open_launch.open_prompt(runtime, prompt, who.person_id, session_hash=identity.token_hash(token)).url


class Content:
    """What runs at a launch's address: it knows nothing but that address."""

    def __init__(self, client: TestClient, url: str) -> None:
        self.client = client
        self.url = url
        self.handed = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        self.actor: dict[str, Any] = json.loads(self.handed["actor"])
        self.activity = self.handed.get("activityId") or self.handed["activity_id"]
        self.registration = self.handed["registration"]
        self.authorization = self.handed.get("auth", "")

    def fetch(self) -> dict[str, str]:
        """Ask the fetch URL of cmi5, and speak with what it gives."""
        answer = self.client.post(self.handed["fetch"])
        assert answer.status_code == 200
        said: dict[str, str] = answer.json()
        if "auth-token" in said:
            self.authorization = f"Basic {said['auth-token']}"
        return said

    def says(self, verb: str, **parts: Any) -> dict[str, Any]:
        """A statement of it, where ``parts`` replace or add."""
        return {
            "id": str(uuid.uuid4()),
            "actor": self.actor,
            "verb": {"id": VERBS + verb},
            "object": {"id": self.activity},
            "context": {"registration": self.registration},
            **parts,
        }

    def request(self, method: str, resource: str, **how: Any) -> Response:
        headers = {"Authorization": self.authorization, "X-Experience-API-Version": "1.0.3", **how.pop("headers", {})}
        return self.client.request(method, f"{self.handed['endpoint']}{resource}", headers=headers, **how)

    def send(self, *statements: dict[str, Any], **how: Any) -> Response:
        return self.request("POST", "statements", json=list(statements), **how)

    def state(self, method: str = "GET", **changed: Any) -> Response:
        """A request for the state document "bookmark" of the launch, but for what is changed."""
        more = changed.pop("more", {})
        place = {
            "activityId": self.activity,
            "agent": json.dumps(self.actor),
            "registration": self.registration,
            "stateId": "bookmark",
        }
        asked = {name: value for name, value in {**place, **changed}.items() if value is not None}
        return self.request(method, "activities/state", params=asked, **more)
