"""The bridge as platform: what tools send to its services."""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

import requests

from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from bridge.web.app import create_app
from tests.ports import free_port
from tests.threats.phrases import AGE, phrase, shift
from tests.threats.platform_side import CLAIM, LINE_ITEM, MEMBERS, RESULT, SCORE, Launch, Tool, claims_of
from tests.threats.platform_tokens import SCOPE, scope_named
from tests.threats.running import Came, Stage, age, call, came_of, refused, serving, together

SCORE_TYPE = "application/vnd.ims.lis.v1.score+json"
ITEM_TYPE = "application/vnd.ims.lis.v2.lineitem+json"
_AGS = "https://purl.imsglobal.org/spec/lti-ags/claim/endpoint"
_NRPS = "https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice"
ABSENT: Any = ...


class Book:
    """A finished launch, seen from the tool that scores it."""

    def __init__(self, stage: Stage, tool: Tool | None = None, system: str = "desk", person: Any = None) -> None:
        self.stage = stage
        launch = Launch(stage, tool, person, system)
        self.tool, self.person = launch.tool, launch.person
        self.id_token = launch.answer(launch.request())[1]["id_token"]
        stage.secret(self.id_token)
        claims = claims_of(self.id_token)
        self.user, self.items = claims["sub"], claims[_AGS]["lineitems"]
        self.item, self.link = claims[_AGS]["lineitem"], claims[f"{CLAIM}resource_link"]["id"]
        self.members = claims[_NRPS]["context_memberships_url"]
        self.bearer = self.tool.bearer(LINE_ITEM, RESULT, SCORE)

    def score(self, **changes: Any) -> dict[str, Any]:
        body = {
            "userId": self.user,
            "timestamp": (now() - dt.timedelta(minutes=1)).isoformat(),
            "activityProgress": "Completed",
            "gradingProgress": "FullyGraded",
            "scoreGiven": 40,
            "scoreMaximum": 50,
        }
        return {name: one for name, one in (body | changes).items() if one is not ABSENT}

    def post(
        self, body: Any, *, headers: Mapping[str, str] | None = None, item: str = "", **options: Any
    ) -> requests.Response:
        content = body if isinstance(body, str | bytes) else written(body)
        sent = {"Content-Type": SCORE_TYPE, **(self.bearer if headers is None else headers)}
        return call(self.stage, "POST", f"{item or self.item}/scores", data=content, headers=sent, **options)

    def result(self, item: str = "") -> list[float]:
        response = call(self.stage, "GET", f"{item or self.item}/results", headers=self.bearer)
        return [row["resultScore"] for row in response.json()]

    def attempt(self, body: Any, *, result: float | None = 80, **options: Any) -> Came:
        """Post a score: accepted, it is seen as the result (None: as none)."""
        self.stage.mark()
        response = self.post(body, **options)
        if response.status_code >= 400:
            return refused(response)
        due = [] if result is None else [result]
        found = self.result(options.get("item", ""))
        return Came(accepted=True).but(
            "" if response.status_code == 200 else f"answered {response.status_code}, and Moodle wants 200",
            "" if found == due else f"the results are {found}, not {due}",
            "" if self.stage.grown().get("score") == 1 else "no score was kept",
        )


def written(body: Any) -> str:
    """JSON, with the numbers in it that JSON does not know."""
    return re.sub(r'"\\u0000raw:([^"]*)"', r"\1", json.dumps(body))


# Bearers


def _reads(book: Book, headers: Mapping[str, str], **options: Any) -> Came:
    """Every service with this header: refused by each, or accepted by each."""
    book.stage.mark()
    answers = [
        book.post(book.score(), headers=headers, **options),
        call(book.stage, "GET", book.items, headers=headers, **options),
        call(book.stage, "GET", f"{book.item}/results", headers=headers, **options),
        call(book.stage, "GET", book.members, headers=headers, **options),
    ]
    came = [came_of(one) for one in answers]
    return together(came)


