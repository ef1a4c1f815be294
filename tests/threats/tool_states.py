"""The bridge as tool: browsers, states and nonces."""

from __future__ import annotations

import html
import re
import uuid

import requests

from bridge.flows import identity
from bridge.store import tables
from tests.threats.phrases import AGE, COUNT, MANGLED, mangled, number, phrase, shift
from tests.threats.running import Browser, Came, Stage, age, at_once, code_of, form_of, one_wins, refused, together
from tests.threats.tool_logins import initiated
from tests.threats.tool_side import MARKUP, Lms


@phrase(
    "tool",
    r"the same id_token and state (?:a second time |again )?from (?P<where>a browser without any cookie)",
    r"the same id_token and state (?:a second time |again )?from (?P<where>another browser)",
    r"the same id_token and state (?:posted )?(?P<where>a second time|again|twice)(?: (?:from|in) the same browser)?",
)
def replayed(stage: Stage, where: str) -> Came:
    lms = Lms(stage)
    login = lms.login()
    token = lms.draft(login).signed()
    held = dict(login.browser.cookies)  # what the browser holds before the launch can take it away
    assert login.attempt(token).accepted
    return login.attempt(token, Browser(stage) if "browser" in where else Browser(stage, held))


@phrase(
    "tool", rf"the same id_token and state (?P<times>{COUNT}) times at once(?:: exactly one wins(?:, \d+ refused)?)?"
)
def replayed_at_once(stage: Stage, times: str) -> Came:
    lms = Lms(stage)
    login = lms.login()
    token, held = lms.draft(login).signed(), dict(login.browser.cookies)
    stage.mark()

    def post(_: int) -> Came:
        response = login.post(token, Browser(stage, dict(held)))
        return Came(accepted=True) if response.status_code in (302, 303) else refused(response)

    came = one_wins(at_once(number(times), post))
    grown = stage.grown()
    stage.unmark()
    return came.but("" if grown.get("sign_in_session") == 1 else f"there is more: {grown}")


@phrase(
    "tool",
    rf"(?:the same )?nonce (?:used before|(?P<times>{COUNT}) times at once)",
    r"nonce of (?P<other>another login)(?: (?:of|in) the same browser)?",
)
def nonce_used(stage: Stage, times: str = "", other: str = "") -> Came:
    """The nonce of a login that is over, or of another one, in a token for a login of its own."""
    lms = Lms(stage)
    first = lms.login()
    if times:
        logins = [lms.login() for _ in range(number(times))]
        drafts = [lms.draft(login, nonce=first.nonce).signed() for login in logins]
        answers = at_once(len(logins), lambda index: logins[index].post(drafts[index]))
        came = [Came(accepted=True) if one.status_code in (302, 303) else refused(one) for one in answers]
        return together(came)
    if not other:
        assert first.attempt(lms.draft(first)).accepted
    login = lms.login()
    return login.attempt(lms.draft(login, nonce=first.nonce))


@phrase(
    "tool",
    r"(?:a )?state (?P<how>never given out|that was never given out|missing|empty|unknown|changed)",
    r"(?:no|without) state",
)
def state_wrong(stage: Stage, how: str = "missing") -> Came:
    lms = Lms(stage)
    login = lms.login()
    state = None if how == "missing" else "" if how == "empty" else uuid.uuid4().hex
    return login.attempt(lms.draft(login), state=state)


@phrase("tool", rf"(?P<name>state|nonce) (?P<how>{MANGLED})")
def value_mangled(stage: Stage, name: str, how: str) -> Came:
    lms = Lms(stage)
    login = lms.login()
    if name == "nonce":
        return login.attempt(lms.draft(login, nonce=mangled(login.nonce, how)))
    return login.attempt(lms.draft(login), state=mangled(login.state, how))


@phrase("tool", r"(?:a )?state of a login begun in another browser", r"(?:a )?state of another browser")
def state_of_other(stage: Stage) -> Came:
    """Also where the browser has a login of its own under way."""
    lms = Lms(stage)
    login, own = lms.login(), lms.login()
    return login.attempt(lms.draft(login), own.browser)


@phrase("tool", r"(?:a )?state of another (?:platform|LMS|login)")
def state_of_other_login(stage: Stage) -> Came:
    lms = Lms(stage)
    login = lms.login()
    other = Lms(stage, key="other lms").login(login.browser)
    return login.attempt(lms.draft(login), state=other.state)


@phrase("tool", rf"(?:a )?state {AGE}")
def state_expired(stage: Stage, length: str = "", old: str = "") -> Came:
    lms = Lms(stage)
    login = lms.login()
    with stage.runtime.db.write() as session:
        age(session.get_one(tables.LmsLogin, identity.token_hash(login.state)), shift(length, old))
    return login.attempt(lms.draft(login))


