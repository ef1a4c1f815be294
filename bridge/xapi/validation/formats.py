"""String formats of xAPI, each a compiled test: truthy for a well-formed string, falsy otherwise.

Only syntax is looked at. All patterns take time linear in the length of the string: repeated groups are possessive, or
separated by characters that the group itself cannot contain.
"""

import re
from datetime import UTC, datetime

_UCSCHAR = "\u00a0-\ud7ff\uf900-\ufdcf\ufdf0-\uffef" + "".join(
    f"{chr((plane << 16) + (0x1000 if plane == 14 else 0))}-{chr((plane << 16) + 0xFFFD)}" for plane in range(1, 15)
)
_PRIVATE = "\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd"


def _run(characters: str) -> str:
    """Any number of these characters, unreserved characters and percent-encoded bytes (RFC 3987 2.2)."""
    allowed = rf"[A-Za-z0-9\-._~!$&'()*+,;={characters}{_UCSCHAR}]*+"
    return rf"{allowed}(?:%[0-9A-Fa-f]{{2}}{allowed})*+"


_AUTHORITY = rf"(?:(?:{_run(':')}@)?(?:\[[0-9A-Fa-f]*:[0-9A-Fa-f:.]+\]|{_run('')})(?::[0-9]*)?)(?=[/?#]|\Z)"

is_iri = re.compile(
    rf"[A-Za-z][A-Za-z0-9+\-.]*+:(?://{_AUTHORITY}|(?!//)){_run(':@/')}"
    rf"(?:\?{_run(':@/?' + _PRIVATE)})?(?:#{_run(':@/?')})?"
).fullmatch
"""An IRI with its scheme, by the grammar of RFC 3987 2.2, IP addresses in brackets only roughly (xAPI-Data 4.3)."""

_LABEL = f"A-Za-z0-9_{_UCSCHAR}"

is_mailto = re.compile(
    rf"mailto:[!$%&'*+\-./=^`{{|}}~{_LABEL}]++@[{_LABEL}][-{_LABEL}]*+(?:\.[-{_LABEL}]++)*+"
).fullmatch
"""``mailto:`` and exactly one address, no header fields (RFC 6068, xAPI-Data 2.4.2.3)."""

is_sha1 = re.compile("[0-9A-Fa-f]{40}").fullmatch
"""The hex form of a SHA-1 hash (xAPI-Data 2.4.2.3)."""

is_sha2 = re.compile("[0-9A-Fa-f]{56}|[0-9A-Fa-f]{64}|[0-9A-Fa-f]{96}|[0-9A-Fa-f]{128}").fullmatch
"""The hex form of a SHA-224, SHA-256, SHA-384 or SHA-512 hash (xAPI-Data 2.4.11)."""

is_uuid = re.compile("[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}").fullmatch
"""The standard string form of a UUID; variant 2 is only recommended (xAPI-Data 4.4)."""

is_language = re.compile(
    r"(?:[a-z]{2,3}(?:-[a-z]{3}){0,3}|[a-z]{4,8})(?:-[a-z]{4})?(?:-(?:[a-z]{2}|[0-9]{3}))?"
    r"(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*(?:-[0-9a-wy-z](?:-[a-z0-9]{2,8})+)*(?:-x(?:-[a-z0-9]{1,8})+)?"
    r"|x(?:-[a-z0-9]{1,8})+"
    r"|en-GB-oed|sgn-(?:BE-FR|BE-NL|CH-DE)"
    r"|i-(?:ami|bnn|default|enochian|hak|klingon|lux|mingo|navajo|pwn|tao|tay|tsu)",
    re.IGNORECASE | re.ASCII,
).fullmatch
"""A well-formed language tag, grandfathered ones included (RFC 5646 2.1, xAPI-Data 4.2)."""

_NUMBER = r"[0-9]+(?:[.,][0-9]+(?=[A-Z]\Z))?"

is_duration = re.compile(
    rf"P(?=[0-9T])(?:{_NUMBER}W|(?:{_NUMBER}Y)?(?:{_NUMBER}M)?(?:{_NUMBER}D)?"
    rf"(?:T(?=[0-9])(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?)"
).fullmatch
"""A duration with designators; weeks stand alone, only the last number has a fraction (ISO 8601:2004 4.4.3.2)."""

is_media_type = re.compile(
    r"[\w!#$&^.+\-]+/[\w!#$&^.+\-]+(?:[ \t]*;[ \t]*[\w!#$&^.+*'%|~\-]+=(?:[\w!#$&^.+*'%|~\-]+|\"[^\"\r\n]*\"))*",
    re.ASCII,
).fullmatch
"""An Internet media type with its parameters (RFC 2045 5.1, xAPI-Data 2.4.11)."""

is_version_1_0 = re.compile(r"1\.0(?:\.[0-9]+)?").fullmatch
"""A version of the 1.0 family (xAPI-Data 2.4.10)."""

is_version_2_0 = re.compile(r"[12]\.0(?:\.[0-9]+)?").fullmatch
"""A version of the 2.0 family, or of 1.0, which 2.0 stores need to take over from older senders."""

_NOT_NEGATIVE_ZERO = r"(?:\+|-(?!00(?::?00)?\Z))"
_iso_8601 = re.compile(
    rf"[0-9W\-]{{8,10}}T[0-9:]{{2,8}}(?:[.,][0-9]+)?(?:Z|{_NOT_NEGATIVE_ZERO}[0-9:]{{2,5}})?"
).fullmatch
_rfc_3339 = re.compile(
    rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}(?:\.[0-9]+)?"
    rf"(?:Z|{_NOT_NEGATIVE_ZERO}[0-9]{{2}}:[0-9]{{2}})"
).fullmatch


def is_iso_8601(value: str) -> bool:
    """A date with a time of day, basic or extended, the zone optional but never -00:00 (xAPI-Data 4.5)."""
    return _iso_8601(value) is not None and _is_in_calendar(value)


def is_rfc_3339(value: str) -> bool:
    """The RFC 3339 profile with its mandatory zone, never -00:00 (IEEE 9274.1.1 4.2.7)."""
    return _rfc_3339(value) is not None and _is_in_calendar(value)


def _is_in_calendar(value: str) -> bool:
    # A leap second is refused here too, and what a zone moves out of the years 1 to 9999: no later step could turn it
    # into a point in time.
    try:
        at = datetime.fromisoformat(value)
        if at.tzinfo is not None:
            at.astimezone(UTC)
    except (ValueError, OverflowError):
        return False
    return True
