"""Query parameters that several resources share, read strictly; what is wrong is an InvalidStatement that names it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping

from bridge.xapi import index
from bridge.xapi.index import Json
from bridge.xapi.validation import InvalidStatement, Version, loads, validate
from bridge.xapi.validation.formats import is_iri, is_iso_8601, is_uuid

_ANY_IRI = "http://adlnet.gov/expapi/verbs/experienced"


def check_names(
    given: Mapping[str, str], section: str, *, required: Collection[str], also: Collection[str] = ()
) -> None:
    """Are all ``required`` parameters there, and none that is in neither list (xAPI-Communication 3.2)?"""
    for name in given:
        if name not in required and name not in also:
            raise InvalidStatement(name, f"is not a parameter of this request ({section})")
    for name in required:
        if name not in given:
            raise InvalidStatement(name, f"must be given ({section})")


def agent(text: str, version: Version) -> Json:
    """The Agent, or identified Group, of the parameter ``agent``."""
    try:
        actor = loads(text.encode("utf-8", "surrogatepass"))
    except InvalidStatement:
        raise InvalidStatement("agent", "must be the JSON of an Agent (xAPI-Communication 2.1.3)") from None
    try:
        validate({"actor": actor, "verb": {"id": _ANY_IRI}, "object": {"id": _ANY_IRI}}, version)
    except InvalidStatement as fault:
        raise InvalidStatement(f"agent{fault.path.removeprefix('actor')}", fault.rule) from None
    assert isinstance(actor, dict)
    if not index.identifier(actor):
        raise InvalidStatement("agent", "must be an Agent or an identified Group (xAPI-Data 2.4.2)")
    return actor


def activity_id(text: str) -> str:
    """The IRI of the parameter ``activityId``."""
    if not is_iri(text):
        raise InvalidStatement("activityId", "must be an IRI with a scheme (xAPI-Data 4.3)")
    return text


def registration(text: str) -> str:
    """The UUID of the parameter ``registration``, in lower case."""
    if not is_uuid(text):
        raise InvalidStatement("registration", "must be a UUID (xAPI-Data 4.4)")
    return text.lower()


def since(text: str) -> dt.datetime:
    """The point in time of the parameter ``since``."""
    if not is_iso_8601(text):
        raise InvalidStatement("since", "must be an ISO 8601 date and time in the years 1 to 9999 (xAPI-Data 4.5)")
    return index.moment(text)
