"""What a piece of performance support is, before and after it is filled with facts."""

import dataclasses

from bridge.domain.assets import AssetKind


class SupportError(ValueError):
    """A file that cannot be used: its name, the line (from 1), what is wrong there, and what is allowed."""

    def __init__(self, message: str, *, name: str, line: int) -> None:
        super().__init__(f"{name}, line {line}: {message}")
        self.name, self.line = name, line


class Flaw(Exception):
    """Something wrong within the body of a file; `line` counts from 1 there."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One item to tick, one numbered step, or one node of a decision tree; a fact in `text` is written as "…"."""

    id: str
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Support:
    """A checked piece of performance support.

    `kind` is GUIDE, CHECKLIST, SOP or DECISION_TREE. `body` is the Markdown template; `facts` are the names it uses,
    such as "event.data.customer", in their order; `steps` are those of every branch.
    """

    name: str
    kind: AssetKind
    title: str
    body: str = dataclasses.field(repr=False)
    summary: str = ""
    duration_seconds: int | None = None
    language: str = ""
    tags: tuple[str, ...] = ()
    not_given: str = "not given"
    steps: tuple[Step, ...] = ()
    facts: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filled:
    """A piece with the facts of one record.

    The values stand beside the Markdown, which has a mark in the place of each, so that no value is ever read as
    Markdown. `values` has None for a fact that was not given; `missing` are the names of those facts; `steps` are the
    steps that this record calls for.
    """

    support: Support
    markdown: str = dataclasses.field(repr=False)
    values: tuple[str | None, ...] = dataclasses.field(repr=False)
    steps: tuple[Step, ...]
    missing: tuple[str, ...]
