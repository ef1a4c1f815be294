"""Cases: what is sent to one of the two LTI roles, and what must come of it.

A file of cases is a JSON list of objects: ``case`` (a name), ``how the token deviates`` (what is meant, in words),
``must`` ("refuse" or "accept"), ``side`` ("tool": the bridge is launched, "platform": the bridge launches), ``source``,
and often ``change``, an edit of a good token: ``header`` and ``claims`` set members (null takes one out), ``keep_only``
drops every claim that it does not name.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEXT = "how the token deviates"
OURS = Path(__file__).with_name("threats.json")
_WORDS = {"must": ("refuse", "accept"), "side": ("tool", "platform")}
_PARTS = {"header": dict, "claims": dict, "keep_only": list}


class CasesError(Exception):
    """The file can't be used; the message says where and why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One case. Its name says nothing about what it is."""

    name: str
    text: str
    must: str
    side: str
    source: str = ""
    change: Mapping[str, Any] | None = None


def load(path: Path) -> list[Case]:
    """The cases of a file; raises CasesError."""
    try:
        listed = json.loads(path.read_bytes())
    except OSError as error:
        raise CasesError(f"{path} can't be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CasesError(f"{path} is not JSON: {error}") from None
    if not isinstance(listed, list) or not listed:
        raise CasesError(f"{path} holds no list of cases")
    return [_case(number, entry) for number, entry in enumerate(listed)]


def _case(number: int, entry: Any) -> Case:
    where = f"entry {number + 1}"
    if not isinstance(entry, dict):
        raise CasesError(f"{where} is not an object")
    for name in ("case", TEXT, "must", "side"):
        if not isinstance(entry.get(name), str) or not entry[name].strip():
            raise CasesError(f"{where}: '{name}' must be a text")
    where = f"{where} ({entry['case']})"
    for name, allowed in _WORDS.items():
        if entry[name] not in allowed:
            raise CasesError(f"{where}: '{name}' must be one of {', '.join(allowed)}, not '{entry[name]}'")
    change = _change(where, entry.get("change"))
    return Case(entry["case"], entry[TEXT], entry["must"], entry["side"], str(entry.get("source", "")), change)


def _change(where: str, change: Any) -> Mapping[str, Any] | None:
    if change is None:
        return None
    if not isinstance(change, dict):
        raise CasesError(f"{where}: 'change' must be an object")
    for name, kind in _PARTS.items():
        if not isinstance(change.get(name, kind()), kind):
            raise CasesError(f"{where}: '{name}' of 'change' must be {'a list' if kind is list else 'an object'}")
    return change or None


_FILLED = re.compile(r"@(now|issuer|iss|client_id|token_url)\b")
_MOMENT = re.compile(r"@now([+-][0-9]+)?")


def filled(value: Any, known: Mapping[str, str], at: int) -> Any:
    """A changed value with what its ``@`` words stand for, at any depth."""
    if isinstance(value, dict):
        return {name: filled(item, known, at) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item, known, at) for item in value]
    if not isinstance(value, str):
        return value
    if moment := _MOMENT.fullmatch(value):
        return at + int(moment[1] or 0)
    return _FILLED.sub(lambda found: known.get(found[1], found[0]), value)
