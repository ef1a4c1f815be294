"""When are two statements the same? xAPI 1.0.3 part two, section 2.3.1, and what LRSs change besides."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from typing import Any

_SET_BY_THE_LRS = ("stored", "authority", "version")
_CONTEXT = ("parent", "grouping", "category", "other")
_ACTIVITIES = ("object", *_CONTEXT)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_IN_ANY_ORDER = ("member", "attachments", *_CONTEXT)

#: Between these an LRS may keep a whole number as the nearest binary64, as JavaScript does (RFC 8259, section 6).
_EXACT, _LARGEST = 2**53, 2**1023


def same(one: Any, other: Mapping[str, Any]) -> bool:
    """Do both state the same, whatever an LRS may set or change?"""
    return bool(_comparable(one) == _comparable(other))


def _comparable(value: Any, key: str = "") -> Any:
    """A statement without what an LRS may set or change.

    That is stored, authority, version, the form of timestamps, parts of a hundredth of a second of a duration
    (xAPI-Data 4.6), the case of UUIDs, a verb's display, an activity's definition, the order of group members and of
    attachments, defaults that are written out, and one context activity for a list of one.
    """
    if isinstance(value, dict):
        held = {
            name: _comparable(item if name not in _IN_ANY_ORDER or isinstance(item, list) else [item], name)
            for name, item in value.items()
            if name not in _SET_BY_THE_LRS and name != "definition" and (key, name) != ("verb", "display")
        }
        if held.get("objectType") == ("Activity" if key in _ACTIVITIES else "Agent"):
            del held["objectType"]
        return held
    if isinstance(value, list):
        items = [_comparable(item, key) for item in value]
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True)) if key in _IN_ANY_ORDER else items
    if isinstance(value, str):
        return _written(value, key)
    if type(value) is int and _EXACT < abs(value) < _LARGEST:
        return float(value)
    return value


def _written(value: str, key: str) -> str:
    if key == "timestamp":
        return _moment(value)
    if key == "duration":
        return re.sub(r"([.,]\d\d)\d+S", r"\1S", value)
    return value.lower() if _UUID.fullmatch(value) else value


def _moment(timestamp: str) -> str:
    try:
        moment = dt.datetime.fromisoformat(timestamp)
        return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds") if moment.tzinfo else timestamp
    except (ValueError, OverflowError):
        return timestamp
