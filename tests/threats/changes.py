"""Edits of good tokens: the same for every token that a role takes in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from tests.threats.cases import Case, filled
from tests.threats.phrases import VALUE, Attempt, Unknown, value
from tests.threats.running import Came, Stage
from tests.threats.signing import Draft, clock, curve_key, jwk, pem, rsa_key


def variants(case: Case, run: Callable[..., Came]) -> Iterator[Attempt]:
    """An attempt with the change, and one for each other value that the text lists with "also"."""
    for label, change in _changes(case):
        yield Attempt(label, partial(run, text=case.text, change=change) if change else partial(_not_known, label))


def _not_known(what: str, _stage: Stage) -> Came:
    raise Unknown(f"'also {what}'")


def _changes(case: Case) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    change = case.change or {}
    if unknown := sorted(set(change) - {"header", "claims", "keep_only"}):
        raise Unknown(f"a change of {', '.join(unknown)}")
    yield case.text, change
    more = case.text.partition("; also ")[2]
    members = [(part, name) for part in ("header", "claims") for name in change.get(part, {})]
    for word in re.split(r",\s*(?:and |or )?|\s+(?:and|or)\s+", more) if more else ():
        if len(members) != 1 or not re.fullmatch(rf"missing|absent|{VALUE}", word, re.IGNORECASE):
            yield word, None
            continue
        part, name = members[0]
        other = None if word in ("missing", "absent") else Null if value(word) is None else value(word)
        yield f"{name} {word}", {**change, part: {name: other}}


_CURVES = ("ES256", "ES256K", "ES384", "ES512", "EdDSA")


class _Null:
    """JSON's null as a value: in a ``change`` null takes the member out."""


Null = _Null()


def edited(draft: Draft, change: Mapping[str, Any], known: Mapping[str, str]) -> None:
    """Apply a change to a good token and choose the key that its algorithm signs with."""
    draft.apply(filled(dict(change), known, clock()))
    for members in (draft.header, draft.claims):
        members.update({name: None for name, one in members.items() if one is Null})
    algorithm = draft.header.get("alg")
    if not isinstance(algorithm, str):
        return
    if algorithm.startswith("HS"):
        draft.key = pem(draft.key)
    elif algorithm in _CURVES:
        draft.key = curve_key(algorithm)


def key_set(text: str, draft: Draft, kid: str, key: Any) -> list[dict[str, Any]]:
    """The keys that the signer publishes: its own, as the text describes it, or an EC key under the same kid."""
    members: dict[str, Any] = {}
    if re.search(r"\bkey in the key set has no alg\b|\bkey set (?:has|names|says) no alg\b", text):
        members["alg"] = None
    if said := re.search(
        r"\bkey (?:in the key )?set says (\w+)\b|\bkey in the key set (?:has|says) alg[ =](\w+)\b", text
    ):
        members["alg"] = said[1] or said[2]
    algorithm = str(draft.header.get("alg"))
    if algorithm in _CURVES:
        return [jwk(draft.key, kid, alg=algorithm)]
    listed = [jwk(key, kid, **members)]
    named = draft.header.get("kid")
    if (
        isinstance(named, str)
        and named != kid
        and re.search(r"(?<!not )\bin the key set\b", text)
        and "not in" not in text
    ):
        listed.append(jwk(key, named, **members))
    return listed


def signer(text: str, draft: Draft) -> Any:
    """Let the key sign of which the text speaks; returns the peer's own."""
    own = draft.key
    if re.search(r"signed with (?:the|a) key found there|signed with it\b|signed with another key", text):
        draft.key = rsa_key("attacker")
        if re.search(r"\bits own jku and kid\b|\bits own x5u and kid\b", text):
            draft.header["kid"] = "attacker-1"
    if bits := re.search(r"\b(512|768|1024|1536)[ -]bits?\b|\bRSA-(512|768|1024)\b", text):
        own = draft.key = rsa_key("weak", max(int(bits[1] or bits[2]), 1024))
    return own
