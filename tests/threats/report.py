"""Tries cases and says what came."""

from __future__ import annotations

import dataclasses
import re
import traceback
from collections import Counter
from collections.abc import Sequence

from tests.threats import (
    platform_changes,
    platform_choices,
    platform_launches,
    platform_registrations,
    platform_scores,
    platform_services,
    platform_tokens,
    tool_keys,
    tool_logins,
    tool_registrations,
    tool_side,
    tool_states,
    tool_tokens,
)
from tests.threats.cases import Case
from tests.threats.phrases import Attempt, Unknown, attempts
from tests.threats.running import Came, Stage, World

#: The modules that enter phrases into the book.
BOOKS = (
    platform_choices,
    platform_launches,
    platform_registrations,
    platform_scores,
    platform_services,
    platform_tokens,
    tool_keys,
    tool_logins,
    tool_registrations,
    tool_states,
    tool_tokens,
)
_CHANGED = {"tool": tool_side.changed, "platform": platform_changes.changed}
_REFUSED = re.compile(r"\b(?:refused|error page|409|throttled)\b")
_ACCEPTED = re.compile(r"\b(?:accepted|all answered 200)\b")


def build(case: Case) -> list[Attempt]:
    """What to try for a case; raises Unknown where its words or its change say nothing known."""
    found = _CHANGED[case.side](case) if case.change is not None else attempts(case)
    if not found:
        raise Unknown("the text is in no phrase")
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class Tried:
    """A case and what came of each of its attempts; ``unknown`` says why there is none."""

    case: Case
    came: tuple[tuple[str, Came], ...] = ()
    unknown: str = ""
    #: What the text names besides, and nobody knows how to try.
    untried: tuple[str, ...] = ()

    @property
    def wrong(self) -> list[str]:
        """What is not as it must be."""
        due = self.case.must == "accept"
        return [f"{label}: {came}" for label, came in self.came if came.accepted != due or came.problems]

    @property
    def note(self) -> str:
        """Where the text says something else than ``must``, which decides."""
        refused, accepted = _REFUSED.search(self.case.text), _ACCEPTED.search(self.case.text)
        if bool(refused) == bool(accepted):
            return ""
        says = "refuse" if refused else "accept"
        return "" if says == self.case.must else f"its text speaks of '{says}', its 'must' is '{self.case.must}'"


def attempt(world: World, case: Case) -> Tried:
    """Try a case, each attempt with data of its own."""
    came: list[tuple[str, Came]] = []
    untried: list[str] = []
    try:
        listed = build(case)
    except Unknown as reason:
        return Tried(case, unknown=str(reason))
    for one in listed:
        try:
            came.append((one.label, _one(world, one)))
        except Unknown as reason:
            untried.append(str(reason))
    return Tried(case, tuple(came), "" if came else "; ".join(untried), tuple(untried))


def _one(world: World, one: Attempt) -> Came:
    world.reset()
    stage = Stage(world)
    try:
        return stage.judged(one.run(stage))
    except Unknown:
        raise
    except Exception as error:  # one case that can't be tried says so, and the others go on
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Came(accepted=False, problems=(f"{type(error).__name__} in {where.name}: {error}",))


def summary(tried: Sequence[Tried]) -> list[str]:
    """How many cases of each role and verdict there are, and how they went."""
    built = [one for one in tried if not one.unknown]
    right = [one for one in built if not one.wrong]
    kinds = Counter((one.case.side, one.case.must) for one in right)
    known = Counter((one.case.side, one.case.must) for one in tried)
    lines = [f"  {side}, {must}: {kinds[side, must]} of {known[side, must]}" for side, must in sorted(known)]
    return [f"threats: {len(tried)} cases, {len(built)} built, {len(right)} as they must be", *lines]


def details(tried: Sequence[Tried]) -> list[str]:
    """Every case that is not as it must be, was not understood, or contradicts itself."""
    lines = []
    for one in tried:
        if one.wrong:
            lines.append(f"FAILED {one.case.name} ({one.case.side}: {one.case.text}): must {one.case.must}; came:")
            lines += [f"    {wrong}" for wrong in one.wrong]
        if one.note:
            lines.append(f"NOTE {one.case.name}: {one.note}")
        if one.came and one.untried:
            lines.append(f"NOTE {one.case.name}: not tried: {', '.join(one.untried)}")
    unknown = [one for one in tried if one.unknown]
    if unknown:
        lines.append(f"{len(unknown)} cases were not tried, as it is not known how:")
        lines += [f"    {one.case.name} ({one.case.side}): {one.case.text} [{one.unknown}]" for one in unknown]
    return lines
