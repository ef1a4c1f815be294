"""The bridge as platform: what tools answer when an admin chooses content in them (deep linking)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import requests

from bridge.flows import identity
from bridge.store import tables
from bridge.web.auth import SESSION_COOKIE
from tests.threats.phrases import AGE, COUNT, number, phrase, shift
from tests.threats.platform_side import CLAIM, Tool, browser_of, claims_of, somebody
from tests.threats.running import Browser, Came, Stage, age, at_once, came_of, form_of, one_wins, refused
from tests.threats.signing import Draft, clock, rsa_key

DL = "https://purl.imsglobal.org/spec/lti-dl/claim/"


class Choice:
    """An admin chooses content in a tool: the tool was asked, and can answer."""

    def __init__(self, stage: Stage, tool: Tool | None = None, *, multiple: bool = True) -> None:
        self.stage, self.tool = stage, tool or Tool(stage)
        self.browser = browser_of(stage, somebody(stage, role="admin"))
        token = identity.token_hash(self.browser.cookies[SESSION_COOKIE])
        form = {"csrf": stage.rows(tables.SignInSession, token_hash=token)[0].csrf} | (
            {} if multiple else {"one": "true"}
        )
        page = self.browser.post(f"/console/connections/{self.tool.name}/choose", form)
        _, start = form_of(page)
        request = {name: start[name] for name in ("client_id", "login_hint", "lti_message_hint")}
        request |= {"scope": "openid", "response_type": "id_token", "response_mode": "form_post", "prompt": "none"}
        request |= {"redirect_uri": self.tool.redirect_uri, "state": "s", "nonce": "n"}
        self.id_token = stage.secret(form_of(self.browser.get("/lti/authorize", params=request))[1]["id_token"])
        self.claims = claims_of(self.id_token)
        self.settings = self.claims[f"{DL}deep_linking_settings"]

    def item(self, **members: Any) -> dict[str, Any]:
        return {"type": "ltiResourceLink", "title": "A quiz", "url": f"{self.tool.origin}/quiz?id=3", **members}

    def response(self, *items: Any, **changes: Any) -> Draft:
        at = clock()
        claims = {
            "iss": self.tool.client_id,
            "aud": self.stage.issuer,
            "iat": at,
            "exp": at + 300,
            "nonce": uuid.uuid4().hex,
            f"{CLAIM}message_type": "LtiDeepLinkingResponse",
            f"{CLAIM}version": "1.3.0",
            f"{CLAIM}deployment_id": self.claims[f"{CLAIM}deployment_id"],
            f"{DL}data": self.settings["data"],
            f"{DL}content_items": list(items or [self.item()]),
        }
        return Draft({"alg": "RS256", "typ": "JWT", "kid": self.tool.kid}, claims | changes, self.tool.key)

    def send(self, token: str, browser: Browser | None = None) -> requests.Response:
        browser = browser or self.browser
        return browser.post(self.settings["deep_link_return_url"], {"JWT": self.stage.secret(token)})

    def answered(self) -> list[Any]:
        rows = self.stage.rows(tables.ContentSelection, connection_id=self.tool.connection_id)
        return sorted((str(row.id), row.chosen) for row in rows if row.answered_at is not None)

    def attempt(self, answer: Draft | str, browser: Browser | None = None) -> Came:
        """The verdict over an answer: accepted, the admin sees what was chosen."""
        before = self.answered()
        self.stage.mark()
        response = self.send(answer if isinstance(answer, str) else answer.signed(), browser)
        if response.status_code != 303:
            return refused(response).but("" if self.answered() == before else "the selection was answered")
        page = self.browser.follow(response)
        return Came(accepted=True).but(
            "" if page.status_code == 200 else f"the admin sees {page.status_code}",
            "" if len(self.answered()) == len(before) + 1 else "no selection was answered",
            "markup stands in the page as it was sent" if "<b>x" in page.text else "",
        )


@phrase(
    "platform",
    r"nothing: RS256, iss = client_id, aud = issuer, data echoed",
    r"nothing: (?:a )?(?:valid )?deep linking response",
)
def response_good(stage: Stage) -> Came:
    choice = Choice(stage)
    return choice.attempt(choice.response())


@phrase("platform", r"(?P<name>aud|iss) (?:is |of )(?:another platform|somebody else|nobody)")
def response_party(stage: Stage, name: str) -> Came:
    choice = Choice(stage)
    return choice.attempt(choice.response(**{name: "https://nobody.example.test"}))


@phrase("platform", r"aud is a list holding our issuer")
def response_aud_list(stage: Stage) -> Came:
    choice = Choice(stage)
    return choice.attempt(choice.response(aud=[stage.issuer]))


_RESPONSE_CLAIMS = {
    "content_items": f"{DL}content_items",
    "data": f"{DL}data",
    "deployment_id": f"{CLAIM}deployment_id",
    "message_type": f"{CLAIM}message_type",
    "version": f"{CLAIM}version",
    "nonce": "nonce",
}


@phrase(
    "platform",
    rf"(?P<name>{'|'.join(_RESPONSE_CLAIMS)})(?: claim)? (?:is )?(?P<how>missing|absent)(?: although it was sent)?",
    rf"(?:no|without) (?P<name>{'|'.join(_RESPONSE_CLAIMS)})(?: claim)?",
    r"(?P<name>data|content_items)(?: claim)? (?:is )?(?P<how>null|an empty list|not a list|an object|a text)",
)
def response_claim_missing(stage: Stage, name: str, how: str = "missing") -> Came:
    choice = Choice(stage)
    draft = choice.response()
    claim = _RESPONSE_CLAIMS[name.lower()]
    values: dict[str, Any] = {
        "null": None,
        "an empty list": [],
        "not a list": {"a": 1},
        "an object": {"a": 1},
        "a text": "x",
    }
    if how in values:
        draft.claims[claim] = values[how]
    else:
        del draft.claims[claim]
    return choice.attempt(draft)


@phrase("platform", r"(?:deep linking response )?signed with another(?: tool's)? key(?:, right kid)?")
def response_by_other_key(stage: Stage) -> Came:
    choice = Choice(stage)
    draft = choice.response()
    draft.key = rsa_key("other tool")
    return choice.attempt(draft)


@phrase("platform", r"deployment_id (?:of another deployment|unknown|changed)")
def response_of_other_deployment(stage: Stage) -> Came:
    choice = Choice(stage)
    choice.tool.change(deployments={"other": []})
    return choice.attempt(choice.response(**{f"{CLAIM}deployment_id": "other"}))


@phrase("platform", r"version (?:is )?'?(?P<version>[\d.]+)'?")
def response_version(stage: Stage, version: str) -> Came:
    choice = Choice(stage)
    return choice.attempt(choice.response(**{f"{CLAIM}version": version}))


@phrase("platform", r"message_type (?:is )?'?(?P<kind>Lti\w+|Foo|not on the list)'?")
def response_kind(stage: Stage, kind: str) -> Came:
    choice = Choice(stage)
    return choice.attempt(choice.response(**{f"{CLAIM}message_type": kind}))


@phrase("platform", r"data of another (?:administrator|admin|person|session)(?:'s open selection)?")
def data_of_other(stage: Stage) -> Came:
    choice = Choice(stage)
    other = Choice(stage, choice.tool)
    return choice.attempt(choice.response(**{f"{DL}data": other.settings["data"]}))


@phrase("platform", r"data of (?:a|another) (?:selection in another tool|tool's (?:open )?selection)")
def data_of_other_tool(stage: Stage) -> Came:
    choice, other = Choice(stage), Choice(stage, Tool(stage, key="other tool"))
    return choice.attempt(choice.response(**{f"{DL}data": other.settings["data"]}), other.browser)


@phrase(
    "platform",
    r"data (?:whose selection is finished|used before)",
    r"(?:the same )?(?:deep linking )?(?:response|JWT) (?:a second time|twice|again|used before)",
)
def data_used(stage: Stage) -> Came:
    choice = Choice(stage)
    assert choice.attempt(choice.response()).accepted
    return choice.attempt(choice.response(choice.item(title="Another")))


@phrase("platform", rf"data (?:whose selection (?:has )?)?{AGE}")
def data_expired(stage: Stage, length: str = "", old: str = "") -> Came:
    choice = Choice(stage)
    with stage.runtime.db.write() as session:
        for row in session.query(tables.ContentSelection).filter_by(connection_id=choice.tool.connection_id):
            age(row, shift(length, old))
    return choice.attempt(choice.response())


@phrase("platform", rf"(?:the same )?(?:deep linking )?response (?P<times>{COUNT}) times at once")
def response_at_once(stage: Stage, times: str) -> Came:
    choice = Choice(stage)
    token = choice.response().signed()
    stage.unmark()
    answers = at_once(number(times), lambda _: choice.send(token))
    return one_wins([came_of(one) for one in answers])


@phrase("platform", r"nonce used before")
def response_nonce_used(stage: Stage) -> Came:
    choice = Choice(stage)
    first = choice.response()
    assert choice.attempt(first).accepted
    again = Choice(stage, choice.tool)
    return again.attempt(again.response(nonce=first.claims["nonce"]))


@phrase("platform", r"data with one character changed")
def data_changed(stage: Stage) -> Came:
    choice = Choice(stage)
    data = choice.settings["data"]
    other = data[:-1] + ("A" if data[-1] != "A" else "B")
    return choice.attempt(choice.response(**{f"{DL}data": other}))


@phrase("platform", r"our own id_token posted as JWT")
def response_is_ours(stage: Stage) -> Came:
    choice = Choice(stage)
    return choice.attempt(choice.id_token)


@phrase("platform", r"JWT (?:is )?(?P<how>missing|empty|the text '[^']*'|not a JWT)")
def response_malformed(stage: Stage, how: str) -> Came:
    choice = Choice(stage)
    return choice.attempt({"missing": "", "empty": "", "not a JWT": "abc"}.get(how, how[10:-1]))


@phrase(
    "platform",
    r"(?:deep linking )?response (?:posted|sent|finished) in (?P<how>another browser)",
    r"(?:deep linking )?response (?:posted|sent|finished) in (?P<how>a browser that is not (?:logged|signed) in)",
    r"(?:deep linking )?response (?:posted|sent) by (?P<how>another administrator|another admin)",
)
def response_elsewhere(stage: Stage, how: str) -> Came:
    choice = Choice(stage)
    other = browser_of(stage, somebody(stage, role="admin")) if "another" in how else Browser(stage)
    stage.mark()
    response = choice.send(choice.response().signed(), other)
    action, fields = form_of(response)
    if action == "/lti/deeplink/return":
        response = other.post(action, fields)
    return came_of(response)


_ITEMS: dict[str, Callable[[Choice], list[Any]]] = {
    r"(?:a |an )?(?:content )?item of an unknown type(?:: that item is left out, or all refused)?": lambda c: [
        {"type": "x"}
    ],
    r"(?:an? |the )?(?:content )?item (?:without|has no) (?:a )?type": lambda c: [{"title": "x"}],
    r"a type that accept_types did not name": lambda c: [{"type": "file", "url": f"{c.tool.origin}/x"}],
    r"(?:an? )?item url outside the tool's domain": lambda c: [c.item(url="https://evil.example.test/x")],
    r"(?:an? )?item url javascript:": lambda c: [c.item(url="javascript:alert(1)")],
    r"(?:an? )?item url data:": lambda c: [c.item(url="data:text/html,<script>alert(1)</script>")],
    r"(?:an? )?item url file:": lambda c: [c.item(url="file:///etc/passwd")],
    r"(?:an? )?item url //evil": lambda c: [c.item(url="//evil.example.test/")],
    r"an html item(?: with script)?(?:: not asked for)?": lambda c: [
        {"type": "html", "html": "<script>alert(1)</script>"}
    ],
    r"custom values that are objects(?: or numbers)?": lambda c: [c.item(custom={"a": {"b": 1}})],
    r"custom values that are numbers": lambda c: [c.item(custom={"a": 7})],
    r"custom values that are lists": lambda c: [c.item(custom={"a": ["b"]})],
    r"custom (?:is )?a list(?: with values)?": lambda c: [c.item(custom=["b"])],
    r"(?:an? )?(?:item )?title with (?:markup|html)": lambda c: [c.item(title="<b>x</b><script>alert(1)</script>")],
    r"(?:item )?title (?:is )?(?:a number|an object)": lambda c: [c.item(title=7)],
    r"(?:item )?text (?:is )?null": lambda c: [c.item(text=None)],
    r"lineItem (?:with )?(?:scoreMaximum )?(?:negative|0|zero)": lambda c: [c.item(lineItem={"scoreMaximum": -1})],
    r"(?:an? )?item (?:is )?a text(?: instead of an object)?": lambda c: ["x"],
    r"(?:an? )?item with (?:a )?lineItem": lambda c: [c.item(lineItem={"scoreMaximum": 10, "label": "Quiz"})],
    r"one item": lambda c: [c.item()],
    r"two items(?: (?:and|though) accept_multiple was true)?": lambda c: [c.item(), c.item(title="Another")],
}


@phrase("platform", rf"(?P<what>{'|'.join(_ITEMS)})")
def items(stage: Stage, what: str) -> Came:
    made = next(make for pattern, make in _ITEMS.items() if re.fullmatch(pattern, what, re.IGNORECASE))
    choice = Choice(stage)
    both = "objects or numbers" in what
    came = choice.attempt(choice.response(*made(choice)))
    if both and not came.accepted:
        return choice.attempt(choice.response(choice.item(custom={"a": 7})))
    return came


@phrase("platform", r"two items though accept_multiple was false")
def two_items(stage: Stage) -> Came:
    choice = Choice(stage, multiple=False)
    return choice.attempt(choice.response(choice.item(), choice.item(title="Another")))


@phrase("platform", rf"(?P<many>{COUNT}) items", r"a title of (?P<size>\d+) (?P<unit>[KM])i?B")
def items_huge(stage: Stage, many: str = "1", size: str = "", unit: str = "") -> Came:
    choice = Choice(stage)
    title = "x" * (int(size) * 1024 ** (1 if unit == "K" else 2)) if size else "A quiz"
    return choice.attempt(choice.response(*([choice.item(title=title)] * number(many))))
