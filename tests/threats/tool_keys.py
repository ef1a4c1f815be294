"""The bridge as tool: the key set of the LMS."""

from __future__ import annotations

from tests.threats.phrases import COUNT, DURATION, number, phrase, seconds
from tests.threats.running import Came, Stage, after, answer, dripping, together
from tests.threats.signing import jwk, rsa_key
from tests.threats.tool_side import Lms, launched

_BITS = r"(?P<bits>1024|1536|2048|3072|4096) bits?"


@phrase("tool", r"(?:the )?key in the key set has use=(?P<use>\w+)")
def key_use(stage: Stage, use: str) -> Came:
    lms = Lms(stage)
    lms.publish(jwk(lms.key, lms.kid, use=use))
    return launched(stage, lms)


@phrase("tool", r"(?:the )?key in the key set has (?:no (?P<member>alg|use|kid)|alg[ =](?P<alg>\w+))")
def key_members(stage: Stage, member: str = "", alg: str = "") -> Came:
    lms = Lms(stage)
    key = jwk(lms.key, lms.kid) | ({"alg": alg} if alg else {})
    lms.publish({name: one for name, one in key.items() if name != member})
    return launched(stage, lms)


@phrase(
    "tool",
    r"(?:token (?:with|signed with) )?an? (?:unknown kid|kid that is in no key set)(?:: one refetch)?",
)
def kid_unknown(stage: Stage) -> Came:
    lms = Lms(stage)
    lms.kid = "nobody-has-this"
    came = launched(stage, lms)
    return came.but("" if lms.fetches <= 2 else f"{lms.fetches} fetches")


@phrase(
    "tool",
    r"(?:signed with )?(?:the |an? )?(?:(?:platform|LMS)(?:'s)? )?(?:RSA )?key"
    rf" (?:in the key set )?(?:has|of|is|with)(?: only)? {_BITS}(?: long)?(?: in the key set)?",
    r"(?:signed with )?(?:the |an? )?(?P<bits>1024|1536|2048|3072|4096)-bit (?:RSA )?key(?: in the key set)?",
)
def key_weak(stage: Stage, bits: str) -> Came:
    lms = Lms(stage)
    lms.key = rsa_key("sized", int(bits))
    lms.publish(jwk(lms.key, lms.kid))
    return launched(stage, lms)


@phrase("tool", r"token signed with a new key whose kid is in the key set but not in the cached copy(?:: one refetch)?")
def keys_rotated(stage: Stage) -> Came:
    lms = Lms(stage)
    assert launched(stage, lms).accepted
    before = lms.fetches
    lms.publish(jwk(lms.key, lms.kid), jwk(rsa_key("new lms"), "lms-2"))
    lms.key, lms.kid = rsa_key("new lms"), "lms-2"
    came = launched(stage, lms)
    return came.but("" if lms.fetches == before + 1 else f"{lms.fetches - before} fetches, one was due")


@phrase("tool", r"token signed with the previous key, still in the key set")
def keys_previous(stage: Stage) -> Came:
    lms = Lms(stage)
    lms.publish(jwk(rsa_key("new lms"), "lms-2"), jwk(lms.key, lms.kid))
    return launched(stage, lms)


@phrase("tool", r"token signed with a key taken out of the key set(?P<when>, after the cache ran out)?")
def keys_retired(stage: Stage, when: str = "") -> Came:
    lms = Lms(stage)
    assert launched(stage, lms).accepted
    lms.publish(jwk(rsa_key("new lms"), "lms-2"))
    stage.world.later = 90_000.0
    return launched(stage, lms)


@phrase(
    "tool",
    rf"(?P<tokens>{COUNT}) tokens with (?P<kids>{COUNT}) unknown kids in one minute"
    r"(?:: all refused, at most (?P<most>one|two|three|ten) refetch(?:es)?)?",
)
def keys_flood(stage: Stage, tokens: str, kids: str, most: str = "one") -> Came:
    lms = Lms(stage)
    assert launched(stage, lms).accepted
    before, came = lms.fetches, []
    for index in range(number(tokens)):
        login = lms.login()
        draft = lms.draft(login)
        draft.header["kid"] = f"unknown-{index % number(kids)}"
        draft.key = rsa_key("attacker")
        came.append(login.attempt(draft))
    fetched = lms.fetches - before
    wrong = "" if fetched <= number(most) else f"{fetched} refetches, at most {most} was due"
    return together(came).but(wrong)


