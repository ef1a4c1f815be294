"""The bridge as platform: authentication requests, and the contextual links before them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from bridge.flows import identity, open_launch
from bridge.store import now, tables
from bridge.web.auth import SESSION_COOKIE
from tests.threats.phrases import AGE, COUNT, MANGLED, Unknown, mangled, number, phrase, shift
from tests.threats.platform_side import Launch, Tool, browser_of, open_link, prompt_for, somebody
from tests.threats.running import Browser, Came, Stage, age, at_once, came_of, one_wins, refused, together

#: A value as somebody might send it to see how it is written back.
ODD = "a b+c%2F\"'<b>&amp;ü☃"


# Authentication requests

_PARAMETERS = "state|scope|response_type|response_mode|prompt|nonce|client_id|redirect_uri|login_hint|lti_message_hint"


@phrase(
    "platform",
    rf"(?P<name>{_PARAMETERS}) (?:is )?(?P<how>missing|absent|empty)",
    rf"(?:no|without(?: an?)?) (?P<name>{_PARAMETERS})",
)
def parameter_missing(stage: Stage, name: str, how: str = "missing") -> Came:
    launch = Launch(stage)
    return launch.attempt(launch.request(**{name: "" if how == "empty" else None}))


@phrase(
    "platform",
    r"(?P<name>response_type|response_mode) (?:is )?'?(?P<value>code|token|id_token token|code id_token"
    r"|code id_token token|none|query|fragment|web_message|form_post|id_token)'?",
    r"(?P<name>prompt) (?:is )?'?(?P<value>login|consent|select_account|none|create)'?",
    r"(?P<name>scope) (?:is )?'?(?P<value>profile|email|profile email|openid|openid profile|openid email"
    r"|openid profile email)'?",
)
def parameter_value(stage: Stage, name: str, value: str) -> Came:
    launch = Launch(stage)
    return launch.attempt(launch.request(**{name: value}))


@phrase("platform", r"scope (?:without|lacks) openid")
def scope_without_openid(stage: Stage) -> Came:
    launch = Launch(stage)
    return launch.attempt(launch.request(scope="profile email"))


@phrase("platform", rf"(?P<name>{_PARAMETERS}) (?:sent |given )?(?:twice|repeated|two times)")
def parameter_twice(stage: Stage, name: str) -> Came:
    launch = Launch(stage)
    params = list(launch.request().items())
    return launch.attempt([*params, *(pair for pair in params if pair[0] == name)])


@phrase("platform", rf"nonce (?:of|longer than|with) (?P<length>{COUNT}) characters")
def nonce_long(stage: Stage, length: str) -> Came:
    launch = Launch(stage)
    return launch.attempt(launch.request(nonce="n" * (number(length) + 1)))


_MARKUP = r"markup|non-ASCII|blanks?|spaces?|plus|percent|quotes?|ampersand"


@phrase("platform", rf"(?P<name>state|nonce) with (?:{_MARKUP})(?:(?:, | and )(?:{_MARKUP}))*")
def odd_value(stage: Stage, name: str) -> Came:
    launch = Launch(stage)
    params = launch.request(**{name: ODD})
    stage.mark()
    response = launch.send(params)
    shown = "markup stands in the page as it was sent" if name == "state" and "<b>&" in response.text else ""
    return launch.verdict(params, response).but(shown)


@phrase("platform", r"(?P<names>[a-z_]+(?:(?:, | and )[a-z_]+)*) (?:are |is )?sent too")
def extra_parameters(stage: Stage, names: str) -> Came:
    usual = {"id_token_signed_response_alg": "RS256", "lti_deployment_id": "1"}
    extra = {name: usual.get(name, "x") for name in re.split(r", | and ", names)}
    launch = Launch(stage)
    if set(extra) & set(launch.request()):
        raise Unknown(f"{names} are sent always")
    return launch.attempt(launch.request(**extra))


@phrase("platform", r"(?:the )?authentication request by (?P<method>GET|POST)")
def by_method(stage: Stage, method: str) -> Came:
    launch = Launch(stage)
    return launch.attempt(launch.request(), method=method.upper())


def _swapped_case(url: str) -> str:
    head, _, path = url.rpartition("/")
    return f"{head}/{path.swapcase()}"


_REDIRECTS = {
    r"(?:a )?path(?: part| segment)? added": lambda tool: [_cut(tool) + "/more"],
    r"another path": lambda tool: [f"{tool.origin}/elsewhere"],
    r"(?:another|other) letter case|upper case": lambda tool: [
        _swapped_case(tool.redirect_uri),
        tool.redirect_uri.replace("https://tool", "https://TOOL"),
    ],
    r"another port|a port(?: added)?": lambda tool: [tool.redirect_uri.replace(".test/", ".test:8443/")],
    r"(?:a )?(?:query|query parameter|parameter)(?: added)?": lambda tool: [tool.redirect_uri + "&x=1"],
    r"(?:the |its )?query (?:taken|removed|left out)": lambda tool: [_cut(tool)],
    r"(?:a )?fragment(?: added)?": lambda tool: [tool.redirect_uri + "#x"],
    r"one character percent-encoded|(?:a )?percent-encoded character": lambda tool: [
        tool.redirect_uri.replace("/launch", "/l%61unch")
    ],
    r"(?:a )?(?:trailing )?slash added or taken": lambda tool: [tool.redirect_uri + "/", _cut(tool) + "/?tool=7"],
    r"(?:a )?(?:trailing )?slash added": lambda tool: [tool.redirect_uri + "/", _cut(tool) + "/?tool=7"],
    r"another scheme|http instead of https": lambda tool: [tool.redirect_uri.replace("https:", "http:")],
    r"another host": lambda tool: [tool.redirect_uri.replace(".example.test", ".evil.test")],
    r"user ?info(?: added)?|a user(?: name)?(?: added)?": lambda tool: [tool.redirect_uri.replace("//", "//me@")],
    r"(?:a )?dot segments?(?: added)?|\.\. in (?:its|the) path": lambda tool: [f"{tool.origin}/x/../launch?tool=7"],
    r"(?:a )?(?:blank|space|white space)(?: added)?": lambda tool: [tool.redirect_uri + " "],
    r"(?:a )?subdomain(?: added)?": lambda tool: [tool.redirect_uri.replace("https://", "https://sub.")],
}


def _cut(tool: Tool) -> str:
    return tool.redirect_uri.partition("?")[0]


@phrase("platform", rf"redirect_uri (?:with|on|has|at) (?P<how>{'|'.join(_REDIRECTS)})")
def redirect_changed(stage: Stage, how: str) -> Came:
    changed = next(make for pattern, make in _REDIRECTS.items() if re.fullmatch(pattern, how, re.IGNORECASE))
    launch = Launch(stage)
    came = [_not_sent_to(launch, wrong) for wrong in changed(launch.tool)]
    return together(came)


@phrase("platform", r"redirect_uri of another(?: registered)? tool", r"redirect_uri (?P<how>javascript|data):?")
def redirect_of_other(stage: Stage, how: str = "") -> Came:
    return _not_sent_to(Launch(stage), f"{how}:alert(1)" if how else Tool(stage).redirect_uri)


def _not_sent_to(launch: Launch, wrong: str) -> Came:
    came = launch.attempt(launch.request(redirect_uri=wrong))
    posted = [problem for problem in came.problems if "posted" in problem]
    return came.but("an answer went to it" if posted else "")


@phrase("platform", r"client_id (?:is )?(?:unknown|of nobody|not registered)")
def client_unknown(stage: Stage) -> Came:
    launch = Launch(stage)
    return launch.attempt(launch.request(client_id="nobody"))


@phrase("platform", r"client_id (?:of another(?: registered)? tool)")
def client_of_other(stage: Stage) -> Came:
    launch = Launch(stage)
    return launch.attempt(launch.request(client_id=Tool(stage).client_id))


@phrase("platform", r"client_id registered but (?P<how>not approved|not yet approved|pending|disabled|switched off)")
def client_not_active(stage: Stage, how: str) -> Came:
    """A tool that registered itself waits switched off until an admin approves it."""
    launch = Launch(stage)
    launch.tool.change(enabled=False)
    return launch.attempt(launch.request())


@phrase(
    "platform",
    r"login_hint of (?:another|an other) (?:user|person|employee)(?: than the launch)?",
)
def login_hint_swapped(stage: Stage) -> Came:
    launch = Launch(stage)
    other = Launch(stage, launch.tool)
    return launch.attempt(launch.request(login_hint=other.fields["login_hint"]))


@phrase("platform", r"lti_message_hint (?:used before|reused|used twice|a second time)")
def hint_reused(stage: Stage) -> Came:
    launch = Launch(stage)
    launch.answer(launch.request())
    return launch.attempt(launch.request())


@phrase("platform", rf"(?:the same )?lti_message_hint (?:used )?(?P<times>{COUNT}) times at once")
def hint_at_once(stage: Stage, times: str) -> Came:
    launch = Launch(stage)
    params = launch.request()
    stage.unmark()
    return one_wins(at_once(number(times), lambda _: launch.verdict(params, launch.send(params))))


@phrase("platform", rf"lti_message_hint {AGE}")
def hint_expired(stage: Stage, length: str = "", old: str = "") -> Came:
    launch = Launch(stage)
    with stage.runtime.db.write() as session:
        for row in session.query(tables.LtiHint).filter_by(login_hint=launch.fields["login_hint"]):
            age(row, shift(length, old))
    return launch.attempt(launch.request())


@phrase("platform", rf"(?P<name>login_hint|lti_message_hint|client_id|nonce|state) (?P<how>changed|{MANGLED})")
def parameter_mangled(stage: Stage, name: str, how: str) -> Came:
    """What the tool chooses by itself may be anything; what it echoes may not be touched."""
    launch = Launch(stage)
    return launch.attempt(launch.request(**{name: mangled(launch.request()[name], how)}))


@phrase("platform", r"lti_message_hint (?:unknown|never given out|of nobody|that was never given out)")
def hint_unknown(stage: Stage) -> Came:
    launch = Launch(stage)
    return launch.attempt(launch.request(lti_message_hint="never-given-out"))


@phrase("platform", r"lti_message_hint of another (?P<whose>tool|client|user|person|employee|launch)(?:'s launch)?")
def hint_of_other(stage: Stage, whose: str) -> Came:
    launch = Launch(stage)
    other = Launch(stage, None if whose in ("tool", "client") else launch.tool)
    hint = other.fields["lti_message_hint"]
    if whose in ("tool", "client"):
        # The strongest form: the hint's own person and browser, but another tool's client_id and address.
        request = other.request(client_id=launch.tool.client_id, redirect_uri=launch.tool.redirect_uri)
        return launch.attempt(request, browser=other.browser)
    return launch.attempt(launch.request(lti_message_hint=hint))


@phrase(
    "platform",
    r"lti_message_hint finished in (?:a|another) browser that is (?P<how>not (?:logged|signed) in"
    r"|(?:logged|signed) in as (?:someone|somebody) else)",
    r"lti_message_hint finished in (?P<how>another browser)",
)
def hint_in_other_browser(stage: Stage, how: str) -> Came:
    launch = Launch(stage)
    if "else" in how:
        other = browser_of(stage, somebody(stage))
    else:
        other = browser_of(stage, launch.person) if how == "another browser" else Browser(stage)
    return launch.attempt(launch.request(), browser=other)


# Contextual links


@phrase("platform", r"(?:a )?link preview fetches the (?:contextual )?link(?: without a login)?")
def link_preview(stage: Stage) -> Came:
    person, tool = somebody(stage), Tool(stage)
    ticket = open_launch.ticket_for(stage.runtime, prompt_for(stage, person, tool.asset))
    stage.mark()
    bot = Browser(stage)
    for method in ("HEAD", "GET"):
        bot.send(method, f"/go/{ticket}", headers={"User-Agent": "Slackbot-LinkExpanding 1.0"})
    came = refused(bot.post(f"/go/{ticket}", {"csrf": ""}))
    uses = stage.rows(tables.Ticket, token_hash=identity.token_hash(ticket))[0].uses_left
    changed = came.but("something was changed" if stage.grown() else "", "" if uses == 50 else "the ticket lost a use")
    stage.unmark()
    opened = open_link(browser_of(stage, person), ticket)
    return changed.but("" if "lti_message_hint" in opened.text else "the person can't open it any more")


@phrase("platform", r"contextual link opened by (?:the employee|the user|the person) it was meant for")
def link_good(stage: Stage) -> Came:
    return _opens_link(stage)


@phrase("platform", r"contextual link opened by (?:an employee|somebody|someone|a user) it was not meant for")
def link_of_other(stage: Stage) -> Came:
    return _opens_link(stage, other=True)


@phrase("platform", rf"(?:contextual link|(?:launch )?ticket) {AGE}", r"contextual link with an expired ticket")
def link_expired(stage: Stage, length: str = "", old: str = "") -> Came:
    return _opens_link(stage, lambda row: age(row, shift(length, old)))


@phrase(
    "platform",
    r"(?:contextual link|(?:launch )?ticket) (?:that is |is )?(?P<how>taken back|revoked|used up)",
    r"contextual link (?P<how>used as often as it may be)",
    r"contextual link (?P<how>opened more often than (?:it is )?allowed)",
    r"contextual link with a (?P<how>revoked) ticket",
)
def link_over(stage: Stage, how: str) -> Came:
    changes = {"revoked_at": now()} if how in ("taken back", "revoked") else {"uses_left": 0}
    return _opens_link(stage, lambda row: [setattr(row, name, one) for name, one in changes.items()])


@phrase(
    "platform",
    r"(?:contextual link|(?:launch )?ticket) (?:that is |is )?(?P<how>unknown|changed|with one character changed)",
    r"contextual link with an (?P<how>unknown) ticket",
    r"contextual link (?P<how>opened without (?:a )?login)",
)
def link_of_nobody(stage: Stage, how: str) -> Came:
    return _opens_link(stage, unknown="without" not in how, stranger="without" in how)


def _opens_link(
    stage: Stage,
    change: Callable[[Any], Any] = lambda row: None,
    *,
    other: bool = False,
    unknown: bool = False,
    stranger: bool = False,
) -> Came:
    person, tool = somebody(stage), Tool(stage)
    ticket = open_launch.ticket_for(stage.runtime, prompt_for(stage, person, tool.asset))
    with stage.runtime.db.write() as session:
        change(session.get_one(tables.Ticket, identity.token_hash(ticket)))
    browser = Browser(stage) if stranger else browser_of(stage, somebody(stage) if other else person)
    own_form = (
        ""
        if stranger
        else stage.rows(tables.SignInSession, token_hash=identity.token_hash(browser.cookies[SESSION_COOKIE]))[0].csrf
    )
    stage.mark()
    return came_of(browser.post(f"/go/{'x' * 32 if unknown else ticket}", {"csrf": own_form}))
