"""The bridge as tool: how it registers itself at an LMS."""

from __future__ import annotations

import re
from typing import Any

from bridge.flows import identity, register_at_platform
from bridge.store import tables
from tests.threats.phrases import AGE, COUNT, Unknown, number, phrase, shift
from tests.threats.platform_side import somebody
from tests.threats.running import Browser, Came, Stage, age, answer, at_once, code_of, form_of, one_wins, refused
from tests.threats.tool_side import Lms

TOOL = "https://purl.imsglobal.org/spec/lti-tool-configuration"


class Registration:
    """An LMS opens the bridge's registration address, which an admin has made."""

    def __init__(self, stage: Stage) -> None:
        stage.runtime.settings = stage.world.settings(allow_private_peers=True)  # the LMS is on this machine
        self.stage, self.peers, self.browser = stage, stage.world.peers, Browser(stage)
        self.base, self.path = self.peers.url, f"/{stage.tag}"
        admin = somebody(stage, role="admin")
        _, person = identity.open_session(stage.runtime, admin.id, via="password")
        invited = register_at_platform.invite(stage.runtime, f"new-{stage.tag}", self.base, person)
        self.ticket = stage.secret(re.findall(r"ticket=([^&]+)", invited.url)[0])
        self.token: str | None = "registration-token-of-the-lms"
        self.configuration: dict[str, Any] = {
            "issuer": f"{self.base}{self.path}",
            "authorization_endpoint": f"{self.base}{self.path}/auth",
            "token_endpoint": f"{self.base}{self.path}/token",
            "jwks_uri": f"{self.base}{self.path}/jwks",
            "registration_endpoint": f"{self.base}{self.path}/register",
            "id_token_signing_alg_values_supported": ["RS256"],
        }
        self.reply: dict[str, Any] = {"client_id": f"client-{stage.tag}", TOOL: {"deployment_id": "1"}}

    def params(self) -> dict[str, str]:
        self.peers.publish(f"{self.path}/config", answer(self.configuration))
        self.peers.publish(f"{self.path}/register", answer(self.reply))
        params = {"openid_configuration": f"{self.base}{self.path}/config", "ticket": self.ticket}
        return params | ({"registration_token": self.token} if self.token else {})

    def run(self, **changes: str | None) -> Came:
        """Open the page and agree: accepted, the LMS was asked once and a connection is kept."""
        params = {name: one for name, one in (self.params() | changes).items() if one is not None}
        self.stage.mark()
        page = self.browser.get("/lti/tool/register", params=params)
        if page.status_code != 200:
            sent = {name: params.get(name, "") for name in ("ticket", "openid_configuration", "registration_token")}
            by_form = self.browser.post("/lti/tool/register", sent)
            called = "the LMS was asked all the same" if self.asked else ""
            return refused(page).but(called, "" if by_form.status_code >= 400 else "the form alone does it")
        early = "the LMS was asked before anybody agreed" if self.asked else ""
        done = self.browser.post(*form_of(page))
        if done.status_code != 200:
            return refused(done).but(early)
        grown = self.stage.grown()
        kept = "" if grown == {"connection": 1} and len(self.asked) == 1 else f"there is more: {grown}"
        return Came(accepted=True).but(early, kept)

    @property
    def asked(self) -> list[Any]:
        return self.peers.received.get(f"{self.path}/register", [])

    def connection(self) -> tables.Connection:
        client = tables.Connection.config["client_id"].as_string() == self.reply["client_id"]
        with self.stage.runtime.db.read() as session:
            found: tables.Connection = session.query(tables.Connection).filter(client).one()
        return found


@phrase("tool", r"registration URL opened(?P<how> with registration_token| without registration_token)?")
def registers(stage: Stage, how: str = "") -> Came:
    lms = Registration(stage)
    lms.token = None if "without" in how else lms.token
    came = lms.run()
    sent = [headers.get("authorization") for headers, _ in lms.asked]
    due = [f"Bearer {lms.token}" if lms.token else None]
    return came.but("" if not came.accepted or sent == due else "the Authorization header is not as it must be")


@phrase("tool", r"openid_configuration host differs from its issuer(?: host|'s host)?")
def registers_elsewhere(stage: Stage) -> Came:
    lms = Registration(stage)
    lms.configuration["issuer"] = "https://other.example.test"
    return lms.run()


