"""Forwarding into real LRSs: the strict (Learning Locker), the lax (Ralph), and another bridge's own.

One bridge sends what its launches make and what an outside program stores in its LRS. Learning Locker gets everybody by
a pseudonym, Ralph gets completions only, with addresses and without extensions, the other bridge gets all as it is.
"""

from __future__ import annotations

import copy
import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
import requests

from connectors.lrs import comparing
from tests.journeys.bridge_process import BridgeProcess, until
from tests.live.company import Company, company
from tests.live.systems import LearningLocker, Ralph

pytestmark = pytest.mark.live

VERBS = "http://adlnet.gov/expapi/verbs"
COMPLETED = f"{VERBS}/completed"
SENDER = """
connections:
  - {{name: guides, connector: files, config: {{path: "{guides}"}}}}
  - name: learning-locker
    connector: lrs
    config: {{endpoint: "{locker.endpoint}/", key: "{locker.key}", secret: "{locker.secret}"}}
    options: {{statements: {{identity: pseudonym}}}}
  - name: ralph
    connector: lrs
    config: {{endpoint: "{ralph.endpoint}/statements", key: "{ralph.key}", secret: "{ralph.secret}"}}
    options: {{statements: {{identity: mbox, only: {{verbs: ["{completed}"]}}, extensions: {{keep: []}}, rate: 50}}}}
  - name: archive
    connector: lrs
    config: {{endpoint: "{archive.url}/xapi", key: "{key}", secret: "{secret}", version: "2.0.0"}}
rules:
  - {{name: renewal, on: desk.renewal.due, offer: {{search: renewal talk}}, say: Read this first.}}
"""
GUIDE = "---\ntitle: Before a renewal talk\nkind: guide\n---\nKnow the price.\n"
DIPLOMA = b"%PDF-1.7 a diploma"
DESTINATIONS = ("learning-locker", "ralph", "archive")


@pytest.fixture(scope="module")
def companies(
    tmp_path_factory: pytest.TempPathFactory, learning_locker: LearningLocker, ralph: Ralph
) -> Iterator[tuple[Company, Company]]:
    """Who sends, and the archive."""
    folder = tmp_path_factory.mktemp("forwarding")
    homes = [folder / name for name in ("sender", "archive", "guides")]
    for home in homes:
        home.mkdir()
    (homes[2] / "renewal.md").write_text(GUIDE)
    sender, archive = BridgeProcess(homes[0] / "home"), BridgeProcess(homes[1] / "home", known_as="localhost")
    with ExitStack() as running, ThreadPoolExecutor() as pool:
        kept = pool.submit(running.enter_context, company(archive, homes[1]))
        sending = pool.submit(running.enter_context, company(sender, homes[0]))
        key, secret = kept.result().credential
        file = homes[0] / "destinations.yaml"
        places = {"guides": homes[2], "locker": learning_locker, "ralph": ralph, "archive": kept.result()}
        sending.result()
        file.write_text(SENDER.format(**places, key=key, secret=secret, completed=COMPLETED))
        sender.run("apply", str(file))
        sender.run("sync", "guides")
        yield sending.result(), kept.result()


@pytest.fixture(scope="module")
def sender(companies: tuple[Company, Company]) -> Company:
    return companies[0]


@pytest.fixture(scope="module")
def archive(companies: tuple[Company, Company]) -> Company:
    return companies[1]


def made(sender: Company, verb: str, **changes: Any) -> dict[str, Any]:
    """A statement of an outside program about one of the company's people."""
    ana = {"objectType": "Agent", "name": "Ana Sales", "account": {"homePage": sender.url, "name": "E001"}}
    return {
        "id": str(uuid.uuid4()),
        "actor": ana,
        "verb": {"id": f"{VERBS}/{verb}"},
        "object": {"objectType": "Activity", "id": f"https://programs.example/{uuid.uuid4()}"},
        "context": {"extensions": {"https://programs.example/deal": {"worth": 12345678901234567890, "share": 0.1}}},
        "result": {"duration": "PT1M30S", "score": {"scaled": 0.5}},
        "timestamp": "2026-03-04T05:06:07.891Z",
        **changes,
    }


def stores(sender: Company, *batch: Mapping[str, Any], content: bytes = b"") -> int:
    """The program stores a batch in the sender's LRS, with ``content`` attached; what it is answered."""
    data, kind = json.dumps(batch).encode(), "application/json"
    if content:
        sha2 = hashlib.sha256(content).hexdigest()
        head = f"Content-Type: application/pdf\r\nContent-Transfer-Encoding: binary\r\nX-Experience-API-Hash: {sha2}"
        parts = [b"Content-Type: application/json\r\n\r\n" + data, head.encode() + b"\r\n\r\n" + content]
        data, kind = (
            b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n",
            "multipart/mixed; boundary=x",
        )
    headers = {"Content-Type": kind, "X-Experience-API-Version": "1.0.3"}
    answer = requests.post(
        f"{sender.url}/xapi/statements", data=data, headers=headers, auth=sender.credential, timeout=30
    )
    return answer.status_code


def settled(sender: Company) -> None:
    """Wait until nothing is on its way any more."""

    def waiting() -> bool:
        metrics = requests.get(f"{sender.url}/metrics", timeout=30).text
        return 'flowbridge_waiting{queue="drain"} 0.0' in metrics

    until("the outbox to be empty", waiting, seconds=60)


def arrived(lrs: LearningLocker | Ralph) -> dict[str, dict[str, Any]]:
    found = lrs.statements()
    assert len(found) == len({one["id"] for one in found}), "a statement is there twice"
    return {one["id"]: one for one in found}


