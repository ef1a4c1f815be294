"""The bridge as platform: the service tokens that tools ask for."""

from __future__ import annotations

import re

import requests

from tests.threats.phrases import COUNT, number, phrase
from tests.threats.platform_side import LINE_ITEM, LINE_ITEM_READ, MEMBERS, RESULT, SCORE, Tool
from tests.threats.running import Came, Stage, answer, at_once, one_wins, refused
from tests.threats.signing import Draft, jwk, rsa_key


def token_came(stage: Stage, response: requests.Response, scope: str = SCORE) -> Came:
    """A token for exactly these scopes, or a refusal."""
    if response.status_code != 200:
        return refused(response)
    granted = response.json().get("scope")
    wrong = "" if granted == scope else f"granted was {granted}"
    return Came(accepted=True).but(wrong)


def ask_token(tool: Tool, draft: Draft | str, scope: str = SCORE, **changes: str | None) -> Came:
    tool.stage.mark()
    return token_came(tool.stage, tool.ask(tool.token_form(draft, scope, **changes)), scope)


_SCOPES = {
    "score": SCORE,
    "lineitem": LINE_ITEM,
    "line item": LINE_ITEM,
    "lineitem.readonly": LINE_ITEM_READ,
    "result.readonly": RESULT,
    "result": RESULT,
    "contextmembership.readonly": MEMBERS,
    "names and roles": MEMBERS,
}
SCOPE = "|".join(re.escape(name) for name in sorted(_SCOPES, key=len, reverse=True))


def scope_named(name: str) -> str:
    return _SCOPES[name.lower()]


@phrase("platform", r"iss and sub of another tool, signed with ours", r"iss and sub of another tool")
def assertion_of_other(stage: Stage) -> Came:
    ours, other = Tool(stage), Tool(stage, key="other tool")
    return ask_token(ours, ours.assertion(iss=other.client_id, sub=other.client_id))


@phrase(
    "platform",
    r"(?:the same )?(?:client_)?assertion (?:\(jti\) )?(?:a second time|twice|used before|reused|replayed)",
    r"jti (?:used before|a second time)",
)
def assertion_replayed(stage: Stage) -> Came:
    tool = Tool(stage)
    assertion = tool.assertion().signed()
    assert ask_token(tool, assertion).accepted
    return ask_token(tool, assertion)


@phrase(
    "platform", rf"(?:the same )?(?:client_)?(?:assertion|jti) (?:\(jti\) )?(?:used )?(?P<times>{COUNT}) times at once"
)
def assertion_at_once(stage: Stage, times: str) -> Came:
    tool = Tool(stage)
    form = tool.token_form(tool.assertion())
    stage.mark()
    came = one_wins(at_once(number(times), lambda _: token_came(stage, tool.ask(form))))
    grown = stage.grown()
    stage.unmark()
    return came.but("" if grown == {"access_token": 1} else f"there is more: {grown}")


@phrase("platform", r"(?:a|the) jti another (?:client|tool) (?:has )?used(?: before)?")
def jti_of_other(stage: Stage) -> Came:
    ours, other = Tool(stage), Tool(stage, key="other tool")
    draft = other.assertion()
    assert ask_token(other, draft).accepted
    return ask_token(ours, ours.assertion(jti=draft.claims["jti"]))


@phrase("platform", r"(?:client_assertion )?signed with another key(?:, right kid)?", r"signed with another tool's key")
def assertion_by_other_key(stage: Stage) -> Came:
    tool = Tool(stage)
    draft = tool.assertion()
    draft.key = rsa_key("other tool")
    return ask_token(tool, draft)


@phrase("platform", r"client_assertion(?: is)? (?P<how>missing|empty|the text '[^']*')")
def assertion_missing(stage: Stage, how: str) -> Came:
    tool = Tool(stage)
    value = None if how == "missing" else "" if how == "empty" else how.split("'")[1]
    return ask_token(tool, tool.assertion(), client_assertion=value)


