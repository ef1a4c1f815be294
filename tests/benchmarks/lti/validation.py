"""Launch validation: the bridge's tool role beside plain pylti1p3, both in memory, and ltijs over HTTP.

In memory each validates the same tokens with its key set given; nothing is fetched or stored outside of the process.
Over HTTP ltijs takes full form posts on the measured core, its nonces in PostgreSQL as it keeps them.
"""

from __future__ import annotations

import contextlib
import itertools
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import requests
from pylti1p3.cookie import CookieService
from pylti1p3.message_launch import MessageLaunch
from pylti1p3.request import Request
from pylti1p3.session import SessionService
from pylti1p3.tool_config.dict import ToolConfDict

from bridge.lti import keysets, vocabulary
from bridge.lti.tool import cookies, peer
from bridge.lti.tool.platforms import Platform
from tests.benchmarks import Figure, Size
from tests.benchmarks.load import FORM, Refused, Wire, drive, request
from tests.benchmarks.machine import cores, cpu_seconds, median, on
from tests.live.practice_platform import PracticePlatform, practice_platform
from tests.live.systems import Ltijs
from tests.lti.conftest import CLAIM

TARGET = 1.0
#: So many different launches are validated in turn.
LAUNCHES = 50
CLIENT, ISSUER, DEPLOYMENT = "practice-tool", "https://lms.example", "1"
TARGET_LINK = "https://bridge.example/lti/tool/launch"


def run(size: Size) -> Iterator[Figure]:
    ours, plain = _Ours(), _Plain()
    with on(cores()[0]):
        rounds = [(_rate(plain, size), _rate(ours, size)) for _ in range(size.rounds)]
    with on(cores()[1]):
        ltijs = _ltijs(size)
    beside = {"pylti1p3": median([plain for plain, _ in rounds]), "ltijs_over_http": ltijs}
    yield Figure(
        "lti.validation",
        round(median([ours for _, ours in rounds]), 1),
        "validations/s of processor time",
        {name: round(value, 1) for name, value in beside.items()},
        round(median([ours / plain for plain, ours in rounds]), 3),
        TARGET,
    )


def _rate(validate: Callable[[int], object], size: Size) -> float:
    """Validations in a second of processor time."""
    done, until = 0, time.perf_counter() + size.seconds
    at = time.process_time()
    while time.perf_counter() < until:
        validate(done % LAUNCHES)
        done += 1
    return done / (time.process_time() - at)


class _Tokens:
    """An LMS's key, and the launches that it signed."""

    def __init__(self) -> None:
        self.platform = PracticePlatform(ISSUER, CLIENT)
        self.states = [uuid.uuid4().hex for _ in range(LAUNCHES)]
        self.tokens = [self.platform.signed({"nonce": state, **_MESSAGE}) for state in self.states]

    @property
    def public(self) -> dict[str, Any]:
        answer = self.platform.answer("GET", "/jwks", b"")
        assert isinstance(answer, dict)
        return answer


#: What a resource link request says besides the claims that PracticePlatform gives every message.
_MESSAGE: dict[str, Any] = {
    f"{CLAIM}message_type": vocabulary.RESOURCE_LINK_REQUEST,
    f"{CLAIM}target_link_uri": TARGET_LINK,
    f"{CLAIM}resource_link": {"id": "link-1", "title": "Negotiating a renewal"},
    f"{CLAIM}custom": {"asset": "guides/renewal", "level": "2"},
    f"{CLAIM}launch_presentation": {"document_target": "iframe", "return_url": f"{ISSUER}/return", "locale": "en"},
    f"{CLAIM}tool_platform": {"guid": "lms", "name": "Practice", "product_family_code": "practice", "version": "1"},
    "https://purl.imsglobal.org/spec/lti-ags/claim/endpoint": {
        "scope": ["https://purl.imsglobal.org/spec/lti-ags/scope/score"],
        "lineitems": f"{ISSUER}/items",
        "lineitem": f"{ISSUER}/items/1",
    },
}


