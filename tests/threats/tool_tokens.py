"""The bridge as tool: the id_token of a launch."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.threats.phrases import COUNT, MANGLED, VALUE, mangled, number, phrase, value
from tests.threats.running import Came, Stage, answer, together
from tests.threats.signing import encoded, jwk, part, raw_token, rsa_key, with_flipped_byte
from tests.threats.tool_side import CLAIM, DL_SETTINGS, INSTRUCTOR, LEARNER, MARKUP, Lms, launched

_BROKEN: dict[str, Callable[[str], str]] = {
    r"(?:is )?the text '[^']*'": lambda token: "abc",
    r"(?:has |with )?one dot": lambda token: ".".join(token.split(".")[:2]),
    r"(?:has |with )?(?:three|four|five) dots": lambda token: token + ".x.y",
    r"(?:has |with )?no dots?": lambda token: token.replace(".", ""),
    r"(?:has |with )?empty parts": lambda token: "..",
    r"(?:has |with |is )?invalid base64": lambda token: "!" + token[1:],
    r"(?:has a |its )?header (?:is )?not JSON": lambda token: ".".join([encoded(b"{"), *token.split(".")[1:]]),
    r"(?:has a |its )?header (?:is )?(?:a list|not an object)": lambda token: ".".join(
        [part([1]), *token.split(".")[1:]]
    ),
    r"(?:is )?empty": lambda token: "",
}


@phrase(
    "tool", rf"id_token (?P<how>{'|'.join(_BROKEN)}|(?:has |its )?claims (?:are )?(?:not an object|a list|not JSON))"
)
def broken(stage: Stage, how: str) -> Came:
    lms = Lms(stage)
    login = lms.login()
    draft = lms.draft(login)
    if "claims" in how:
        draft.claims = ["a"] if "JSON" not in how else None
        return login.attempt(draft)
    make = next(make for pattern, make in _BROKEN.items() if re.fullmatch(pattern, how, re.IGNORECASE))
    token = make(draft.signed())
    return login.attempt(how.split("'")[1] if "'" in how else token)


@phrase("tool", r"every LTI claim except (?P<kept>\w+) missing", r"(?P<kept>all|every) LTI claims? missing")
def without_lti_claims(stage: Stage, kept: str) -> Came:
    lms = Lms(stage)
    login = lms.login()
    draft = lms.draft(login)
    draft.claims = {k: v for k, v in draft.claims.items() if not k.startswith("https:") or k == CLAIM + kept}
    return login.attempt(draft)


@phrase("tool", r"(?:an? )?LtiDeepLinkingRequest(?: with data, accept_types and return URL)?")
def choosing(stage: Stage) -> Came:
    return launched(stage, deep_linking=True)


@phrase("tool", r"nothing: full launch of an? (?P<who>instructor|student|learner)")
def full(stage: Stage, who: str) -> Came:
    return launched(stage, **{f"{CLAIM}roles": [INSTRUCTOR if who == "instructor" else LEARNER]})


@phrase("tool", r"one byte of the signature changed")
def signature_flipped(stage: Stage) -> Came:
    lms = Lms(stage)
    login = lms.login()
    return login.attempt(with_flipped_byte(lms.draft(login).signed()))


@phrase("tool", r"(?:the )?signature (?:is )?(?P<how>missing|empty|cut)")
def signature_missing(stage: Stage, how: str) -> Came:
    lms = Lms(stage)
    login = lms.login()
    token = lms.draft(login).signed()
    return login.attempt(token[:-20] if how == "cut" else token.rpartition(".")[0] + ".")


@phrase("tool", r"claims changed after signing")
def payload_changed(stage: Stage) -> Came:
    lms = Lms(stage)
    login = lms.login()
    draft = lms.draft(login)
    header, _, signature = draft.signed().split(".")
    return login.attempt(f"{header}.{part(draft.claims | {'sub': 'somebody-else'})}.{signature}")


@phrase("tool", r"header carries its own (?P<what>jwk|x5c|x5u|jku); signed with (?:it|the key found there)")
def key_in_header(stage: Stage, what: str) -> Came:
    lms = Lms(stage)
    login = lms.login()
    draft = lms.draft(login)
    draft.key = rsa_key("attacker")
    own = jwk(draft.key, lms.kid)
    there = stage.world.peers.publish(f"/{stage.tag}/attacker", answer({"keys": [own]}))
    draft.header[what] = {"jwk": own, "x5c": [encoded(b"x")]}.get(what, there)
    came = login.attempt(draft)
    return came.but("the address in the header was called" if stage.world.peers.asked[f"/{stage.tag}/attacker"] else "")


@phrase(
    "tool",
    r"(?:token )?signed with (?:another key|another platform's key|a key of another platform"
    r"|a key that is not in the key set)(?:,? (?:with the )?right kid)?",
)
def signed_by_other(stage: Stage) -> Came:
    lms = Lms(stage)
    login = lms.login()
    draft = lms.draft(login)
    draft.key = rsa_key("other lms")
    return login.attempt(draft)


@phrase("tool", r"sub longer than (?P<length>\d+) characters", r"sub of (?P<exactly>\d+) characters")
def sub_long(stage: Stage, length: str = "", exactly: str = "") -> Came:
    return launched(stage, sub="s" * (int(length) + 1 if length else int(exactly)))


@phrase("tool", r"iss host in (?:upper|another letter) case")
def iss_upper(stage: Stage) -> Came:
    lms = Lms(stage)
    return launched(stage, lms, iss=lms.issuer.replace(lms.name, lms.name.upper()))


@phrase("tool", rf"(?P<name>iss|aud) (?P<how>{MANGLED})")
def party_mangled(stage: Stage, name: str, how: str) -> Came:
    lms = Lms(stage)
    return launched(stage, lms, **{name: mangled(lms.issuer if name == "iss" else lms.client_id, how)})


@phrase("tool", r"iss of another registered platform(?:, signed with this platform's key)?")
def iss_of_other(stage: Stage) -> Came:
    lms, other = Lms(stage), Lms(stage, key="other lms")
    return launched(stage, lms, iss=other.issuer)


@phrase("tool", r"aud is another client_id registered for the same iss(?:, state was made for ours)?")
def aud_of_other(stage: Stage) -> Came:
    lms = Lms(stage)
    other = Lms(stage, issuer=lms.issuer)
    return launched(stage, lms, aud=other.client_id)


@phrase("tool", r"(?:target_link_uri )?claim is allowed but differs from the login's target_link_uri")
def target_differs(stage: Stage) -> Came:
    lms = Lms(stage)
    came = [
        launched(stage, lms, **{f"{CLAIM}target_link_uri": one}) for one in (stage.issuer + "/", lms.target + "?x=1")
    ]
    return together(came)


@phrase("tool", rf"claims of (?P<size>{COUNT}) (?P<unit>[KM])i?B")
def claims_huge(stage: Stage, size: str, unit: str) -> Came:
    return launched(stage, **{"https://example.test/x": "x" * (number(size) * 1024 ** (1 if unit == "K" else 2))})


@phrase("tool", rf"claims nested (?P<levels>{COUNT}) levels")
def claims_deep(stage: Stage, levels: str) -> Came:
    lms = Lms(stage)
    login = lms.login()
    deep = "[" * number(levels) + "]" * number(levels)
    return login.attempt(raw_token(lms.draft(login), {"https://example.test/x": deep}))


@phrase(
    "tool",
    r"name, title and context hold markup(?:: accepted, always shown escaped)?",
    r"(?:name|names|title) holds? markup",
)
def markup(stage: Stage) -> Came:
    told = {"name": MARKUP, "given_name": MARKUP, f"{CLAIM}context": {"id": "c", "title": MARKUP}}
    return launched(stage, **told, **{f"{CLAIM}resource_link": {"id": "l", "title": MARKUP}})


_CLAIMS = "iss|aud|sub|exp|iat|nbf|nonce|azp|name|email"
_LTI = "version|message_type|deployment_id|target_link_uri|roles|resource_link|context"


@phrase(
    "tool",
    rf"(?P<name>{_CLAIMS}|{_LTI})(?: claim)? (?:is )?(?:missing|absent)",
    rf"(?:no|without) (?P<name>{_CLAIMS}|{_LTI}) claim",
)
def claim_missing(stage: Stage, name: str) -> Came:
    lms = Lms(stage)
    login = lms.login()
    draft = lms.draft(login)
    draft.claims.pop(CLAIM + name if re.fullmatch(_LTI, name) else name, None)
    return login.attempt(draft)


@phrase("tool", rf"(?P<name>{_CLAIMS}|{_LTI})(?: claim)? is (?:the (?:string|number|text) )?(?P<what>{VALUE})")
def claim_value(stage: Stage, name: str, what: str) -> Came:
    return launched(stage, **{CLAIM + name if re.fullmatch(_LTI, name) else name: value(what)})


# Deep linking requests


@phrase(
    "tool",
    r"deep[ _]link(?:ing)?[ _]return[ _]URL (?:is |with )?(?P<how>javascript:|data:|missing|quotes and markup|markup)",
    r"return URL with (?P<how>quotes(?: and markup)?|markup)",
)
def choosing_elsewhere(stage: Stage, how: str) -> Came:
    lms = Lms(stage)
    login = lms.login()
    draft = lms.draft(login, deep_linking=True)
    url = {"javascript:": "javascript:alert(1)", "data:": "data:text/html,x", "missing": None}
    there = url.get(how.lower(), f"{lms.issuer}/chosen?a=\"'{MARKUP}")
    draft.claims[DL_SETTINGS] = {**draft.claims[DL_SETTINGS], "deep_link_return_url": there}
    return login.attempt(draft)