@phrase("tool", r"key set endpoint down; kid is in the cached set")
def keys_down_cached(stage: Stage) -> Came:
    lms = Lms(stage)
    assert launched(stage, lms).accepted
    lms.answers(answer(b"", status=503))
    stage.world.later = 90_000.0
    return launched(stage, lms)


@phrase(
    "tool",
    r"key set endpoint down(?:[;,] (?:kid is not in the cached set|nothing (?:is )?cached|no cached set))?",
    r"key set (?:endpoint )?answers (?:with )?(?:status )?(?P<status>[345]\d\d)",
)
def keys_down(stage: Stage, status: str = "503") -> Came:
    lms = Lms(stage)
    lms.answers(answer(b"", status=int(status)))
    return launched(stage, lms)


@phrase("tool", r"key set answers one byte a second")
def keys_slow(stage: Stage) -> Came:
    stage.runtime.http = stage.world.impatient(seconds=1.5)
    lms = Lms(stage)
    lms.answers(dripping(b'{"keys": []}'))
    return launched(stage, lms)


@phrase("tool", rf"key set (?:does not answer|hangs|answers after (?P<length>{DURATION}))")
def keys_silent(stage: Stage, length: str = "10 s") -> Came:
    lms, pause = Lms(stage), min(seconds(length), 10)
    stage.runtime.http = stage.world.impatient(seconds=1.5)
    lms.answers(after(pause, answer({"keys": [jwk(lms.key, lms.kid)]})))
    return launched(stage, lms)


@phrase(
    "tool",
    r"key set URL redirects to (?P<where>169\.254\.169\.254|127\.0\.0\.1|localhost|an internal address|another host)",
)
def keys_redirect(stage: Stage, where: str) -> Came:
    lms = Lms(stage)
    inside = stage.world.peers.publish(f"{lms.path}/inside", answer({"keys": [jwk(lms.key, lms.kid)]}))
    there = inside if where in ("127.0.0.1", "localhost") else "http://169.254.169.254/latest/meta-data"
    lms.answers(answer(b"", status=302, Location=there))
    came = launched(stage, lms)
    return came.but("the redirect was followed" if stage.world.peers.asked[f"{lms.path}/inside"] else "")


@phrase("tool", r"key set answers HTML(?: with status (?P<status>200))?")
def keys_html(stage: Stage, status: str = "200") -> Came:
    lms = Lms(stage)
    lms.answers(answer(b"<html><body>Sign in</body></html>", kind="text/html"))
    return launched(stage, lms)


@phrase(
    "tool",
    r"(?:a )?key set (?:of|answers|is|(?:is )?larger than)(?: more than)? (?P<size>\d+) (?P<unit>[KM])i?B(?: large)?",
)
def keys_large(stage: Stage, size: str, unit: str) -> Came:
    lms = Lms(stage)
    padding = "x" * (int(size) * 1024 ** (1 if unit == "K" else 2))
    lms.answers(answer({"keys": [jwk(lms.key, lms.kid)], "padding": padding}))
    return launched(stage, lms)


@phrase("tool", r"key set (?:is|answers) (?P<how>empty|an empty list|a list|not JSON)")
def keys_empty(stage: Stage, how: str) -> Came:
    lms = Lms(stage)
    lms.answers(answer(b"{" if how == "not JSON" else [] if "list" in how else {"keys": []}))
    return launched(stage, lms)


@phrase("tool", r"key set of another platform", r"key set swapped(?: for another(?: platform's)?)?")
def keys_of_other(stage: Stage) -> Came:
    lms = Lms(stage)
    lms.publish(jwk(rsa_key("other lms"), lms.kid))
    return launched(stage, lms)