@phrase("platform", r"(?:no|without(?: an?)?) Authorization header")
def no_bearer(stage: Stage) -> Came:
    return _reads(Book(stage), {})


@phrase(
    "platform",
    r"(?:an? )?(?P<what>id_token|client_assertion|(?:unknown|made-up) access token) as (?:a )?bearer(?: token)?",
    r"access token (?:with|that has) (?P<what>one character changed)",
    r"(?:an? )?(?P<what>unknown access token|access token never given out|made-up access token)",
)
def wrong_bearer(stage: Stage, what: str) -> Came:
    book = Book(stage)
    token = "x" * 43
    if what == "id_token":
        token = book.id_token
    elif what == "client_assertion":
        token = stage.secret(book.tool.assertion().signed())
    elif "changed" in what:
        good = book.bearer["Authorization"].removeprefix("Bearer ")
        token = stage.secret(("A" if good[0] != "A" else "B") + good[1:])
    return _reads(book, {"Authorization": f"Bearer {token}"})


@phrase("platform", r"access token (?:sent )?in the (?P<where>query|form|body)")
def token_elsewhere(stage: Stage, where: str) -> Came:
    book = Book(stage)
    token = book.bearer["Authorization"].removeprefix("Bearer ")
    if where == "query":
        return _reads(book, {}, params={"access_token": token})
    stage.mark()
    return came_of(book.post(f"access_token={token}", headers={"Content-Type": "application/x-www-form-urlencoded"}))


@phrase(
    "platform",
    r"access token (?:sent )?as Basic(?: credentials)?",
    r"Authorization (?:header )?(?:is |of kind )?Basic(?: instead of Bearer)?",
)
def token_as_basic(stage: Stage) -> Came:
    book = Book(stage)
    return _reads(book, {"Authorization": book.bearer["Authorization"].replace("Bearer", "Basic")})


@phrase(
    "platform",
    r"(?:an )?access token (?:past|after) expires_in",
    rf"(?:an )?access token {AGE}",
    r"(?:an )?expired access token",
)
def token_expired(stage: Stage, length: str = "", old: str = "") -> Came:
    book = Book(stage)
    with stage.runtime.db.write() as session:
        for row in session.query(tables.AccessToken).filter_by(connection_id=book.tool.connection_id):
            age(row, shift(length, old))
    return _reads(book, book.bearer)


@phrase("platform", r"(?:an )?access token given before a restart(?:, still inside expires_in)?")
def token_after_restart(stage: Stage) -> Came:
    book, port = Book(stage), free_port()
    again = Runtime.start(stage.world.settings())
    with serving(create_app(again), port):
        elsewhere = f"http://127.0.0.1:{port}" + book.item.removeprefix(stage.issuer)
        came = came_of(book.post(book.score(), item=elsewhere))
    again.db.close()
    return came.but("" if book.result() == [80] else "the score is not there")


@phrase("platform", r"(?:an )?access token of a tool (?:that was )?(?:disabled|switched off)(?: since| after)?")
def token_of_disabled(stage: Stage) -> Came:
    book = Book(stage)
    book.tool.change(enabled=False)
    return _reads(book, book.bearer)


_ACTIONS = {
    r"(?:a )?score POST|posting a score": ("POST", "score"),
    r"(?:a )?line item POST|creating a line item": ("POST", "items"),
    r"(?:a )?line item PUT|changing a line item": ("PUT", "item"),
    r"(?:a )?line item DELETE|deleting a line item": ("DELETE", "item"),
    r"(?:a )?line items? (?:GET|list)|reading (?:a )?line items?": ("GET", "items"),
    r"(?:a )?results? GET|reading (?:the )?results": ("GET", "results"),
    r"(?:a )?(?:names and roles|memberships?)(?: GET| call)?|reading (?:the )?members": ("GET", "members"),
}
_ACTION = "|".join(_ACTIONS)


