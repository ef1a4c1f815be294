"""What must hold at the end, whatever was broken: read from the sink's log and the bridge's database, and compared."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from tests.chaos.sink import words

#: So many ids are named of each fault.
NAMED = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is compared; statements by their ids, their bytes by SHA-256.

    ``stated`` is what the producers wrote; ``facts`` the facts that were committed with statements, ``with_fact`` the
    statements that came with one. ``receipts`` are (state, error). ``log`` is the sink's, in its order.
    """

    stated: Mapping[str, str]
    poisoned: Collection[str]
    with_fact: Collection[str]
    facts: Sequence[str]
    ledger: Mapping[str, str]
    receipts: Mapping[str, tuple[str, str]]
    waiting: int
    leases: int
    log: Sequence[Mapping[str, str]]

    def logged(self, what: str) -> collections.Counter[str]:
        """How often the sink's log says ``what`` of each."""
        return collections.Counter(line[what] for line in self.log if what in line)

    @property
    def lost(self) -> set[str]:
        return self.stated.keys() - set(self.poisoned) - self.logged("stored").keys()

    @property
    def doubled(self) -> set[str]:
        """Written more than once, or sent again with other bytes: a laxer LRS would have both."""
        twice = {known for known, times in self.logged("stored").items() if times > 1}
        return twice | self.logged("conflict").keys()

    @property
    def dead(self) -> set[str]:
        return {known for known, (state, _) in self.receipts.items() if state == "rejected"}


def faults(evidence: Evidence) -> list[str]:
    """One line for each thing that is not as it must be; nothing when all is well."""
    found = ((what, sorted(those(evidence))) for what, those in _RULES.items())
    lines = [f"{len(ids)} {what}: {', '.join(ids[:NAMED])}" for what, ids in found if ids]
    lines += [f"the sink could not read a batch: {why}" for why in evidence.logged("broken")]
    lines += [f"{evidence.waiting} rows are still in the outbox"] if evidence.waiting else []
    lines += [f"{evidence.leases} leases are left over"] if evidence.leases else []
    return lines


def _changed(evidence: Evidence) -> Iterator[str]:
    """What the sink stored must be, byte by byte, what the ledger holds."""
    for line in evidence.log:
        if "stored" in line and evidence.ledger.get(line["stored"], line["sha256"]) != line["sha256"]:
            yield line["stored"]


def _without_reason(evidence: Evidence) -> Iterator[str]:
    return (known for known in evidence.dead if words(known) not in evidence.receipts[known][1])


def _facts_not_once(evidence: Evidence) -> set[str]:
    times = collections.Counter(evidence.facts)
    return {known for known in {*evidence.with_fact, *times} if times[known] != (known in evidence.with_fact)}


def _delivered(evidence: Evidence) -> set[str]:
    return {known for known, (state, _) in evidence.receipts.items() if state == "delivered"}


_RULES: Mapping[str, Callable[[Evidence], Collection[str] | Iterator[str]]] = {
    "were stated and are not in the ledger": lambda e: e.stated.keys() - e.ledger.keys(),
    "are in the ledger and nobody stated them": lambda e: e.ledger.keys() - e.stated.keys(),
    "have other bytes in the ledger": lambda e: [
        k for k, digest in e.ledger.items() if e.stated.get(k, digest) != digest
    ],
    "are not there together with their fact, once": _facts_not_once,
    "are lost": lambda e: e.lost,
    "are doubled": lambda e: e.doubled,
    "were sent with other bytes than the ledger's": _changed,
    "are at the sink and nobody stated them": lambda e: e.logged("stored").keys() - e.stated.keys(),
    "are poisoned and no dead letters": lambda e: set(e.poisoned) - e.dead,
    "are dead letters and not poisoned": lambda e: e.dead - set(e.poisoned),
    "are dead letters without the sink's words": _without_reason,
    "are dead letters and were never refused alone": lambda e: e.dead - e.logged("refused").keys(),
    "are at the sink without a receipt": lambda e: e.logged("stored").keys() - _delivered(e),
    "have a receipt and are not at the sink": lambda e: _delivered(e) - e.logged("stored").keys(),
}
