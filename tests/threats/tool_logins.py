"""The bridge as tool: login initiations."""

from __future__ import annotations

import re
import time
from unittest import mock

import requests

from bridge.lti.tool import logins
from bridge.store import tables
from tests.threats.phrases import COUNT, MANGLED, mangled, number, phrase
from tests.threats.running import Came, Stage, call, refused
from tests.threats.tool_side import Lms

ODD = "a b+c%2F%20\"'<b>&amp;ü☃"


def initiated(stage: Stage, lms: Lms, *, method: str = "POST", **changes: str | None) -> Came:
    """Accepted: the browser goes to the registered address with all that the LMS needs; then the launch must work."""
    before = stage.count(tables.LmsLogin)
    login = lms.login(method=method, **changes)
    if not login.begun:
        more = stage.count(tables.LmsLogin) - before
        came = refused(login.response)
        return came.but(f"a redirect to {login.url}" if login.url else "", "a login was kept" if more else "")
    due = {"scope": "openid", "response_type": "id_token", "response_mode": "form_post", "prompt": "none"}
    due |= {"client_id": lms.client_id, "redirect_uri": lms.target}
    sent = lms.initiation(**changes)
    due |= {name: sent[name] for name in ("login_hint", "lti_message_hint") if name in sent}
    wrong = sorted(name for name, value in due.items() if login.params.get(name) != value)
    came = login.attempt(lms.draft(login))
    return Came(accepted=True, problems=came.problems).but(
        "" if came.accepted else f"the login was begun, and its launch refused ({came.code})",
        f"not as it must be in the request: {', '.join(wrong)}" if wrong else "",
    )


@phrase("tool", r"login initiation by (?P<method>GET|POST)")
def login_by(stage: Stage, method: str) -> Came:
    return initiated(stage, Lms(stage), method=method.upper())


@phrase("tool", r"iss (?:is )?not registered", r"(?:login )?iss (?:unknown|of nobody)")
def login_unknown(stage: Stage) -> Came:
    return initiated(stage, Lms(stage), iss="https://nobody.example.test")


@phrase("tool", r"client_id (?:is )?(?:not registered|unknown|of nobody)(?: (?:for|at) (?:the|this) iss(?:uer)?)?")
def login_unknown_client(stage: Stage) -> Came:
    return initiated(stage, Lms(stage), client_id="nobody")


@phrase("tool", rf"(?P<name>client_id|target_link_uri) (?P<how>{MANGLED})")
def login_mangled(stage: Stage, name: str, how: str) -> Came:
    lms = Lms(stage)
    return initiated(stage, lms, **{name: mangled(lms.initiation()[name], how)})


@phrase(
    "tool",
    r"client_id (?:absent|missing), (?P<how>one registration|two registrations|several registrations) for the iss",
)
def login_without_client(stage: Stage, how: str) -> Came:
    lms = Lms(stage)
    if how != "one registration":
        Lms(stage, issuer=lms.issuer)
    return initiated(stage, lms, client_id=None)


@phrase("tool", r"(?:login initiation with )?lti_storage_target(?: _parent)?(?: is)?(?: given| sent)?")
def login_with_storage(stage: Stage) -> Came:
    return initiated(stage, Lms(stage), lti_storage_target="_parent")


@phrase("tool", r"client_id given, (?:two|several) registrations for the iss")
def login_with_client(stage: Stage) -> Came:
    lms = Lms(stage)
    Lms(stage, issuer=lms.issuer)
    return initiated(stage, lms)


@phrase(
    "tool",
    r"(?P<name>login_hint|target_link_uri|lti_message_hint) (?P<how>missing|absent|empty)"
    r"(?: in the login(?: initiation)?)?",
    r"login(?: initiation)? without (?P<name>login_hint|target_link_uri|iss|lti_message_hint|client_id)",
    r"(?P<name>iss) (?P<how>missing|absent|empty)(?: in the login(?: initiation)?)?",
)
def login_without(stage: Stage, name: str, how: str = "missing") -> Came:
    return initiated(stage, Lms(stage), **{name: "" if how == "empty" else None})


_TARGETS = {
    "on another host": "https://evil.example.test/lti/tool/launch",
    "//evil": "//evil.example.test/lti/tool/launch",
    "javascript:": "javascript:alert(1)",
    "data:": "data:text/html,x",
    "with another scheme": "",
    "with another port": "",
    "with a path part added": "",
    "with another path": "",
    "that is not ours": "https://evil.example.test/",
}


@phrase("tool", rf"target_link_uri (?P<how>{'|'.join(map(re.escape, _TARGETS))})")
def login_elsewhere(stage: Stage, how: str) -> Came:
    lms = Lms(stage)
    own = {"with another scheme": lms.target.replace("http:", "ftp:"), "with a path part added": lms.target + "/more"}
    own |= {
        "with another port": lms.target.replace(f":{stage.world.port}", ":1"),
        "with another path": stage.issuer + "/x",
    }
    return initiated(stage, lms, target_link_uri=_TARGETS[how.lower()] or own[how.lower()])


_KINDS = r"blanks?|plus|percent|quotes?|non-ASCII|markup|ampersands?"


@phrase(
    "tool",
    rf"(?P<names>(?:login_hint|lti_message_hint)(?: and lti_message_hint)?) with"
    rf" (?:{_KINDS})(?:(?:, | and )(?:{_KINDS}))*",
)
def login_odd(stage: Stage, names: str) -> Came:
    return initiated(stage, Lms(stage), **{name: f"{ODD} {name}" for name in names.split(" and ")})


@phrase("tool", rf"(?P<many>{COUNT}) logins from one address(?:: throttled(?:, no unbounded rows)?)?")
def login_flood(stage: Stage, many: str) -> Came:
    """All in one moment, as many as it takes until one is refused, and then some more: those leave nothing behind."""
    lms, most, moment = Lms(stage), number(many), time.monotonic()
    with mock.patch.object(logins._THROTTLE, "_clock", lambda: moment):
        begun = next((count for count in range(most) if _asked(lms).status_code != 302), most)
        if begun == most:
            return Came(accepted=True).but(f"{most} logins were all begun")
        rows = stage.count(tables.LmsLogin)
        more = [_asked(lms) for _ in range(100)]
    let_in, kept = [one.status_code for one in more].count(302), stage.count(tables.LmsLogin) - rows
    status = "" if more[-1].status_code == 429 else f"answered {more[-1].status_code}, not 429"
    return refused(more[-1]).but(status, f"{let_in} of 100 more were begun, {kept} are kept" if let_in or kept else "")


def _asked(lms: Lms) -> requests.Response:
    headers = {"Accept": "text/html"}
    return call(lms.stage, "GET", "/lti/tool/login", params=lms.initiation(), headers=headers)