@phrase(
    "platform",
    rf"(?:an? )?(?P<scope>{SCOPE})(?: scope)? token on (?P<action>{_ACTION})",
    rf"(?P<action>{_ACTION}) with (?:an? )?(?P<scope>{SCOPE})(?: scope)? token",
)
def scope_on_action(stage: Stage, scope: str, action: str) -> Came:
    book = Book(stage)
    book.bearer = book.tool.bearer(scope_named(scope))
    method, what = next(found for pattern, found in _ACTIONS.items() if re.fullmatch(pattern, action, re.IGNORECASE))
    stage.mark()
    if what == "score":
        return came_of(book.post(book.score()))
    url = {"items": book.items, "item": book.item, "results": f"{book.item}/results", "members": book.members}[what]
    body = written({"label": "x", "scoreMaximum": 10}) if method in ("POST", "PUT") else None
    headers = {**book.bearer, "Content-Type": ITEM_TYPE}
    return came_of(call(stage, method, url, data=body, headers=headers))


@phrase("platform", r"score to a line item of another context of the same tool(?:, same token)?")
def score_in_other_context(stage: Stage) -> Came:
    book = Book(stage)
    other = Book(stage, book.tool, "crm")
    other.bearer = book.bearer
    return other.attempt(other.score())


@phrase(
    "platform",
    r"(?:an? )?(?:access )?token of (?:one|another) tool on (?:a|the) line item of (?:another|one)(?: tool)?",
    r"(?:score to|reads|changes|deletes)? ?(?:a )?line item of another tool",
    r"(?:an? )?(?:access )?token of tool A on (?:a |the )?line item of tool B",
    r"(?:an? )?(?:access )?token (?:of|given to) another tool(?: on a line item)?",
)
def line_item_of_other(stage: Stage) -> Came:
    book, other = Book(stage), Book(stage, Tool(stage, key="other tool"))
    stage.mark()
    headers = {**book.bearer, "Content-Type": ITEM_TYPE}
    body = written({"label": "mine", "scoreMaximum": 1})
    answers = [book.post(other.score(), item=other.item), call(stage, "GET", other.item, headers=headers)]
    answers += [
        call(stage, "PUT", other.item, data=body, headers=headers),
        call(stage, "GET", f"{other.item}/results", headers=headers),
    ]
    answers += [call(stage, "DELETE", other.item, headers=headers)]
    came = [came_of(one) for one in answers]
    return together(came)


@phrase("platform", r"names and roles of a context (?:the tool is not in|of another tool|that is not there)")
def members_elsewhere(stage: Stage) -> Came:
    book, other = Book(stage), Book(stage, Tool(stage, key="other tool"))
    headers = book.tool.bearer(MEMBERS)
    stage.mark()
    return came_of(call(stage, "GET", other.members, headers=headers))


@phrase("platform", r"rlid (?:of another tool's link|of a link of another tool|(?P<how>unknown|of nobody|not there))")
def members_of_other_link(stage: Stage, how: str = "") -> Came:
    book, other = Book(stage), Book(stage, Tool(stage, key="other tool"))
    rlid = str(uuid.uuid4()) if how else other.link
    headers = book.tool.bearer(MEMBERS)
    known = call(stage, "GET", book.members, headers=headers, params={"rlid": book.link})
    stage.mark()
    came = came_of(call(stage, "GET", book.members, headers=headers, params={"rlid": rlid}))
    return came.but("" if known.status_code == 200 else f"its own link is answered with {known.status_code}")


@phrase("platform", r"names and roles of (?:the tool's own|its own) context")
def members_here(stage: Stage) -> Came:
    book = Book(stage)
    response = call(stage, "GET", book.members, headers=book.tool.bearer(MEMBERS))
    listed = [member["user_id"] for member in response.json().get("members", [])]
    return came_of(response).but("" if listed == [book.user] else f"listed are {listed}")
