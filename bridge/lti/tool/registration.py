"""The bridge registers itself at an LMS (LTI Dynamic Registration 1.0, https://www.imsglobal.org/spec/lti-dr/v1p0)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from bridge.connect import ConnectorError
from bridge.lti import addresses, fields, keys
from bridge.lti.errors import LtiError
from bridge.lti.host import Host
from bridge.lti.vocabulary import (
    CLAIM,
    DEEP_LINKING_REQUEST,
    LINE_ITEM,
    MEMBERS_READ,
    PLATFORM_CONFIGURATION,
    PRODUCT,
    RESOURCE_LINK_REQUEST,
    RESULT_READ,
    SCORE,
    TOOL_CONFIGURATION,
)

MAX_BYTES = 256 * 1024
SCOPES = (LINE_ITEM, RESULT_READ, SCORE, MEMBERS_READ)
_ENDPOINTS = ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "registration_endpoint")
_CLAIMS = ("iss", "sub", "name", "given_name", "family_name", "email", f"{CLAIM}lis")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LmsConfiguration:
    """What an LMS says of itself (section 2.1), verified as far as that goes."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    registration_endpoint: str
    product: str

    @property
    def hostname(self) -> str:
        return addresses.place(self.issuer)[0]


@dataclasses.dataclass(frozen=True, slots=True)
class Addresses:
    """Where an LMS finds the bridge, for a registration by hand as well."""

    login: str
    launch: str
    jwks: str

    @classmethod
    def of(cls, host: Host) -> Addresses:
        ours = f"{host.settings.issuer}/lti/tool"
        return cls(login=f"{ours}/login", launch=f"{ours}/launch", jwks=f"{ours}/jwks")


def configuration(host: Host, url: str) -> LmsConfiguration:
    """Fetch an LMS's configuration from an address that somebody sent. Raises LtiError."""
    addresses.web(host, url, "openid_configuration")
    try:
        response = host.public_http.to(url).request("GET", url, headers={"Accept": "application/json"})
    except ConnectorError as error:
        raise LtiError("configuration_unreachable", f"the LMS's configuration can't be read: {error}") from None
    told = _object(response.content, "configuration")
    endpoints = {name: addresses.web(host, told.get(name), name) for name in _ENDPOINTS}
    found = LmsConfiguration(**endpoints, product=_product(told))
    if addresses.place(found.issuer) != addresses.place(url) or urlsplit(found.issuer).query:
        raise LtiError("issuer_elsewhere", f"the configuration at {url} is for another issuer: {found.issuer}")
    if keys.ALGORITHM not in (told.get("id_token_signing_alg_values_supported") or ()):
        raise LtiError("algorithm_missing", f"the LMS does not say that it signs with {keys.ALGORITHM}")
    return found


def request(host: Host) -> dict[str, Any]:
    """What the bridge asks to be registered as (section 3.5)."""
    issuer, ours = host.settings.issuer, Addresses.of(host)
    messages = {RESOURCE_LINK_REQUEST: "Help from work", DEEP_LINKING_REQUEST: "Choose help from flowbridge"}
    return {
        "application_type": "web",
        "response_types": ["id_token"],
        "grant_types": ["client_credentials", "implicit"],
        "client_name": PRODUCT,
        "logo_uri": f"{issuer}/static/mark.svg",
        "initiate_login_uri": ours.login,
        "redirect_uris": [ours.launch],
        "jwks_uri": ours.jwks,
        "token_endpoint_auth_method": "private_key_jwt",
        "scope": " ".join(SCOPES),
        TOOL_CONFIGURATION: {
            # With its port: Moodle compares it with the host of target_link_uri.
            "domain": urlsplit(issuer).netloc,
            "description": "Guides, checklists and prompts from the moment of work",
            "target_link_uri": ours.launch,
            "custom_parameters": {},
            "claims": list(_CLAIMS),
            "messages": [
                {"type": kind, "target_link_uri": ours.launch, "label": label} for kind, label in messages.items()
            ],
        },
    }


def register(host: Host, lms: LmsConfiguration, registration_token: str) -> dict[str, Any]:
    """Register at an LMS; the settings of its ``lti_platform`` connection. Raises LtiError.

    Brightspace gives no registration token, and then none is sent.
    """
    if not (registration_token.isascii() and registration_token.isprintable()):
        raise LtiError("registration_token_malformed", "the registration_token holds characters that no token has")
    url, headers = lms.registration_endpoint, {"Content-Type": "application/json", "Accept": "application/json"}
    if registration_token:
        headers["Authorization"] = f"Bearer {registration_token}"
    try:
        sent = host.public_http.to(url).request("POST", url, data=orjson.dumps(request(host)), headers=headers)
    except ConnectorError as error:
        raise LtiError("registration_refused", f"the LMS did not register flowbridge: {error}") from None
    answer = _object(sent.content, "answer to the registration")  # its content type says little: Moodle's is text/html
    deployment = _deployment(answer)
    return {
        "issuer": lms.issuer,
        "client_id": fields.text(answer, "client_id", required=True),
        "auth_login_url": lms.authorization_endpoint,
        "auth_token_url": lms.token_endpoint,
        "jwks_uri": lms.jwks_uri,
        "deployment_ids": [deployment] if deployment else [],
    }


def _deployment(answer: Mapping[str, Any]) -> str:
    ours = answer.get(TOOL_CONFIGURATION)
    value = ours.get("deployment_id") if isinstance(ours, dict) else None
    return str(value) if isinstance(value, str | int) and 0 < len(str(value)) <= 255 else ""


def _product(told: Mapping[str, Any]) -> str:
    of_lti = told.get(PLATFORM_CONFIGURATION)
    value = of_lti.get("product_family_code") if isinstance(of_lti, dict) else ""
    return value[:100] if isinstance(value, str) else ""


def _object(content: bytes, what: str) -> dict[str, Any]:
    if len(content) > MAX_BYTES:
        raise LtiError("answer_too_large", f"the LMS's {what} is larger than {MAX_BYTES} bytes")
    try:
        return fields.json_object(content)
    except LtiError:
        raise LtiError("answer_malformed", f"the LMS's {what} is not a JSON object") from None
