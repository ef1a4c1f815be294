"""The filters of GET /statements, as queries of the ledger (xAPI-Communication 2.1.3)."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import functools
import itertools
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self, get_args

from sqlalchemy import ColumnElement, Integer, Select, bindparam, select, tuple_, union
from sqlalchemy.orm import aliased

from bridge.store import tables
from bridge.xapi import index, parameters
from bridge.xapi.index import moment
from bridge.xapi.lrs.showing import Form, Kept
from bridge.xapi.validation import InvalidStatement, Version, loads
from bridge.xapi.validation.formats import is_iri, is_iso_8601, is_uuid

#: The most statements that one answer lists; a query without a limit, or with 0, gets as many.
MOST = 100

_GET = "xAPI-Communication 2.1.3"
_Rows = Select[*tuple[Any, ...]]
#: Makes the part of a query that one filter is, given the statement that it looks at.
_Filter = Callable[[Any], "_Part"]
#: Made once, because an alias takes longer to make than a page to find. Every way in which a statement can fit is a
#: query of its own, so all of them can use the same; in one of them a kind of mention never comes twice.
_ROW, _TARGET = aliased(tables.Statement), aliased(tables.Statement)
_MENTIONS: Mapping[index.Mentioned, Any] = {
    kind: aliased(tables.StatementMention) for kind in get_args(index.Mentioned)
}


class _Part(NamedTuple):
    """A condition on a statement, with the mention that stands for it where there is one."""

    conditions: tuple[ColumnElement[bool], ...]
    mention: Any = None


class Readable(NamedTuple):
    """What a reader may see: everything, or only what has this authority, this actor, this registration."""

    authority: str | None = None
    actor: str | None = None
    registration: uuid.UUID | None = None

    def shows(self, row: Any) -> bool:
        """Is a row of the ledger, with these columns, among it?"""
        return all(getattr(row, name) == value for name, value in self.limits().items())

    def conditions(self, row: Any) -> list[ColumnElement[bool]]:
        """The same as conditions of a query."""
        return [getattr(row, name) == value for name, value in self.limits().items()]

    def limits(self) -> dict[str, Any]:
        """The columns that must have a certain value."""
        return {name: value for name, value in self._asdict().items() if value is not None}


EVERYTHING = Readable()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The filters of a list, as they were ``asked`` and in the form of the ledger's columns."""

    asked: Mapping[str, str]
    agent: str | None = None
    verb: str | None = None
    activity: str | None = None
    registration: uuid.UUID | None = None
    related_activities: bool = False
    related_agents: bool = False
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    limit: int = MOST
    format: Form = Form.EXACT
    attachments: bool = False
    ascending: bool = False
    #: The last statement of the page before: when it was stored, and its number.
    after: tuple[dt.datetime, int] | None = None

    @classmethod
    def parse(cls, asked: Mapping[str, str], version: Version) -> Self:
        """Read query parameters; raises InvalidStatement for one that is wrong or unknown."""
        if "more" in asked:
            return cls._resumed(asked["more"], version)
        return cls(asked=asked, **{name: _parameter(name, value, version) for name, value in asked.items()})

    @classmethod
    def _resumed(cls, token: str, version: Version) -> Self:
        try:
            told: Any = loads(base64.urlsafe_b64decode(token))
            asked, stored, number = told
            after = moment(stored), int(number) % 2**63
            return dataclasses.replace(cls.parse(asked, version), after=after)
        except (InvalidStatement, ValueError, TypeError, AttributeError):
            raise InvalidStatement("more", "must be as an answer of this LRS gave it (xAPI-Data 2.5)") from None

    def following(self, last: Kept) -> str:
        """The token of the page after the one that ended with ``last``; it holds the whole query and never expires."""
        told = json.dumps([dict(self.asked), last.stored.isoformat(), last.seq], separators=(",", ":"))
        return base64.urlsafe_b64encode(told.encode()).decode()

    def select(self, readable: Readable = EVERYTHING) -> tuple[_Rows, dict[str, Any]]:
        """The query for the rows of one page, each as in ``Kept``, and one more where there are more; and its values.

        Voided statements are never among them.
        """
        limits = readable.limits()
        values = {name: value for name in _FILTERS if (value := getattr(self, name)) is not None}
        shape = _Shape(
            frozenset(values), frozenset(limits), self.related_activities, self.related_agents, self.ascending
        )
        if self.agent is not None:
            values |= {f"{kind}_mentioned": index.mention(kind, self.agent) for kind in ("agent", "member")}
        if self.activity is not None:
            values["activity_mentioned"] = index.mention("activity", self.activity)
        if self.after is not None:
            values["after_stored"], values["after"] = self.after
        values |= {f"readable_{name}": value for name, value in limits.items()}
        return _select(shape), {**values, "rows": self.limit + 1}


