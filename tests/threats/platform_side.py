"""The bridge as platform: launches of tools, and the tokens that tools ask for."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Mapping
from typing import Any

import requests

from bridge.flows import identity, open_launch
from bridge.store import now, tables
from bridge.web.auth import SESSION_COOKIE
from tests.threats.running import Browser, Came, Stage, call, code_of, form_of, in_brackets, refused
from tests.threats.signing import Draft, clock, jwk, rsa_key

AGS = "https://purl.imsglobal.org/spec/lti-ags/scope/"
LINE_ITEM, LINE_ITEM_READ, RESULT, SCORE = (
    AGS + name for name in ("lineitem", "lineitem.readonly", "result.readonly", "score")
)
MEMBERS = "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"


def claims_of(token: str) -> dict[str, Any]:
    """The claims of a token that was just got, unverified."""
    from base64 import urlsafe_b64decode

    found: dict[str, Any] = json.loads(urlsafe_b64decode(token.split(".")[1] + "=="))
    return found


class Tool:
    """A tool that is registered here, with a key and addresses of its own."""

    kid = "k1"

    def __init__(self, stage: Stage, *, key: str = "tool", **config: Any) -> None:
        self.stage, self.key = stage, rsa_key(key)
        self.name = f"tool-{uuid.uuid4().hex[:8]}"
        self.client_id, self.origin = f"client-of-{self.name}", f"https://{self.name}.example.test"
        self.redirect_uri = f"{self.origin}/launch?tool=7"
        settings = {
            "client_id": self.client_id,
            "initiate_login_uri": f"{self.origin}/login",
            "redirect_uris": [self.redirect_uri, f"{self.origin}/other"],
            "target_link_uri": f"{self.origin}/quiz",
            "jwks": {"keys": [jwk(self.key, self.kid)]},
            "scopes": [LINE_ITEM, LINE_ITEM_READ, RESULT, SCORE, MEMBERS],
        }
        told = {name: value for name, value in (settings | config).items() if value is not None}
        row = tables.Connection(name=self.name, connector="lti_tool", config=told)
        self.connection_id: int = stage.add(row).id
        self.asset = self.add_asset()

    def add_asset(self) -> uuid.UUID:
        asset = tables.Asset(
            id=uuid.uuid4(),
            connection_id=self.connection_id,
            external_id=f"quiz-{uuid.uuid4().hex[:6]}",
            kind="quiz",
            title="The quiz",
            summary="Five questions",
            language="en",
            tags=[],
            activity_id=f"https://bridge.example.test/assets/{uuid.uuid4()}",
            opening={"how": "lti"},
            fingerprint="0",
        )
        made: uuid.UUID = self.stage.add(asset).id
        return made

    def change(self, *, enabled: bool = True, **config: Any) -> None:
        with self.stage.runtime.db.write() as session:
            row = session.get_one(tables.Connection, self.connection_id)
            row.config, row.enabled = {**row.config, **config}, enabled

    def assertion(self, **changes: Any) -> Draft:
        at = clock()
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": f"{self.stage.issuer}/lti/token",
            "iat": at,
            "exp": at + 60,
            "jti": uuid.uuid4().hex,
        }
        return Draft({"alg": "RS256", "typ": "JWT", "kid": self.kid}, claims | changes, self.key)

    def token_form(self, draft: Draft | str, scope: str = SCORE, **changes: str | None) -> dict[str, str]:
        assertion = draft if isinstance(draft, str) else draft.signed()
        form: dict[str, str | None] = {
            "grant_type": "client_credentials",
            "client_assertion_type": JWT_BEARER,
            "client_assertion": self.stage.secret(assertion),
            "scope": scope,
        }
        return {name: value for name, value in (form | changes).items() if value is not None}

    def ask(self, form: Mapping[str, str], **options: Any) -> requests.Response:
        response = call(self.stage, "POST", "/lti/token", **(options or {"data": dict(form)}))
        if response.status_code == 200:
            self.stage.secret(response.json()["access_token"])
        return response

    def bearer(self, *scopes: str) -> dict[str, str]:
        """The Authorization header of a new token."""
        response = self.ask(self.token_form(self.assertion(), " ".join(scopes or (LINE_ITEM, RESULT, SCORE))))
        assert response.status_code == 200, f"a good assertion was refused: {code_of(response)}"
        return {"Authorization": f"Bearer {response.json()['access_token']}"}


def somebody(stage: Stage, role: str = "") -> tables.Person:
    key = f"P-{uuid.uuid4().hex[:8]}"
    person = tables.Person(
        key=key, name=f"Sam {key}", email=f"{key}@example.test", role=role, password_hash="x", attributes={}
    )
    made: tables.Person = stage.add(person)
    return made


def browser_of(stage: Stage, person: tables.Person) -> Browser:
    """A browser in which somebody is signed in."""
    token, _ = identity.open_session(stage.runtime, person.id, via="password")
    stage.secret(token)
    return Browser(stage, {SESSION_COOKIE: token})


def prompt_for(stage: Stage, person: tables.Person, asset: uuid.UUID, system: str = "desk") -> uuid.UUID:
    """A prompt that offers the asset to the person, after an event in that system."""
    desk, rule = stage.rows(tables.Connection, name=system)[0].id, stage.rows(tables.Rule, name="quiz")[0].id
    event = tables.Event(
        id=uuid.uuid4(),
        connection_id=desk,
        external_id=uuid.uuid4().hex,
        type="desk.opportunity.created",
        source="https://desk.example.test",
        subject="opportunity,42",
        time=now() - dt.timedelta(minutes=1),
        data={},
        people={},
        due_at=None,
    )
    prompt = tables.Prompt(
        id=uuid.uuid4(),
        event=event,
        rule_id=rule,
        rule_version=1,
        person_id=person.id,
        asset_id=asset,
        offered=True,
        reason="offered",
        say="Take the quiz",
    )
    made: uuid.UUID = stage.add(prompt).id
    return made


class Launch:
    """A launch under way: somebody has opened a contextual link, and the tool got the login initiation."""

    def __init__(
        self, stage: Stage, tool: Tool | None = None, person: tables.Person | None = None, system: str = "desk"
    ) -> None:
        self.stage, self.tool = stage, tool or Tool(stage)
        self.person = person or somebody(stage)
        self.browser = browser_of(stage, self.person)
        self.ticket = open_launch.ticket_for(stage.runtime, prompt_for(stage, self.person, self.tool.asset, system))
        page = open_link(self.browser, self.ticket)
        _, self.fields = form_of(page)
        assert "lti_message_hint" in self.fields, f"the launch did not begin: {code_of(page)}"

    def request(self, **changes: str | None) -> dict[str, str]:
        """The authentication request that the tool makes of the initiation."""
        echoed = {name: self.fields[name] for name in ("client_id", "login_hint", "lti_message_hint")}
        params: dict[str, str | None] = {
            "scope": "openid",
            "response_type": "id_token",
            "response_mode": "form_post",
            "prompt": "none",
            "redirect_uri": self.tool.redirect_uri,
            "state": "state-1",
            "nonce": "nonce-1",
            **echoed,
        }
        return {name: value for name, value in (params | changes).items() if value is not None}

    def claims(self) -> dict[str, Any]:
        """Go on to the end: the claims that the tool gets."""
        _, fields = self.answer(self.request())
        assert "id_token" in fields, f"a good launch was refused: {fields}"
        return claims_of(fields["id_token"])

    def answer(self, params: Mapping[str, str], browser: Browser | None = None) -> tuple[str, dict[str, str]]:
        """The form that the browser would post to the tool."""
        return form_of(self.send(params, browser=browser))

    def send(self, params: Any, *, browser: Browser | None = None, method: str = "GET") -> requests.Response:
        """Send a request; a page of ours that has the browser repeat it is obeyed."""
        browser = browser or self.browser
        where = {"params": params} if method == "GET" else {"data": params}
        response = browser.send(method, "/lti/authorize", **where)
        action, fields = form_of(response)
        if action == "/lti/authorize":
            response = browser.post(action, fields)
        return response

    def attempt(self, params: Any, **options: Any) -> Came:
        """The verdict over an authentication request."""
        self.stage.mark()
        return self.verdict(params, self.send(params, **options))

    def verdict(self, params: Any, response: requests.Response) -> Came:
        action, fields = form_of(response)
        sent = dict(params)
        if "id_token" in fields:
            self.stage.secret(fields["id_token"])
            claims = claims_of(fields["id_token"])
            return Came(accepted=True).but(
                "" if action in (self.tool.redirect_uri, f"{self.tool.origin}/other") else f"posted to {action}",
                "" if fields.get("state") == sent.get("state") else "state is not echoed",
                "" if claims["nonce"] == sent.get("nonce") else "nonce is not echoed",
            )
        if "error" in fields:
            wrong = "" if action == self.tool.redirect_uri else f"an error was posted to {action}"
            state = "" if fields.get("state") == sent.get("state") else "state is not echoed"
            return Came(accepted=False, code=in_brackets(fields.get("error_description", ""))).but(wrong, state)
        foreign = action and not action.startswith(("/", self.stage.issuer))
        return refused(response).but(f"the error page posts to {action}" if foreign else "")


def open_link(browser: Browser, ticket: str) -> requests.Response:
    """Look at a contextual link and open it, if the page offers that."""
    browser.stage.secrets.add(ticket)
    _, fields = form_of(browser.get(f"/go/{ticket}"))
    return browser.post(f"/go/{ticket}", {"csrf": fields.get("csrf", "")})