def dead_letters(sender: Company, connection: str) -> dict[str, str]:
    """What a destination refused: its words by the statement's id."""
    listed = sender.bridge.run("dead-letters", connection, "--format", "ndjson")
    letters = [json.loads(line) for line in listed.splitlines()]
    return {letter["statement"]["id"]: letter["words"] for letter in letters}


def test_the_doctor_finds_nothing_wrong(sender: Company) -> None:
    for name in DESTINATIONS:
        told = sender.bridge.run("doctor", name, "--write")
        assert "WRONG" not in told and "may store statements" in told and "voided again" in told, told


def test_what_a_launch_says_reaches_each_as_it_wants_it(
    sender: Company, archive: Company, learning_locker: LearningLocker, ralph: Ralph
) -> None:
    event = sender.happens("desk.renewal.due", "ana")
    sender.reads("ana", event)
    launch = sender.outcome(event)
    settled(sender)
    told = {record["id"]: sender.statement(record["id"]) for record in launch["statements"]}
    strict, lax = arrived(learning_locker), arrived(ralph)
    assert told.keys() <= strict.keys() and len(told) >= 2

    pseudonyms = {strict[name]["actor"]["account"]["name"] for name in told}
    assert len(pseudonyms) == 1 and "E001" not in json.dumps([strict[name] for name in told])
    for name, statement in told.items():
        assert comparing.same(strict[name], {**statement, "actor": strict[name]["actor"]})
        assert comparing.same(archive.statement(name), statement)

    (completed,) = told.keys() & lax.keys()
    assert lax[completed]["verb"]["id"] == COMPLETED
    assert lax[completed]["actor"]["mbox"] == "mailto:ana@example.com" and "account" not in lax[completed]["actor"]
    assert "extensions" not in json.dumps(lax[completed])


def test_what_a_program_stored_twice_arrives_once(
    sender: Company, archive: Company, learning_locker: LearningLocker, ralph: Ralph
) -> None:
    batch = [made(sender, "completed"), made(sender, "passed"), made(sender, "completed")]
    answers = [stores(sender, *batch), stores(sender, *copy.deepcopy(batch)), stores(sender, batch[0])]
    assert all(answer in (200, 204) for answer in answers)
    settled(sender)
    strict, lax = arrived(learning_locker), arrived(ralph)
    for statement in batch:
        assert comparing.same(strict[statement["id"]], {**statement, "actor": strict[statement["id"]]["actor"]})
        assert comparing.same(archive.statement(statement["id"]), statement)
        assert (statement["id"] in lax) == (statement["verb"]["id"] == COMPLETED)


def test_an_attachment_goes_where_it_is_taken(
    sender: Company, archive: Company, learning_locker: LearningLocker
) -> None:
    """Ralph takes none; what went along with it must not suffer."""
    attachment = {
        "usageType": "http://id.tincanapi.com/attachment/certificate-of-completion",
        "display": {"en": "Diploma"},
        "contentType": "application/pdf",
        "length": len(DIPLOMA),
        "sha2": hashlib.sha256(DIPLOMA).hexdigest(),
    }
    with_file, without = made(sender, "completed", attachments=[attachment]), made(sender, "completed")
    assert stores(sender, with_file, without, content=DIPLOMA) == 200
    settled(sender)
    assert {with_file["id"], without["id"]} <= arrived(learning_locker).keys()
    query = {"statementId": with_file["id"], "attachments": "true"}
    for endpoint, credential in (
        (learning_locker.endpoint, (learning_locker.key, learning_locker.secret)),
        (f"{archive.url}/xapi", archive.credential),
    ):
        headers = {"X-Experience-API-Version": "1.0.3"}
        answer = requests.get(f"{endpoint}/statements", query, auth=credential, headers=headers, timeout=30)
        assert answer.status_code == 200 and b"\r\n\r\n" + DIPLOMA + b"\r\n" in answer.content
    assert "400" in dead_letters(sender, "ralph")[with_file["id"]]
    assert without["id"] not in dead_letters(sender, "ralph")


def test_one_that_is_refused_holds_up_no_other(sender: Company, learning_locker: LearningLocker) -> None:
    """Another statement is there under the same id: a batch with it is refused whole, and sent again in halves."""
    batch = [made(sender, "completed") for _ in range(7)]
    other = {**made(sender, "failed"), "id": batch[3]["id"]}
    answer = requests.post(
        f"{learning_locker.endpoint}/statements",
        json=[other],
        auth=(learning_locker.key, learning_locker.secret),
        headers={"X-Experience-API-Version": "1.0.3"},
        timeout=30,
    )
    assert answer.ok and stores(sender, *batch) == 200
    settled(sender)
    there = arrived(learning_locker)
    assert {statement["id"] for statement in batch} <= there.keys()
    assert there[other["id"]]["verb"]["id"] == f"{VERBS}/failed", "what is there is never overwritten"
    assert dead_letters(sender, "learning-locker").keys() == {other["id"]}
    assert "another one under that id" in dead_letters(sender, "learning-locker")[other["id"]]


def test_who_has_no_address_waits_for_one(sender: Company, ralph: Ralph) -> None:
    nobody = made(sender, "completed", actor={"account": {"homePage": "https://elsewhere.example", "name": "x-1"}})
    assert stores(sender, nobody) == 200
    settled(sender)
    assert nobody["id"] not in arrived(ralph)
    assert "no e-mail address" in dead_letters(sender, "ralph")[nobody["id"]]
