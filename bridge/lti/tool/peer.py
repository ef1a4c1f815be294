"""The tool's end of LTI 1.3: pylti1p3 with its gaps closed.

pylti1p3 leads through login and launch. Left to itself it lets through tokens without an end or years old, foreign
``azp``, other algorithms and short keys, fetches key sets without a timeout, and takes a launch again from any browser
for a day. Here a state belongs to one browser and counts once, only RS256 with a key from ``key_of`` is verified, and
no claim is read before its signature.
"""

from __future__ import annotations

import dataclasses
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from pylti1p3.cookie import CookieService
from pylti1p3.deployment import Deployment
from pylti1p3.exception import LtiException
from pylti1p3.message_launch import MessageLaunch
from pylti1p3.oidc_login import OIDCLogin
from pylti1p3.redirect import Redirect
from pylti1p3.registration import Registration
from pylti1p3.request import Request
from pylti1p3.session import SessionService
from pylti1p3.tool_config.abstract import ToolConfAbstract

from bridge.lti import vocabulary
from bridge.lti.errors import LtiError
from bridge.lti.tool import cookies, id_tokens
from bridge.lti.tool.platforms import Platform


@dataclasses.dataclass(frozen=True, slots=True)
class Begun:
    """A login under way: which platform may answer it, with which nonce, and for which address."""

    platform: Platform
    nonce: str
    target_link_uri: str


class DeploymentPending(LtiError):
    """A launch that is good but for its deployment, which no admin has approved yet."""

    def __init__(self, platform: Platform, deployment_id: str) -> None:
        super().__init__(
            "deployment_pending",
            "Your LMS is known here, but this place in it has not been approved yet. Ask the admin of flowbridge to"
            f" approve deployment '{deployment_id}' of '{platform.name}', then open it again from your LMS.",
            status=403,
        )
        self.platform, self.deployment_id = platform, deployment_id


class Exchange(Request, CookieService):
    """One request of a browser: its parameters, its cookies, and the state that its answer gives it to keep."""

    def __init__(self, params: Mapping[str, str], held: Mapping[str, str]) -> None:
        self.params, self._held = params, held
        self.state = ""

    def is_secure(self) -> bool:
        return True

    def get_param(self, key: str) -> str:
        return self.params.get(key, "")

    def get_cookie(self, name: str) -> str | None:
        return self._held.get(cookies.name_of(name))

    def set_cookie(self, name: str, value: str | int, exp: int | None = 3600) -> None:
        self.state = str(value)

    def holds(self, state: str) -> bool:
        """Is this the browser that was given the state?"""
        return state != "" and hmac.compare_digest((self.get_cookie(state) or "").encode(), state.encode())


class Registrations(ToolConfAbstract[Exchange]):
    """The platforms that one request can be about."""

    def __init__(self, platforms: Sequence[Platform]) -> None:
        self._platforms = platforms

    def check_iss_has_one_client(self, iss: str) -> bool:
        return False

    def check_iss_has_many_clients(self, iss: str) -> bool:
        return True

    def find_registration_by_issuer(self, iss: str, *_args: Any, **_more: Any) -> Registration:
        return self.find_registration_by_params(iss, "")

    def find_deployment(self, iss: str, deployment_id: str) -> Deployment | None:
        return None  # asked for only where an issuer has one client

    def find_registration_by_params(self, iss: str, client_id: str, *_args: Any, **_more: Any) -> Registration:
        found = [p for p in self._platforms if p.issuer == iss and client_id in ("", p.client_id)]
        if len(found) != 1:
            raise LtiError(
                "registration_unknown",
                "flowbridge does not know which registration this login is of. An admin of your LMS and of flowbridge"
                " have to compare issuer and client id.",
            )
        return registration(found[0])

    def find_deployment_by_params(
        self, iss: str, deployment_id: str, client_id: str, *_args: Any, **_more: Any
    ) -> Deployment | None:
        known = {d for p in self._platforms if (p.issuer, p.client_id) == (iss, client_id) for d in p.deployment_ids}
        return Deployment().set_deployment_id(deployment_id) if deployment_id in known else None


def registration(platform: Platform) -> Registration:
    """A platform as pylti1p3 knows it; its keys are looked up elsewhere."""
    known = Registration().set_issuer(platform.issuer).set_client_id(platform.client_id)
    known.set_auth_login_url(platform.auth_login_url).set_auth_token_url(platform.auth_token_url)
    return known.set_auth_audience(platform.auth_audience)


class _Onward(Redirect[str]):
    def __init__(self, url: str) -> None:
        self._url = url

    def do_redirect(self) -> str:
        return self._url

    def do_js_redirect(self) -> str:
        return self._url

    def set_redirect_url(self, location: str) -> None:
        self._url = location

    def get_redirect_url(self) -> str:
        return self._url


