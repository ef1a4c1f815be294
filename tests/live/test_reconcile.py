"""Reading back for real, from Learning Locker and another bridge: one statement lost, altered, foreign, voided."""

from __future__ import annotations

import dataclasses
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import func, select

from bridge.flows import drain_outbox, identity
from bridge.flows.overview import reconciliations
from bridge.flows.reconcile import reconcile, repair
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from bridge.web.app import create_app
from tests.browser.conftest import serving
from tests.conftest import make_runtime
from tests.flows.evidence import deliver, receipts, state, statement, voiding, waiting
from tests.live.systems import LearningLocker
from tests.ports import free_port

pytestmark = pytest.mark.live


@dataclasses.dataclass(frozen=True)
class Lrs:
    """An LRS, and what somebody else may do to it."""

    endpoint: str
    key: str
    secret: str

    def post(self, one: dict[str, Any]) -> None:
        answer = requests.post(
            f"{self.endpoint}/statements",
            json=one,
            auth=(self.key, self.secret),
            headers={"X-Experience-API-Version": "1.0.3"},
            timeout=30,
        )
        assert answer.ok, answer.text


@pytest.fixture(params=["learning locker", "another bridge"])
def lrs(request: pytest.FixtureRequest, tmp_path: Path, fresh_home: Path) -> Iterator[Lrs]:
    if request.param == "learning locker":
        locker: LearningLocker = request.getfixturevalue("learning_locker")
        yield Lrs(locker.endpoint, locker.key, locker.secret)
        return
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    other = make_runtime(Path(shutil.copytree(fresh_home, tmp_path / "other")), base_url=url)
    with serving(create_app(other), port):
        yield Lrs(f"{url}/xapi", *identity.create_credential(other, "a bridge", ["all"]))
    other.db.close()


@pytest.fixture
def bridge(runtime: Runtime, lrs: Lrs) -> Runtime:
    """A bridge that sends its statements there."""
    config = {"endpoint": lrs.endpoint, "key": lrs.key, "secret": runtime.vault.seal(lrs.secret)}
    with runtime.db.write() as session:
        session.add(tables.Connection(name="records", connector="lrs", config=config))
    return runtime


def fresh(**parts: Any) -> dict[str, Any]:
    """A statement that nobody has made before: the LRS is there for the whole run."""
    return statement(0, id=str(uuid.uuid4()), **parts)


def believed_delivered(bridge: Runtime, *statements: dict[str, Any]) -> None:
    """The ledger says that these are there."""
    state(bridge, *statements)
    with bridge.db.write() as session:
        rows = session.execute(select(tables.Outbox.statement_seq, tables.Outbox.connection_id)).all()
        for seq, connection_id in rows:
            session.add(tables.StatementReceipt(statement_seq=seq, connection_id=connection_id, state="delivered"))
        for waits in session.scalars(select(tables.Outbox)):
            session.delete(waits)
    with bridge.db.write() as session:
        for receipt in session.scalars(select(tables.StatementReceipt)):
            receipt.settled_at = now().replace(year=2026, month=1, day=1)


def test_what_was_lost_altered_added_and_voided_there_is_found(bridge: Runtime, lrs: Lrs) -> None:
    kept = [
        fresh(result={"score": {"scaled": 0.5, "raw": 5.0, "min": 0, "max": 10}, "duration": "PT1M30.5S"}),
        fresh(context={"contextActivities": {"category": {"id": "http://x.test/profile"}}}, version="1.0.0"),
        fresh(actor={"objectType": "Group", "member": [{"mbox": "mailto:Ana@X.test"}, {"mbox": "mailto:bo@x.test"}]}),
        fresh(timestamp="2026-01-02T04:04:05.123456+01:00"),
    ]
    gone, altered, voided_there, voided_here, foreign = (fresh() for _ in range(5))
    state(bridge, *kept, voided_there, voided_here)
    deliver(bridge)
    lrs.post({**altered, "result": {"success": False}})
    believed_delivered(bridge, gone, altered)
    lrs.post(foreign)
    lrs.post({**voiding(1, voided_there), "id": str(uuid.uuid4())})
    void = {**voiding(1, voided_here), "id": str(uuid.uuid4())}
    believed_delivered(bridge, void)

    run = reconcile(bridge, "records", actor="boss", full=True)
    found = {str(gap.statement_id): (gap.kind, gap.detail) for gap in reconciliations.gaps(bridge, run.id)}
    assert {of: found[of][0] for of in found if found[of][0] != "foreign"} == {
        gone["id"]: "missing",
        void["id"]: "missing",
        altered["id"]: "different",
        voided_there["id"]: "voided",
        voided_here["id"]: "voided",
    }, found
    assert found[altered["id"]][1] == "it differs in: result"
    assert found[foreign["id"]][0] == "foreign"
    assert run.matched == len(kept)

    assert repair(bridge, run.id, actor="boss") == 3
    assert set(waiting(bridge)) == {gone["id"], void["id"]}
    deliver(bridge)
    assert receipts(bridge)[gone["id"]] == "delivered"
    again = reconcile(bridge, "records", actor="boss", full=True)
    assert (again.matched, again.missing, again.different, again.voided) == (len(kept) + 3, 0, 1, 1)


def test_many_pages_are_walked_and_the_next_run_asks_for_little(bridge: Runtime) -> None:
    state(bridge, *(fresh() for _ in range(300)))
    while drain_outbox.drain(bridge):
        pass
    with bridge.db.read() as session:
        assert session.scalar(select(func.count()).select_from(tables.StatementReceipt)) == 300
    first = reconcile(bridge, "records", actor="boss")
    second = reconcile(bridge, "records", actor="boss")
    assert (first.matched, second.matched) == (300, 300)
    assert second.since is not None
    assert first.state == second.state == "matched"