_FILTERS = ("agent", "verb", "activity", "registration", "since", "until", "after")


class _Shape(NamedTuple):
    """What a query asks for, without the values: queries of one shape are one statement to the database."""

    filters: frozenset[str]
    readable: frozenset[str]
    related_activities: bool
    related_agents: bool
    ascending: bool

    def select(self) -> _Rows:
        """Each way in which a statement can fit is a query of its own, which an index answers in order and which ends
        after a page; the page is made of theirs.
        """
        row = tables.Statement
        kept = select(*(getattr(row, name) for name in Kept._fields))
        ways = [self._direct(parts) for parts in self._ways()]
        if not self.filters.isdisjoint(("agent", "verb", "activity", "registration")):
            ways += [self._referring(parts) for parts in self._ways()]
        if len(ways) == 1:
            return self._ordered(kept.where(*self._bounds(row)), row)
        found = union(*(select(way.subquery()) for way in ways)).subquery()
        return self._ordered(kept.join(found, found.c.seq == row.seq), row)

    def _direct(self, parts: Sequence[_Filter]) -> _Rows:
        """Statements that fit by themselves."""
        chosen, place = _fitting(select(_ROW.seq, _ROW.stored), _ROW, parts)
        return self._ordered(chosen.where(*self._bounds(_ROW), *self._times(place)), place)

    def _referring(self, parts: Sequence[_Filter]) -> _Rows:
        """Statements about statements that fit, voided ones too (xAPI-Communication 2.1.3, Filter Conditions).

        About such as the reader may read: else what is found would tell of the others.
        """
        row, reference = _ROW, tables.StatementReference
        # One may refer to several that fit.
        chosen: _Rows = select(reference.statement_seq.label("seq"), reference.stored).distinct()
        chosen = chosen.join(row, row.seq == reference.statement_seq).join(_TARGET, _TARGET.seq == reference.target_seq)
        chosen, place = _fitting(chosen.where(*self._is_readable(_TARGET)), _TARGET, parts)
        if place is not _TARGET:
            # A mention was stored when its statement was: the index leads to it only from there. As a span, because
            # PostgreSQL takes two equalities for a coincidence, and expects next to nothing.
            chosen = chosen.where(place.stored.between(_TARGET.stored, _TARGET.stored))
        return self._ordered(chosen.where(*self._bounds(row), *self._times(reference)), reference)

    def _ways(self) -> Iterator[Sequence[_Filter]]:
        """Every combination of the ways to fit the filters."""
        fixed = [[_column(name, name)] for name in ("verb", "registration") if name in self.filters]
        filters = [*fixed, *(ways for ways in (self._agent_ways(), self._activity_ways()) if ways)]
        return itertools.product(*filters)

    def _agent_ways(self) -> list[_Filter]:
        """As actor or object, or as a member of a Group that is; related: as anybody at all."""
        if "agent" not in self.filters:
            return []
        ways = [_column("actor", "agent"), _column("object_id", "agent"), _mentioned("member")]
        if self.related_agents:
            ways += [_column("authority", "agent"), _mentioned("agent")]
        return ways

    def _activity_ways(self) -> list[_Filter]:
        if "activity" not in self.filters:
            return []
        ways = [_column("object_id", "activity")]
        return [*ways, _mentioned("activity")] if self.related_activities else ways

    def _ordered(self, chosen: _Rows, place: Any) -> _Rows:
        number = place.statement_seq if hasattr(place, "statement_seq") else place.seq
        order = (column.asc() if self.ascending else column.desc() for column in (place.stored, number))
        return chosen.order_by(*order).limit(bindparam("rows", type_=Integer))

    def _bounds(self, row: Any) -> list[ColumnElement[bool]]:
        """What counts of the statement itself, also where it fits because of another one."""
        conditions = [*self._is_readable(row), row.voided_by.is_(None)]
        if "after" in self.filters:
            here = tuple_(row.stored, row.seq)
            there = tuple_(*(bindparam(name, type_=column.type) for name, column in _AFTER.items()))
            conditions.append(here > there if self.ascending else here < there)
        return conditions + self._times(row)

    def _is_readable(self, row: Any) -> list[ColumnElement[bool]]:
        return [getattr(row, name) == bindparam(f"readable_{name}") for name in sorted(self.readable)]

    def _times(self, place: Any) -> list[ColumnElement[bool]]:
        """The span of ``stored``: the index that is used begins and ends there."""
        conditions: list[ColumnElement[bool]] = []
        if "since" in self.filters:
            conditions.append(place.stored > bindparam("since"))
        if "until" in self.filters:
            conditions.append(place.stored <= bindparam("until"))
        if "after" in self.filters:
            stored: Any = bindparam("after_stored")
            conditions.append(place.stored >= stored if self.ascending else place.stored <= stored)
        return conditions


