"""What a configuration file may hold: its sections, each setting with its type, and what is said of a wrong one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from bridge import conditions, templates
from bridge.documents import Document, DocumentError, Loc
from bridge.domain.rules import WIDGET
from bridge.xapi import destination

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def _duration(value: Any) -> Any:
    """ "90s", "15m", "12h", "7d", "2w" in seconds; a number is seconds already."""
    if isinstance(value, str):
        found = re.fullmatch(r"(\d+)([smhdw])", value)
        if not found:
            raise ValueError("write a duration as a number and a unit: 90s, 15m, 12h, 7d, 2w")
        return int(found[1]) * _UNITS[found[2]]
    return value


def duration_text(seconds: int) -> str:
    """Seconds in the largest unit that has no rest."""
    unit = next((unit for unit, size in reversed(_UNITS.items()) if seconds % size == 0), "s")
    return f"{seconds // _UNITS[unit]}{unit}"


def _condition(text: str) -> str:
    try:
        conditions.compile(text)
    except conditions.ConditionError as error:
        raise ValueError(str(error)) from None
    return text


def _template(text: str) -> str:
    try:
        templates.check(text)
    except templates.TemplateError as error:
        raise ValueError(str(error)) from None
    return text


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")]
Seconds = Annotated[int, BeforeValidator(_duration), Field(ge=0, le=10 * 365 * 86400)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Options(_Model):
    """What the bridge does with a connection, beyond the connector's own settings."""

    open_with: Name | None = None
    app_url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")] | None = None
    #: What of the statements goes there, in which form and how fast.
    statements: destination.Settings | None = None
    #: It registered itself: its addresses may not lead into a private network.
    self_registered: Literal[True] | None = None
    #: It registered itself and waits for an admin's approval, switched off.
    pending: Literal[True] | None = None


class ConnectionDoc(_Model):
    """One connection."""

    name: Name
    connector: str
    enabled: bool = True
    config: dict[str, Any] = Field(default_factory=dict)
    options: Options = Options()

    @model_validator(mode="after")
    def _approved_before_it_works(self) -> Self:
        if self.enabled and self.options.pending:
            raise ValueError("it waits for approval: approve it in the console, or leave out 'pending'")
        return self


class PersonDoc(_Model):
    """One person; ``accounts`` maps a connection's name, or an identity provider's IRI, to the account there."""

    key: Annotated[str, Field(min_length=1, max_length=200)]
    name: str = ""
    email: Annotated[str, Field(pattern=r"^([^@\s]+@[^@\s]+)?$"), AfterValidator(str.lower)] = ""
    role: Literal["", "admin"] = ""
    accounts: dict[str, str] = Field(default_factory=dict)
    attributes: dict[str, str] = Field(default_factory=dict)


class OfferDoc(_Model):
    """One asset ("moodle/course:4"), or a search."""

    asset: Annotated[str, Field(pattern=r"^[^/\s]+/.+$")] = ""
    search: str = ""
    kinds: list[str] = Field(default_factory=list)
    tags: list[str] = Field(default_factory=list)
    language: str = ""

    def model_post_init(self, _context: Any) -> None:
        if bool(self.asset) == bool(self.search or self.kinds or self.tags):
            raise ValueError("name one asset (asset: CONNECTION/ID), or search (search:, kinds:, tags:, language:)")


class LimitsDoc(_Model):
    """How often is too often."""

    once_per: Literal["event", "object", "person"] = "object"
    cool_down: Seconds | None = None
    skip_if_completed_within: Seconds | None = None


class RuleDoc(_Model):
    """One rule."""

    name: Name
    on: Annotated[str, Field(min_length=1, max_length=255)]
    when: Annotated[str, AfterValidator(_condition)] = "true"
    for_: Annotated[str, Field(alias="for", pattern=r"^[a-z][a-z0-9_]*$")] = "actor"
    offer: OfferDoc
    say: Annotated[str, Field(min_length=1), AfterValidator(_template)]
    through: Annotated[list[Name], Field(min_length=1)] = Field(default_factory=lambda: [WIDGET])
    limits: LimitsDoc = LimitsDoc()
    enabled: bool = True


class ConfigurationDoc(_Model):
    """One file."""

    connections: list[ConnectionDoc] = Field(default_factory=list)
    people: list[PersonDoc] = Field(default_factory=list)
    rules: list[RuleDoc] = Field(default_factory=list)


_PARTS: Mapping[str, type[BaseModel]] = {
    "connections": ConnectionDoc,
    "options": Options,
    "statements": destination.Settings,
    "only": destination.Filter,
    "without": destination.Filter,
    "extensions": destination.Extensions,
    "people": PersonDoc,
    "rules": RuleDoc,
    "offer": OfferDoc,
    "limits": LimitsDoc,
}


def parse(documents: list[Document]) -> list[tuple[Document, ConfigurationDoc]]:
    """Each document with what it says; raises DocumentError with every setting that is wrong."""
    parsed, problems = [], []
    for document in documents:
        try:
            parsed.append((document, ConfigurationDoc.model_validate(document.data)))
        except ValidationError as error:
            problems += [document.at(place(document, e["loc"]), words(e, _known(e["loc"]))) for e in error.errors()]
    if problems:
        raise DocumentError(problems)
    return parsed


def _known(loc: Loc) -> list[str]:
    """The settings beside the one at ``loc``, by their names in YAML."""
    parent = next((step for step in reversed(loc[:-1]) if isinstance(step, str)), "")
    return [field.alias or name for name, field in _PARTS.get(parent, ConfigurationDoc).model_fields.items()]


def place(document: Document, loc: Loc) -> Loc:
    """The part of a location that the document has: pydantic adds steps of its own for unions."""
    known: Loc = ()
    for step in loc:
        known = (*known, step) if (*known, step) in document.lines or step == loc[-1] else known
    return known


def words(error: Any, known: Iterable[str]) -> str:
    """What pydantic found, for the person who writes the file; ``known`` are the settings at that place."""
    kind, message = error["type"], str(error["msg"]).removeprefix("Value error, ")
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(error["loc"][-1]), list(known), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ";"
        return f"is not a known setting{hint} the settings here are {', '.join(known)}"
    if kind == "missing":
        return "is missing"
    if kind == "string_pattern_mismatch" and error["loc"][-1] in ("name", "open_with"):
        return "use lower-case letters, digits, dot, dash and underscore, beginning with a letter or digit"
    return message[0].lower() + message[1:]
