"""The bridge as tool: an LMS that launches it, and the tokens and key sets of that LMS."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests

from bridge.store import tables
from bridge.web.auth import SESSION_COOKIE
from tests.threats.cases import Case
from tests.threats.changes import edited, key_set, signer, variants
from tests.threats.phrases import Attempt
from tests.threats.running import Browser, Came, Reply, Stage, answer, refused
from tests.threats.signing import Draft, clock, jwk, rsa_key

CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
DL_SETTINGS = "https://purl.imsglobal.org/spec/lti-dl/claim/deep_linking_settings"
LEARNER = "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"
INSTRUCTOR = "http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor"
MARKUP = "<b>x</b><script>alert(1)</script>"


class Lms:
    """An LMS that is registered here, with a key set over HTTP."""

    kid = "lms-1"

    def __init__(self, stage: Stage, *, key: str = "lms", **config: Any) -> None:
        self.stage, self.key = stage, rsa_key(key)
        self.name = f"lms-{uuid.uuid4().hex[:8]}"
        self.issuer, self.client_id = f"https://{self.name}.example.test", f"flowbridge-at-{self.name}"
        self.path, self.deployment = f"/{self.name}/jwks", "1"
        settings = {
            "issuer": self.issuer,
            "client_id": self.client_id,
            "auth_login_url": f"{self.issuer}/auth?x=1",
            "auth_token_url": f"{self.issuer}/token",
            "jwks_uri": stage.world.peers.url + self.path,
            "deployment_ids": [self.deployment],
        }
        self.issuer = config.get("issuer", self.issuer)
        self.publish(jwk(self.key, self.kid))
        stage.add(tables.Connection(name=self.name, connector="lti_platform", config=settings | config))

    @classmethod
    def registered(cls, stage: Stage, row: tables.Connection, path: str) -> Lms:
        """The one of a connection that is there already, with its key set at that path."""
        lms = cls.__new__(cls)
        lms.stage, lms.key, lms.name, lms.path, lms.deployment = stage, rsa_key("lms"), row.name, path, "first"
        lms.issuer, lms.client_id = row.config["issuer"], row.config["client_id"]
        lms.publish(jwk(lms.key, lms.kid))
        return lms

    def publish(self, *keys: Any) -> None:
        self.stage.world.peers.publish(self.path, answer({"keys": list(keys)}))

    def answers(self, reply: Reply) -> None:
        self.stage.world.peers.publish(self.path, reply)

    @property
    def fetches(self) -> int:
        return self.stage.world.peers.asked[self.path]

    @property
    def target(self) -> str:
        return f"{self.stage.issuer}/lti/tool/launch"

    def initiation(self, **changes: str | None) -> dict[str, str]:
        params: dict[str, str | None] = {
            "iss": self.issuer,
            "client_id": self.client_id,
            "login_hint": "42",
            "lti_message_hint": "7",
            "target_link_uri": self.target,
            "lti_deployment_id": self.deployment,
        }
        return {name: one for name, one in (params | changes).items() if one is not None}

    def login(self, browser: Browser | None = None, *, method: str = "POST", **changes: str | None) -> Login:
        """Begin a login; it must go well."""
        browser = browser or Browser(self.stage)
        params = self.initiation(**changes)
        where = {"params": params} if method == "GET" else {"data": params}
        return Login(self, browser, browser.send(method, "/lti/tool/login", **where))

    def claims(self, nonce: str, *, deep_linking: bool = False) -> dict[str, Any]:
        at = clock()
        person = uuid.uuid4().hex[:8]
        claims = {
            "iss": self.issuer,
            "aud": self.client_id,
            "sub": f"user-{person}",
            "iat": at,
            "exp": at + 300,
            "nonce": nonce,
            "name": f"Sam {person}",
            "given_name": "Sam",
            "family_name": person,
            "email": f"{person}@example.test",
            f"{CLAIM}version": "1.3.0",
            f"{CLAIM}deployment_id": self.deployment,
            f"{CLAIM}target_link_uri": self.target,
            f"{CLAIM}roles": [INSTRUCTOR if deep_linking else LEARNER],
            f"{CLAIM}context": {"id": "course-1", "title": "Selling", "type": ["CourseSection"]},
            f"{CLAIM}launch_presentation": {"document_target": "window", "return_url": f"{self.issuer}/back"},
        }
        if not deep_linking:
            link = {
                f"{CLAIM}message_type": "LtiResourceLinkRequest",
                f"{CLAIM}resource_link": {"id": "l1", "title": "Help"},
            }
            return claims | link
        settings = {
            "deep_link_return_url": f"{self.issuer}/chosen",
            "accept_types": ["ltiResourceLink"],
            "accept_presentation_document_targets": ["window"],
            "data": "opaque",
        }
        return claims | {f"{CLAIM}message_type": "LtiDeepLinkingRequest", DL_SETTINGS: settings}

    def draft(self, login: Login, *, deep_linking: bool = False, **changes: Any) -> Draft:
        """A good token for that login."""
        claims = self.claims(login.nonce, deep_linking=deep_linking) | changes
        return Draft({"alg": "RS256", "typ": "JWT", "kid": self.kid}, claims, self.key)


class Login:
    """A login under way: the bridge has sent the browser to the LMS, with a state and a nonce."""

    def __init__(self, lms: Lms, browser: Browser, response: requests.Response) -> None:
        self.lms, self.browser, self.stage, self.response = lms, browser, lms.stage, response
        page = re.search(r'<a data-next[^>]*href="([^"]+)"', response.text)
        self.url = response.headers.get("location") or (page[1].replace("&amp;", "&") if page else "")
        self.params = {name: found[0] for name, found in parse_qs(urlsplit(self.url).query).items()}
        self.state, self.nonce = self.params.get("state", ""), self.params.get("nonce", "")

    @property
    def begun(self) -> bool:
        return self.url.startswith(f"{self.lms.issuer}/auth?x=1&") and bool(self.state and self.nonce)

    def post(self, token: str | None, browser: Browser | None = None, **changes: str | None) -> requests.Response:
        form: dict[str, str | None] = {"id_token": token, "state": self.state}
        self.stage.secret(token or "")
        told = {name: one for name, one in (form | changes).items() if one is not None}
        return (browser or self.browser).post("/lti/tool/launch", told)

    def attempt(self, token: Draft | str | None, browser: Browser | None = None, **changes: str | None) -> Came:
        """The verdict over a launch."""
        assert self.begun, f"a good login was refused with {self.response.status_code}"
        text = token.signed() if isinstance(token, Draft) else token
        self.stage.mark()
        return self.verdict(self.post(text, browser, **changes), browser)

    def verdict(self, response: requests.Response, browser: Browser | None = None) -> Came:
        """Accepted: there is a session, and it leads to a page that can be read."""
        browser = browser or self.browser
        if response.status_code not in (302, 303):
            came = refused(response)
            return came.but("a session was given" if SESSION_COOKIE in browser.cookies else "")
        page = browser.follow(response)
        signed_in = self.stage.grown().get("sign_in_session")
        return Came(accepted=True).but(
            "" if signed_in == 1 else "nobody was signed in",
            "" if page.status_code == 200 else f"the way on ends with {page.status_code}",
            "markup stands in the page as it was sent" if "<b>x" in page.text else "",
        )


def launched(stage: Stage, lms: Lms | None = None, **options: Any) -> Came:
    """A whole good launch with those changes of its claims."""
    lms = lms or Lms(stage)
    login = lms.login()
    return login.attempt(lms.draft(login, **options))


def changed(case: Case) -> list[Attempt]:
    """The change, applied to the id_token of a launch."""
    return list(variants(case, _changed))


def _changed(stage: Stage, *, text: str, change: Mapping[str, Any]) -> Came:
    touched = {*change.get("claims", {}), *change.get("keep_only", ())}
    of_choice = any("/lti-dl/" in name for name in touched) or re.search(
        r"deep.?linking re(?:quest|sponse)", text, re.I
    )
    lms = Lms(stage)
    login = lms.login()
    draft = lms.draft(login, deep_linking=bool(of_choice))
    own = signer(text, draft)
    known = {"iss": lms.issuer, "issuer": stage.issuer, "client_id": lms.client_id, "token_url": f"{lms.issuer}/token"}
    edited(draft, change, known)
    lms.publish(*key_set(text, draft, lms.kid, own))
    return login.attempt(draft)
