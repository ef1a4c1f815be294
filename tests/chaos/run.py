"""One run: start everything, break it while statements flow, wait until all have arrived, and judge."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import func, select

from bridge.store.tables import Audit, Outbox, OutboxLease, Statement, StatementReceipt
from tests.chaos import producer
from tests.chaos.breaking import Breaker, hurry
from tests.chaos.installation import Installation, installation
from tests.chaos.plan import Size, Statements
from tests.chaos.progress import Progress
from tests.chaos.sink import LOG, digest
from tests.chaos.verdict import Evidence, faults

#: How long the commands may take to start, in seconds; from then on things break.
START_SECONDS = 120.0


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run. ``broken`` and ``answers`` count by kind; ``resent`` is what the sink absorbed by its id."""

    run: str
    seed: int
    statements: int
    broken: dict[str, int]
    answers: dict[str, int]
    resent: int
    lost: int
    doubled: int
    dead: int
    poisoned: int
    seconds: float
    per_second: float
    faults: list[str]

    def line(self) -> str:
        """The outcome as one JSON object."""
        return json.dumps(dataclasses.asdict(self))


def run(name: str, size: Size, seed: int, tell: Callable[[str], None]) -> Outcome:
    """Run one set-up. Raises Stuck."""
    chance = random.Random(f"{name} {seed}")
    with _folder() as folder, installation(name, size, chance.randrange(2**32), folder) as whole:
        progress = Progress(whole, tell)
        breaker = Breaker(whole, chance, progress.tell)
        _go(whole, size, progress, breaker, chance)
        seconds = progress.seconds
        for tree in whole.trees():
            tree.stop()
        evidence = _evidence(whole, size.statements)
    return _outcome(name, seed, breaker.done, evidence, seconds)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder that the services' own users may enter."""
    with tempfile.TemporaryDirectory(prefix="flowbridge-chaos-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        folder.chmod(0o755)
        yield folder


def _go(whole: Installation, size: Size, progress: Progress, breaker: Breaker, chance: random.Random) -> None:
    for tree in whole.bridge:
        tree.start()
    for service in whole.services.values():
        service.wait()
    progress.until("the bridge to be ready", whole.answers, START_SECONDS)
    progress.begin()
    for tree in whole.producers:
        tree.start()
    progress.within(START_SECONDS, progress.more_settled)
    schedule = breaker.schedule(size.breaks)
    for kind in schedule:
        progress.within(chance.uniform(0.2, 1.8) * size.statements.seconds / len(schedule))
        progress.within(size.recovery, lambda: progress.more_settled() or progress.nothing_left())
        if not (kind == "producer" and progress.all_stated()):
            progress.until(f"a {kind} to break", functools.partial(breaker.do, kind), START_SECONDS)
    for service in whole.services.values():
        service.wait()
    progress.until("the producers to end", progress.all_stated, size.patience)
    time_flies = (lambda: hurry(whole.runtime)) if size.hurry else None
    progress.until("empty outbox and no leases", progress.nothing_left, size.patience, meanwhile=time_flies)
    progress.tell(progress.state())


def _evidence(whole: Installation, statements: Statements) -> Evidence:
    numbers = range(statements.count)
    ids = [statements.id(number) for number in numbers]
    fact = select(Audit.subject).where(Audit.actor == producer.ACTOR)
    receipt = select(Statement.id, StatementReceipt.state, StatementReceipt.error)
    receipt = receipt.join(StatementReceipt, StatementReceipt.statement_seq == Statement.seq)
    with whole.runtime.db.read() as session:
        return Evidence(
            stated={ids[number]: digest(statements.payload(number)) for number in numbers},
            poisoned={ids[number] for number in numbers if statements.is_poisoned(number)},
            with_fact={ids[number] for step in statements.steps("ledger") for number in step},
            facts=session.scalars(fact).all(),
            ledger={
                str(of): digest(payload) for of, payload in session.execute(select(Statement.id, Statement.payload))
            },
            receipts={str(of): (state, error or "") for of, state, error in session.execute(receipt)},
            waiting=session.scalar(select(func.count()).select_from(Outbox)) or 0,
            leases=session.scalar(select(func.count()).select_from(OutboxLease)) or 0,
            log=[json.loads(line) for line in (whole.folder / LOG).read_text().splitlines()],
        )


def _outcome(name: str, seed: int, broken: dict[str, int], evidence: Evidence, seconds: float) -> Outcome:
    return Outcome(
        run=name,
        seed=seed,
        statements=len(evidence.stated),
        broken=broken,
        answers=dict(evidence.logged("answered")),
        resent=evidence.logged("again").total(),
        lost=len(evidence.lost),
        doubled=len(evidence.doubled),
        dead=len(evidence.dead),
        poisoned=len(evidence.poisoned),
        seconds=round(seconds, 1),
        per_second=round(len(evidence.stated) / seconds, 1),
        faults=faults(evidence),
    )