class _Ours(_Tokens):
    """The bridge's own validation, with the logins under way in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self._lms = _registration()
        self._key = next(iter(keysets.usable(self.public).values()))

    def __call__(self, number: int) -> None:
        state, token = self.states[number], self.tokens[number]
        held = {cookies.name_of(state): state}
        exchange = peer.Exchange({"state": state, "id_token": token}, held)
        peer.Launch(exchange, self, lambda _platform, _kid: self._key).validate()

    def begun(self, exchange: peer.Exchange) -> peer.Begun:
        state = exchange.get_param("state")
        assert exchange.holds(state)
        return peer.Begun(self._lms, state, TARGET_LINK)

    def take(self, exchange: peer.Exchange) -> None:
        """Every launch comes again."""


def _registration() -> Platform:
    return Platform(
        connection_id=1,
        name="lms",
        issuer=ISSUER,
        client_id=CLIENT,
        auth_login_url=f"{ISSUER}/auth",
        auth_token_url=f"{ISSUER}/token",
        auth_audience=f"{ISSUER}/token",
        jwks_uri=f"{ISSUER}/jwks",
        jwks=None,
        deployment_ids=(DEPLOYMENT,),
        match_people="",
        console_for="",
        trusted_network=True,
    )


class _Exchange(Request, CookieService):
    """One request as pylti1p3's adapters for frameworks hand it on; its session is a dictionary, its stock storage."""

    def __init__(self, params: dict[str, str], session: dict[str, Any]) -> None:
        self._params, self._session = params, session

    @property
    def session(self) -> dict[str, Any]:
        return self._session

    def is_secure(self) -> bool:
        return True

    def get_param(self, key: str) -> str:
        return self._params[key]

    def get_cookie(self, name: str) -> str | None:
        return name

    def set_cookie(self, name: str, value: str | int, exp: int | None = 3600) -> None:
        """Cookies belong to the login."""


class _PlainLaunch(MessageLaunch[Any, Any, Any, Any]):
    def _get_request_param(self, key: str) -> str:
        return str(self._request.get_param(key))


class _Plain(_Tokens):
    """pylti1p3 as it is."""

    def __init__(self) -> None:
        super().__init__()
        known: Any = {"client_id": CLIENT, "auth_login_url": f"{ISSUER}/auth", "auth_token_url": f"{ISSUER}/token"}
        known |= {"key_set_url": None, "key_set": self.public, "deployment_ids": [DEPLOYMENT]}
        self._configuration = ToolConfDict({ISSUER: known})
        self._http = requests.Session()

    def __call__(self, number: int) -> None:
        state, session = self.states[number], dict[str, Any]()
        exchange = _Exchange({"state": state, "id_token": self.tokens[number]}, session)
        sessions = SessionService(exchange)
        sessions.save_nonce(state)
        _PlainLaunch(exchange, self._configuration, sessions, exchange, requests_session=self._http).validate()


def _ltijs(size: Size) -> float:
    """Form posts in a second of its processor time."""
    with contextlib.ExitStack() as stack:
        with on(cores()[0]):
            system = stack.enter_context(Ltijs())
        platform = stack.enter_context(practice_platform())
        system.register_platform(client_id=platform.client_id, **platform.endpoints)
        work, host = _FormPosts(system, platform), urlsplit(system.launch_url).netloc
        drive(host, work, connections=size.connections, seconds=size.seconds)  # until its code is compiled
        before = cpu_seconds(system.process_id)
        load = drive(host, work, connections=size.connections, seconds=size.seconds)
        return load.units / (cpu_seconds(system.process_id) - before)


class _FormPosts:
    """Launches of ltijs after one login; it remembers nonces and nothing else of a login."""

    def __init__(self, system: Ltijs, platform: PracticePlatform) -> None:
        self._system, self._platform = system, platform
        hints = {
            "iss": platform.issuer,
            "client_id": platform.client_id,
            "login_hint": "ana",
            "target_link_uri": system.launch_url,
        }
        answer = requests.get(system.login_url, params=hints, allow_redirects=False, timeout=30)
        asked = parse_qs(urlsplit(answer.headers["location"]).query)
        self._state, self._path = asked["state"][0], urlsplit(system.launch_url).path or "/"
        self._cookie = "Cookie: " + "; ".join(f"{cookie.name}={cookie.value}" for cookie in answer.cookies) + "\r\n"
        self._numbers = itertools.count()

    async def __call__(self, wire: Wire, _number: int) -> None:
        said = {**_MESSAGE, f"{CLAIM}target_link_uri": self._system.launch_url, "nonce": f"nonce-{next(self._numbers)}"}
        body = urlencode({"id_token": self._platform.signed(said), "state": self._state})
        host = urlsplit(self._system.launch_url).netloc
        answer = await wire.ask(request("POST", self._path, host, headers=self._cookie + FORM, body=body))
        if not answer.startswith((b"HTTP/1.1 302", b"HTTP/1.1 200")):
            raise Refused(answer.decode(errors="replace"))