@phrase("tool", r"(?:openid_configuration|configuration) (?:without|has no|lacks) (?P<name>\w+)")
def registers_without(stage: Stage, name: str) -> Came:
    lms = Registration(stage)
    if name not in lms.configuration:
        raise Unknown(f"a configuration without {name}")
    del lms.configuration[name]
    return lms.run()


@phrase(
    "tool",
    r"openid_configuration (?:URL )?(?P<how>redirects to another host)",
    r"openid_configuration (?:URL )?(?:answers (?:with )?)?(?P<how>HTML|not JSON|a list|status [45]\d\d|5 MB)",
)
def registers_oddly(stage: Stage, how: str) -> Came:
    lms = Registration(stage)
    params = lms.params()
    replies = {
        "html": answer(b"<html></html>", kind="text/html"),
        "not json": answer(b"{"),
        "a list": answer([]),
        "5 mb": answer({**lms.configuration, "padding": "x" * 5_000_000}),
        "redirects to another host": answer(b"", status=302, Location=f"{lms.base}{lms.path}/elsewhere"),
    }
    stage.world.peers.publish(f"{lms.path}/elsewhere", answer(lms.configuration))
    stage.world.peers.publish(f"{lms.path}/config", replies.get(how.lower(), answer(b"", status=404)))
    stage.mark()
    return refused(lms.browser.get("/lti/tool/register", params=params))


@phrase("tool", r"openid_configuration (?:URL )?(?:on|at|of) an internal address")
def registers_inside(stage: Stage) -> Came:
    lms = Registration(stage)
    stage.runtime.settings = stage.world.settings()
    return lms.run()


@phrase(
    "tool",
    r"registration URL opened (?P<how>without our own one-time ticket)",
    r"registration URL opened with (?P<how>a made-up ticket|an unknown ticket)",
    r"(?:our own one-time|registration) ticket (?P<how>missing|unknown)",
)
def registers_without_ticket(stage: Stage, how: str) -> Came:
    return Registration(stage).run(ticket="x" * 43 if "made" in how or "unknown" in how else None)


_TICKET = r"(?:our (?:own )?(?:one-time )?|registration )ticket"


@phrase(
    "tool",
    rf"{_TICKET} (?:used before|used a second time|reused)",
    r"registration URL opened (?:a second time|twice)(?: with the same ticket)?",
    r"registration URL opened with (?:a used ticket|a ticket (?:that was )?used before)",
)
def registers_twice(stage: Stage) -> Came:
    lms = Registration(stage)
    assert lms.run().accepted
    lms.peers.received.pop(f"{lms.path}/register")
    return lms.run()


@phrase("tool", rf"{_TICKET} {AGE}", rf"registration URL opened with (?:an expired ticket|a ticket {AGE})")
def registers_late(stage: Stage, length: str = "", old: str = "") -> Came:
    lms = Registration(stage)
    with stage.runtime.db.write() as session:
        age(session.get_one(tables.RegistrationTicket, identity.token_hash(lms.ticket)), shift(length, old))
    return lms.run()


@phrase("tool", rf"{_TICKET} (?:used )?(?P<times>{COUNT}) times at once")
def registers_at_once(stage: Stage, times: str) -> Came:
    lms = Registration(stage)
    form = {"registration_token": "", **lms.params()}
    answers = at_once(number(times), lambda _: Browser(stage).post("/lti/tool/register", form))
    came = [Came(accepted=True) if one.status_code == 200 else refused(one) for one in answers]
    return one_wins(came).but("" if len(lms.asked) == 1 else f"the LMS was asked {len(lms.asked)} times")


@phrase("tool", r"the platform's reply has no deployment_id(?:: kept, first launch goes to the pending list)?")
def registers_without_deployment(stage: Stage) -> Came:
    """Kept; then a launch comes, and its deployment waits for approval."""
    lms = Registration(stage)
    lms.reply[TOOL] = {}
    came = lms.run()
    if not came.accepted:
        return came
    row = lms.connection()
    first = Lms.registered(stage, row, f"{lms.path}/jwks")
    login = first.login()
    response = login.post(first.draft(login).signed())
    pending = stage.rows(tables.LmsDeployment, connection_id=row.id)
    listed = [one.deployment_id for one in pending] == ["first"] and code_of(response) == "deployment_pending"
    return came.but("" if listed else "the first launch's deployment does not wait for approval")
