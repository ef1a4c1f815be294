"""What an LRS refused is read, mended and sent again; what was refused stays as it was, and so does its place."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from bridge.connect import Attached, Rejected
from bridge.domain.events import BusinessEvent
from bridge.flows import accept_event, dead_letters, decide_prompts, open_launch, operate, record_outcome, report, trace
from bridge.flows.errors import Invalid, NotFound, Refused
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from bridge.xapi import ledger
from tests.flows import scripted
from tests.flows.evidence import ISSUER, audited, connect, deliver, receipts, state, statement, voiding, waiting

BAD = statement(1, result={"score": {"raw": 5}})
BAD_ID = uuid.UUID(BAD["id"])


@pytest.fixture
def bridge(each_runtime: Runtime, script: scripted.Script) -> Runtime:
    """A bridge whose LRS has refused one statement."""
    connect(each_runtime)
    refuse(each_runtime, script, BAD)
    return each_runtime


def refuse(bridge: Runtime, script: scripted.Script, one: dict[str, Any], words: str = "score.max is missing") -> None:
    state(bridge, one)
    script.shelf.answers = [Rejected(words)]
    deliver(bridge)
    assert receipts(bridge)[one["id"]] == "rejected"


def row(bridge: Runtime, of: str | uuid.UUID) -> tables.Statement:
    with bridge.db.read() as session:
        return session.scalars(select(tables.Statement).where(tables.Statement.id == uuid.UUID(str(of)))).one()


def mended(**parts: Any) -> str:
    """The text of the form, with some properties changed."""
    said = {name: value for name, value in BAD.items() if name != "id"}
    return json.dumps({**said, **parts})


MENDED = mended(result={"score": {"raw": 5, "max": 10}})


def test_a_letter_has_the_words_and_the_statement(bridge: Runtime) -> None:
    (letter,) = dead_letters.letters(bridge)
    assert letter == dead_letters.letter(bridge, "records", BAD_ID)
    assert (letter.connection, letter.words, letter.id) == ("records", "score.max is missing", BAD_ID)
    assert json.loads(letter.payload) == BAD
    assert json.loads(letter.editable) == {name: value for name, value in BAD.items() if name != "id"}
    assert list(dead_letters.letters(bridge, "records", most=0)) == []
    with pytest.raises(NotFound):
        list(dead_letters.letters(bridge, "nobody"))


def test_a_line_is_one_json_object_whatever_the_statement_looks_like(bridge: Runtime, script: scripted.Script) -> None:
    pretty = json.dumps(statement(2), indent=2).encode()
    with bridge.db.write() as session:
        ledger.add(session, pretty, issuer=ISSUER)
    script.shelf.answers = [Rejected('it said "no"\nand no more')]
    deliver(bridge)
    lines = [letter.line for letter in dead_letters.letters(bridge)]
    assert len(lines) == 2
    assert all(line.count("\n") == 1 and line.endswith("\n") for line in lines)
    held = {line["statement"]["id"]: line for line in map(json.loads, lines)}
    assert held[statement(2)["id"]]["statement"] == statement(2)
    assert held[statement(2)["id"]]["words"].endswith("and no more")


def test_a_corrected_statement_is_a_new_one_and_takes_the_old_one_s_place(
    bridge: Runtime, script: scripted.Script
) -> None:
    new = dead_letters.correct(bridge, "records", BAD_ID, MENDED, actor="boss")
    assert new != BAD_ID
    assert receipts(bridge) == {BAD["id"]: "replaced"}
    assert waiting(bridge) == [str(new)]
    with bridge.db.read() as session:
        receipt = session.scalars(select(tables.StatementReceipt)).one()
    assert (receipt.replaced_by, receipt.error) == (row(bridge, new).seq, "score.max is missing")
    assert json.loads(row(bridge, BAD_ID).payload) == BAD
    deliver(bridge)
    assert script.shelf.stored[str(new)][1] == {**json.loads(MENDED), "id": str(new)}
    assert receipts(bridge) == {BAD["id"]: "replaced", str(new): "delivered"}
    assert list(dead_letters.letters(bridge)) == []
    told = {"replaced_by": str(new), "destinations": ["records"]}
    assert audited(bridge, "boss") == [("statement.correct", BAD["id"], told)]


def test_the_bridge_answers_for_a_correction_whoever_stated_the_old_one(
    each_runtime: Runtime, script: scripted.Script
) -> None:
    connect(each_runtime)
    theirs = ledger.identifier({"account": {"homePage": ISSUER, "name": "fb_vendor"}})
    with each_runtime.db.write() as session:
        entry = ledger.Entry(json.dumps(BAD).encode(), BAD)
        ledger.add_received(session, [entry], authority=theirs, issuer=ISSUER, version="2.0.0")
    script.shelf.answers = [Rejected("no")]
    deliver(each_runtime)
    new = row(each_runtime, dead_letters.correct(each_runtime, "records", BAD_ID, MENDED, actor="boss"))
    assert new.authority == ledger.own_authority(ISSUER)
    assert new.version == "2.0.0"


def test_every_lrs_that_refused_it_gets_the_new_one_and_no_other(
    each_runtime: Runtime, script: scripted.Script
) -> None:
    for name in ("one", "two", "three"):
        connect(each_runtime, name)
    state(each_runtime, BAD)
    script.shelf.answers = [Rejected("no"), None, Rejected("no, thanks")]
    deliver(each_runtime)
    refused = [name for name in ("one", "two", "three") if receipts(each_runtime, name)[BAD["id"]] == "rejected"]
    assert len(refused) == 2
    dead_letters.correct(each_runtime, refused[0], BAD_ID, MENDED, actor="boss")
    assert len(waiting(each_runtime)) == 2
    assert sorted(receipts(each_runtime, name)[BAD["id"]] for name in ("one", "two", "three")) == [
        "delivered",
        "replaced",
        "replaced",
    ]


def test_the_same_correction_is_made_once(bridge: Runtime) -> None:
    new = dead_letters.correct(bridge, "records", BAD_ID, MENDED, actor="boss")
    with pytest.raises(NotFound, match="sent again or replaced"):
        dead_letters.correct(bridge, "records", BAD_ID, MENDED, actor="boss")
    assert waiting(bridge) == [str(new)]


@pytest.mark.parametrize(
    ("text", "path", "rule"),
    [
        ("{", "", "JSON"),
        ("[]", "", "must be a JSON object"),
        ('{"\ud800": 1}', "", "UTF-8"),
        (mended(verb={"id": "completed"}), "verb.id", "IRI"),
        (mended(result={"score": {"scaled": 7}}), "result.score.scaled", "1"),
        (mended(), "", "nothing is different"),
        (
            mended(
                attachments=[
                    {
                        "usageType": "http://x.test/certificate",
                        "display": {"en": "Certificate"},
                        "contentType": "text/plain",
                        "length": 1,
                        "sha2": "0" * 64,
                    }
                ]
            ),
            "attachments",
            "not known here",
        ),
    ],
)
def test_what_is_wrong_with_a_correction_is_told_and_changes_nothing(
    runtime: Runtime, script: scripted.Script, text: str, path: str, rule: str
) -> None:
    connect(runtime)
    refuse(runtime, script, BAD)
    with pytest.raises(Invalid) as told:
        dead_letters.correct(runtime, "records", BAD_ID, text, actor="boss")
    assert (told.value.field, rule in str(told.value)) == (path, True), str(told.value)
    assert receipts(runtime) == {BAD["id"]: "rejected"}
    assert (waiting(runtime), audited(runtime, "boss")) == ([], [])


def test_what_an_lrs_sets_by_itself_is_left_out_of_a_correction(bridge: Runtime) -> None:
    said = {**json.loads(MENDED), "id": str(uuid.uuid4()), "stored": "2026-01-01T00:00:00Z"}
    said |= {"authority": {"mbox": "mailto:somebody@else.test"}}
    new = dead_letters.correct(bridge, "records", BAD_ID, json.dumps(said), actor="boss")
    assert json.loads(row(bridge, new).payload) == {**json.loads(MENDED), "id": str(new)}


def test_a_voiding_statement_is_not_made_by_hand(bridge: Runtime, script: scripted.Script) -> None:
    with pytest.raises(Refused, match="voiding"):
        void = {name: value for name, value in voiding(3, statement(4)).items() if name != "id"}
        dead_letters.correct(bridge, "records", BAD_ID, json.dumps(void), actor="boss")
    assert receipts(bridge) == {BAD["id"]: "rejected"}


def test_a_signed_statement_can_t_be_changed(bridge: Runtime, script: scripted.Script) -> None:
    signature = {
        "usageType": "http://adlnet.gov/expapi/attachments/signature",
        "display": {"en": "Signature"},
        "contentType": "application/octet-stream",
        "length": 1,
        "sha2": "0" * 64,
        "fileUrl": "http://x.test/signature",
    }
    signed = statement(7, attachments=[signature])
    refuse(bridge, script, signed)
    text = json.dumps({**signed, "attachments": []})
    with pytest.raises(Refused, match="signed"):
        dead_letters.correct(bridge, "records", uuid.UUID(signed["id"]), text, actor="boss")


@pytest.mark.parametrize("written", [str.lower, str.upper])
def test_what_was_attached_stays_attached(
    written: Callable[[str], str], each_runtime: Runtime, script: scripted.Script
) -> None:
    connect(each_runtime)
    attached = Attached(hashlib.sha256(b"certificate").hexdigest(), "text/plain", b"certificate")
    named = {"usageType": "http://x.test/certificate", "display": {"en": "Certificate"}, "contentType": "text/plain"}
    one = {**BAD, "attachments": [{**named, "length": 11, "sha2": written(attached.sha2)}]}
    with each_runtime.db.write() as session:
        entry = ledger.Entry(json.dumps(one).encode(), one, (attached,))
        ledger.add_received(session, [entry], authority="{}", issuer=ISSUER)
    script.shelf.answers = [Rejected("no")]
    deliver(each_runtime)
    text = mended(result={"success": True}, attachments=one["attachments"])
    new = row(each_runtime, dead_letters.correct(each_runtime, "records", BAD_ID, text, actor="boss"))
    with each_runtime.db.read() as session:
        link = tables.StatementAttachment
        assert session.scalars(select(link.sha2).where(link.statement_seq == new.seq)).all() == [attached.sha2]


def test_what_was_replaced_is_not_replayed(bridge: Runtime) -> None:
    dead_letters.correct(bridge, "records", BAD_ID, MENDED, actor="boss")
    assert operate.replay_statements(bridge, "records", actor="boss") == 0


def test_a_correction_that_is_refused_too_is_a_letter_of_its_own(bridge: Runtime, script: scripted.Script) -> None:
    new = dead_letters.correct(bridge, "records", BAD_ID, MENDED, actor="boss")
    script.shelf.answers = [Rejected("still no")]
    deliver(bridge, ago=dt.timedelta(0))
    (letter,) = dead_letters.letters(bridge)
    assert (letter.id, letter.words) == (new, "still no")
    assert letter.refused_at > now() - dt.timedelta(minutes=5)


@pytest.fixture
def completed(organised: Runtime, script: scripted.Script, event: Callable[..., BusinessEvent]) -> Runtime:
    """Sam has completed a guide, and the LRS has refused the statement that says so."""
    connect(organised)
    accept_event.accept(organised, "desk", [event()])
    decide_prompts.decide(organised)
    with organised.db.read() as session:
        prompt = session.scalars(select(tables.Prompt).where(tables.Prompt.offered)).one()
    opened = open_launch.open_prompt(organised, prompt.id, prompt.person_id or 0)
    deliver(organised)
    record_outcome.finish(organised, opened.launch_id, prompt.person_id or 0)
    script.shelf.answers = [Rejected("no")]
    deliver(organised)
    return organised


def test_the_report_has_one_row_with_the_statement_that_counts(completed: Runtime) -> None:
    (row,) = report.completions(completed)
    assert row.lrs == "records: rejected"
    (letter,) = dead_letters.letters(completed)
    said = json.loads(letter.editable)
    said["result"]["success"] = True
    new = dead_letters.correct(completed, "records", letter.id, json.dumps(said), actor="boss")
    (row,) = report.completions(completed)
    assert (row.statement, row.lrs) == (str(new), "records: waiting")
    deliver(completed)
    (row,) = report.completions(completed)
    assert (row.statement, row.lrs) == (str(new), "records: delivered")
    chain = trace.event_chain(completed, uuid.UUID(row.event))
    (launch,) = (launch for prompt in chain["prompts"] for launch in prompt["launches"])
    states = {one["id"]: [receipt["state"] for receipt in one["receipts"]] for one in launch["statements"]}
    assert (states[str(letter.id)], states[str(new)]) == (["replaced"], ["delivered"])


def test_the_report_tells_what_was_taken_back(completed: Runtime) -> None:
    (row,) = report.completions(completed)
    state(completed, voiding(9, {"id": row.statement}))
    (row,) = report.completions(completed)
    assert row.lrs == "voided"