#: To make a statement takes several times as long as the database takes to find a page.
_select = functools.lru_cache(maxsize=512)(_Shape.select)
_AFTER: Mapping[str, Any] = {"after_stored": tables.Statement.stored, "after": tables.Statement.seq}


def _fitting(chosen: _Rows, row: Any, parts: Sequence[_Filter]) -> tuple[_Rows, Any]:
    """Where ``row`` fits all parts; and what has its ``stored``, in the order of the index to be used."""
    place = row
    for part in (make(row) for make in parts):
        chosen = chosen.where(*part.conditions)
        place = part.mention if part.mention is not None else place
    return chosen, place


def _column(name: str, value: str) -> _Filter:
    return lambda row: _Part((getattr(row, name) == bindparam(value),))


def _mentioned(kind: index.Mentioned) -> _Filter:
    mention = _MENTIONS[kind]
    number: ColumnElement[int] = bindparam(f"{kind}_mentioned")
    return lambda row: _Part((mention.mention == number, mention.statement_seq == row.seq), mention)


def statement_id(asked: Mapping[str, str]) -> tuple[uuid.UUID, bool] | None:
    """The one statement that a GET asks for, and whether as a voided one; None where it asks for a list."""
    named = [name for name in ("statementId", "voidedStatementId") if name in asked]
    if not named:
        return None
    name, strays = named[0], set(asked) - {named[0], "attachments", "format"}
    if strays:
        raise InvalidStatement(min(strays), f"can't stand beside {name} ({_GET})")
    if not is_uuid(asked[name]):
        raise InvalidStatement(name, f"must be a UUID ({_GET})")
    return uuid.UUID(asked[name]), name == "voidedStatementId"


def _parameter(name: str, value: str, version: Version) -> Any:
    """One query parameter as a filter of the ledger; raises InvalidStatement."""
    if name == "agent":
        return index.key(index.identifier(parameters.agent(value, version)))
    if name not in _PARAMETERS:
        raise InvalidStatement(name, f"is not a parameter of this resource ({_GET})")
    passes, read, rule = _PARAMETERS[name]
    if not passes(value):
        raise InvalidStatement(name, f"{rule} ({_GET})")
    return read(value)


_Reader = tuple[Callable[[str], object], Callable[[str], Any], str]
_IRI: _Reader = (is_iri, index.key, "must be an IRI with a scheme")
_TIME: _Reader = (is_iso_8601, moment, "must be an ISO 8601 time")
_FLAG: _Reader = (("true", "false").__contains__, "true".__eq__, "must be true or false")
#: Of each parameter: the test that its text must pass, what is made of it, and what it must be in words.
_PARAMETERS: dict[str, _Reader] = {
    **dict.fromkeys(("verb", "activity"), _IRI),
    **dict.fromkeys(("since", "until"), _TIME),
    **dict.fromkeys(("ascending", "attachments", "related_activities", "related_agents"), _FLAG),
    "registration": (is_uuid, uuid.UUID, "must be a UUID"),
    "format": (frozenset(Form).__contains__, Form, f"must be one of {', '.join(Form)}"),
    "limit": (
        re.compile("[0-9]{1,9}").fullmatch,
        lambda value: min(int(value) or MOST, MOST),
        "must be a whole number, 0 or more",
    ),
}