@phrase(
    "tool",
    r"valid token and state, cookie (?:blocked|missing), no platform storage(?:: a page that offers a new window)?",
)
def no_cookie(stage: Stage) -> Came:
    lms = Lms(stage)
    login = lms.login(Browser(stage, blocks_cookies=True))
    stage.mark()
    response = login.post(lms.draft(login).signed())
    way_out = re.search(r'<a[^>]*href="[^"]*/lti/tool/login[^"]*"[^>]*target="_blank"', response.text)
    return login.verdict(response).but("" if way_out else "no new window is offered")


@phrase("tool", r"valid token and state, cookie (?:blocked|missing), state proved by platform storage")
def platform_storage(stage: Stage) -> Came:
    return _with_storage(stage)


@phrase(
    "tool",
    r"valid token and state, cookie (?:blocked|missing), platform storage (?:holds|has|answers with|with)"
    r" (?P<what>another value|nothing|a foreign value)",
)
def platform_storage_other(stage: Stage, what: str) -> Came:
    return _with_storage(stage, proof="none" if what == "nothing" else "another")


def _with_storage(stage: Stage, proof: str = "") -> Came:
    lms = Lms(stage)
    login = lms.login(Browser(stage, blocks_cookies=True), lti_storage_target="_parent")
    left = _note(login.response)
    token = lms.draft(login).signed()
    stage.mark()
    asked = login.post(token)
    origin = "" if _note(asked).get("origin") == lms.issuer else "the note could be read by another page than the LMS's"
    wrong = "" if _note(asked).get("key") == left.get("key") else "another note is asked for"
    action, fields = form_of_launch(asked)
    kept = {**fields, "flowbridge_proof": proof or left["value"]}
    return login.verdict(login.browser.post(action, kept)).but(origin, wrong)


def _note(response: requests.Response) -> dict[str, str]:
    found = re.search(r"<div data-note ([^>]*)>", response.text)
    return {k: html.unescape(v) for k, v in re.findall(r'data-(\w+)="([^"]*)"', found[1])} if found else {}


def form_of_launch(response: requests.Response) -> tuple[str, dict[str, str]]:
    action, fields = form_of(response)
    assert action == "/lti/tool/launch", f"the page does not go on: {code_of(response)}"
    return action, fields


@phrase(
    "tool",
    r"form_post with error(?: and error_description)? instead of id_token(?: \(markup in it\))?"
    r"(?:: friendly escaped page, no launch)?",
)
def error_posted(stage: Stage) -> Came:
    lms = Lms(stage)
    login = lms.login()
    stage.mark()
    response = login.post(None, error="login_required", error_description=MARKUP)
    return login.verdict(response).but("markup stands in the page as it was sent" if "<b>x" in response.text else "")


@phrase("tool", r"id_token and state in the query of a GET", r"id_token (?:and state )?in the query", r"launch by GET")
def launch_by_get(stage: Stage) -> Came:
    lms = Lms(stage)
    login = lms.login()
    token = stage.secret(lms.draft(login).signed())
    stage.mark()
    return login.verdict(login.browser.get("/lti/tool/launch", params={"id_token": token, "state": login.state}))


@phrase("tool", r"form has (?P<name>id_token|state) twice", r"(?P<name>id_token|state) sent twice")
def field_twice(stage: Stage, name: str) -> Came:
    lms = Lms(stage)
    login = lms.login()
    token = stage.secret(lms.draft(login).signed())
    pairs = [("id_token", token), ("state", login.state)]
    stage.mark()
    return login.verdict(login.browser.post("/lti/tool/launch", [*pairs, pairs[name == "state"]]))


@phrase("tool", r"(?:no|without) id_token", r"form without id_token", r"id_token (?:missing|absent)")
def no_token(stage: Stage) -> Came:
    return Lms(stage).login().attempt(None)


@phrase("tool", r"(?:id_token and state|launch) (?:sent )?as JSON")
def launch_as_json(stage: Stage) -> Came:
    lms = Lms(stage)
    login = lms.login()
    token = stage.secret(lms.draft(login).signed())
    stage.mark()
    return login.verdict(login.browser.post("/lti/tool/launch", json={"id_token": token, "state": login.state}))


@phrase("tool", r"(?:the )?(?:platform|LMS|issuer) (?:is )?(?:disabled|switched off)(?P<when> after the login)?")
def platform_off(stage: Stage, when: str = "") -> Came:
    lms = Lms(stage)
    login = lms.login() if when else None
    with stage.runtime.db.write() as session:
        session.query(tables.Connection).filter_by(name=lms.name).one().enabled = False
    return login.attempt(lms.draft(login)) if login else initiated(stage, lms)


@phrase(
    "tool",
    rf"(?P<many>{COUNT}) (?:logins|launches) (?:side by side|at once) in one browser(?:, finished in any order)?",
)
def side_by_side(stage: Stage, many: str) -> Came:
    lms, browser = Lms(stage), Browser(stage)
    came = [login.attempt(lms.draft(login)) for login in [lms.login(browser) for _ in range(number(many))][::-1]]
    return next((one for one in came if not one.accepted or one.problems), came[0])