@phrase(
    "platform",
    r"(?P<name>client_assertion_type|grant_type) (?P<how>missing|empty)",
    r"(?P<name>client_assertion_type) is (?P<how>not jwt-bearer|saml2-bearer)",
    r"(?P<name>grant_type) (?:is )?(?P<how>not client_credentials|password|authorization_code|implicit|refresh_token)",
)
def token_parameter(stage: Stage, name: str, how: str) -> Came:
    tool = Tool(stage)
    wrong = {"missing": None, "empty": ""}.get(how, how.replace("not ", "not-"))
    return ask_token(tool, tool.assertion(), **{name: wrong})


@phrase("platform", r"(?:token )?parameters sent as JSON", r"token request (?:with|as) (?:a )?JSON(?: body)?")
def token_as_json(stage: Stage) -> Came:
    tool = Tool(stage)
    form = tool.token_form(tool.assertion())
    stage.mark()
    return token_came(stage, tool.ask(form, json=form))


@phrase("platform", r"(?:token )?parameters (?:sent )?in the query")
def token_by_query(stage: Stage) -> Came:
    tool = Tool(stage)
    form = tool.token_form(tool.assertion())
    stage.mark()
    return token_came(stage, tool.ask(form, params=form))


@phrase("platform", rf"asks for the (?P<scope>{SCOPE}) scope only")
def one_scope(stage: Stage, scope: str) -> Came:
    tool = Tool(stage)
    return ask_token(tool, tool.assertion(), scope_named(scope))


@phrase("platform", r"one granted and one ungranted scope(?:: token for the granted one, named in the reply)?")
def partial_scope(stage: Stage) -> Came:
    tool = Tool(stage, scopes=[SCORE])
    stage.mark()
    return token_came(stage, tool.ask(tool.token_form(tool.assertion(), f"{SCORE} {LINE_ITEM}")))


@phrase(
    "platform",
    r"(?:asks for )?(?P<how>only (?:an )?ungranted scopes?|(?:a |an )?(?:scope that was not granted"
    r"|ungranted scope|unknown scope)|no granted scope|no scope|scope missing|scope not granted)(?: only)?",
    r"(?P<how>scope missing) in (?:a|the) token request",
    r"asks (?P<how>only for scopes that were not granted)",
)
def no_scope(stage: Stage, how: str) -> Came:
    tool = Tool(stage, scopes=[SCORE])
    asked = {"no scope": None, "scope missing": None, "unknown scope": "https://example.test/scope/x"}.get(
        how.lower().removeprefix("an "), LINE_ITEM
    )
    return ask_token(tool, tool.assertion(), scope=asked or "")


@phrase("platform", r"client_secret instead of an? (?:client_)?assertion")
def client_secret(stage: Stage) -> Came:
    tool = Tool(stage)
    form = {"grant_type": "client_credentials", "client_id": tool.client_id, "client_secret": "secret", "scope": SCORE}
    stage.mark()
    return token_came(stage, tool.ask(form))


@phrase("platform", r"(?:the )?tool's key (?:was |is )?rotated(?:: one refetch)?")
def tool_key_rotated(stage: Stage) -> Came:
    path = f"/{stage.tag}/tool-jwks"
    peers = stage.world.peers
    url = peers.publish(path, answer({"keys": [jwk(rsa_key("tool"), "k1")]}))
    tool = Tool(stage, jwks=None, jwks_uri=url)
    assert ask_token(tool, tool.assertion()).accepted
    peers.publish(path, answer({"keys": [jwk(rsa_key("new tool"), "k2")]}))
    tool.key, tool.kid = rsa_key("new tool"), "k2"
    came = ask_token(tool, tool.assertion())
    return came.but("" if peers.asked[path] == 2 else f"{peers.asked[path]} fetches, two were due")


@phrase(
    "platform",
    r"(?:the )?(?:tool|client of the assertion) (?:is )?(?:disabled|switched off|not approved)(?:, asks for a token)?",
)
def token_for_disabled(stage: Stage) -> Came:
    tool = Tool(stage)
    tool.change(enabled=False)
    return ask_token(tool, tool.assertion())