class Sessions(SessionService):
    """What one exchange has to remember; that a launch was good once proves nothing about the next."""

    nonce = ""

    def __init__(self) -> None:
        pass

    def save_nonce(self, nonce: str) -> None:
        self.nonce = nonce

    def set_state_valid(self, state: str, id_token_hash: str) -> None:
        pass

    def check_state_is_valid(self, state: str, id_token_hash: str) -> bool:
        return False


class Login(OIDCLogin[Exchange, Registrations, Sessions, Exchange, str]):
    """A login initiation; ``redirect`` gives the address of the authentication request.

    Afterwards the state is in the exchange and the nonce in its sessions, for the caller to keep.
    """

    def __init__(self, exchange: Exchange, registrations: Registrations, sessions: Sessions) -> None:
        super().__init__(exchange, registrations, sessions, exchange)

    def _get_uuid(self) -> str:
        return secrets.token_urlsafe(24)

    def _generate_nonce(self) -> str:
        return secrets.token_urlsafe(24)

    def get_redirect(self, url: str) -> _Onward:
        address = self._registration.get_auth_login_url() or ""
        # An address may have a query of its own, which pylti1p3 takes for none.
        return _Onward(f"{address}&{url.removeprefix(address)[1:]}" if urlsplit(address).query else url)


class States(Protocol):
    """The logins under way."""

    def begun(self, exchange: Exchange) -> Begun:
        """The login of the exchange's state, begun in its browser; raises LtiError."""

    def take(self, exchange: Exchange) -> None:
        """Take it out; raises LtiError for all but one of parallel calls."""


#: pylti1p3 wants a client; what it would fetch comes from ``key_of``, so that this one reaches nothing.
_NOWHERE = requests.Session()
_NOWHERE.adapters.clear()


class Launch(MessageLaunch[Exchange, Registrations, SessionService, Exchange]):
    """A launch that a platform posts. ``validate`` raises LtiError, or pylti1p3's LtiException."""

    def __init__(
        self,
        exchange: Exchange,
        states: States,
        key_of: Callable[[Platform, str], rsa.RSAPublicKey],
        *,
        sessions: SessionService | None = None,
        http: requests.Session = _NOWHERE,
    ) -> None:
        super().__init__(exchange, Registrations(()), sessions or Sessions(), exchange, requests_session=http)
        self._states, self._key_of = states, key_of
        self._begun: Begun | None = None
        self._kid = ""
        #: What the platform says, once its signature is verified.
        self.claims: Mapping[str, Any] = {}

    @property
    def begun(self) -> Begun:
        """The login that it answers, once its state is checked."""
        assert self._begun is not None
        return self._begun

    def validate(self) -> Launch:
        """All checks, in the order in which each stands on those before."""
        self._validated = True
        self.validate_state().validate_jwt_format().validate_registration().validate_jwt_signature()
        self.validate_nonce().validate_deployment().validate_message().save_launch_data()
        return self

    def _get_request_param(self, key: str) -> str:
        return self._request.get_param(key)

    def get_iss(self) -> str:
        return self.begun.platform.issuer

    def get_client_id(self) -> str:
        return self.begun.platform.client_id

    def validate_state(self) -> Launch:
        self._begun = self._states.begun(self._request)
        self._tool_config = Registrations([self._begun.platform])
        return self

    def validate_jwt_format(self) -> Launch:
        """Only the header: the claims are read with the signature."""
        self._kid = id_tokens.kid_of(self._get_id_token())
        return self

    def validate_jwt_signature(self) -> Launch:
        platform = self.begun.platform
        key = self._key_of(platform, self._kid)
        token = self._get_id_token()
        self.claims = id_tokens.claims_of(token, key, issuer=platform.issuer, client_id=platform.client_id)
        self._jwt["body"] = cast(Any, self.claims)
        return self

    def validate_nonce(self) -> Launch:
        """It is of this very login, which is used up with it."""
        nonce = self.claims["nonce"]
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), self.begun.nonce.encode()):
            raise id_tokens.refused("nonce_wrong", "it was made for another login", status=401)
        self._states.take(self._request)
        return self

    def validate_deployment(self) -> Launch:
        deployment_id = id_tokens.identifier(self.claims, vocabulary.CLAIM + "deployment_id")
        try:
            super().validate_deployment()
        except LtiException:
            raise DeploymentPending(self.begun.platform, deployment_id) from None
        return self

    def validate_message(self) -> Launch:
        id_tokens.check_message(self.claims, self.begun.target_link_uri)
        super().validate_message()
        return self

    def save_launch_data(self) -> Launch:
        return self
