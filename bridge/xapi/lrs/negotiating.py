"""Which version of xAPI a request speaks, and which languages it wants."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bridge.xapi.validation import InvalidStatement, Version


def negotiated(header: str | None) -> Version:
    """The version that a request's X-Experience-API-Version asks for (xAPI-Communication 3.3)."""
    if header is not None and re.fullmatch(r"1\.0(\.\d+)?", header):
        return Version.V1_0_3
    if header is not None and re.fullmatch(r"2\.0(\.\d+)?", header):
        return Version.V2_0_0
    rule = "must be sent, and be 1.0.x or 2.0.x (xAPI-Communication 3.3)"
    raise InvalidStatement("X-Experience-API-Version", rule)


_RANGE = re.compile(r"\s*([A-Za-z0-9*-]+)\s*(?:;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*)?")


def languages(header: str) -> list[str]:
    """The language ranges of an Accept-Language header, the most wanted first (RFC 9110 12.5.4)."""
    ranges = [found.groups() for part in header.split(",")[:50] if (found := _RANGE.fullmatch(part))]
    wanted = [(float(quality or 1), name.lower()) for name, quality in ranges]
    return [name for quality, name in sorted(wanted, key=lambda one: -one[0]) if quality > 0]


def in_one_language(texts: Mapping[str, str], wanted: list[str]) -> dict[str, str]:
    """The entry of a language map that fits best, the first one where none does (lookup of RFC 4647 3.4)."""
    by_tag = {tag.lower(): tag for tag in texts}
    for one in wanted:
        name = one
        while name:
            fits = [tag for tag in by_tag if tag == name or tag.startswith(f"{name}-")]
            if fits:
                tag = by_tag[min(fits, key=len)]
                return {tag: texts[tag]}
            name = name.rpartition("-")[0]
    return dict([next(iter(texts.items()))]) if texts else {}
