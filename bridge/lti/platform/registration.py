"""Registration requests of tools (LTI Dynamic Registration 1.0 section 3.5, https://www.imsglobal.org/spec/lti-dr/v1p0).

A request is read into the settings of an ``lti_tool`` connection. All of it is what the tool *asks* for: an admin says
later what it gets.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from bridge import registry
from bridge.lti import addresses, fields, keysets
from bridge.lti.errors import LtiError, OAuthError
from bridge.lti.host import Host
from bridge.lti.platform.registrations import CONNECTOR
from bridge.lti.vocabulary import DEEP_LINKING_REQUEST, RESOURCE_LINK_REQUEST, SERVICE_SCOPES, TOOL_CONFIGURATION

MAX_BYTES = 64 * 1024
MOST_ADDRESSES, MOST_CUSTOM, MOST_MESSAGES = 20, 50, 50
DEPLOYMENT = "1"
_NAMES = ("name", "given_name", "family_name")
_CLAIMS = ("iss", "sub", *_NAMES, "email")
_MESSAGES = (RESOURCE_LINK_REQUEST, DEEP_LINKING_REQUEST)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A request as it was understood; ``config`` is that of its connection, with a new client id."""

    client_name: str
    description: str
    domain: str
    claims: tuple[str, ...]
    messages: tuple[Mapping[str, str], ...]
    config: Mapping[str, Any]

    def answer(self) -> dict[str, Any]:
        """What is registered, as the tool is told it (section 3.6)."""
        config = self.config
        keys = {name: config[name] for name in ("jwks_uri", "jwks") if name in config}
        return {
            "client_id": config["client_id"],
            "application_type": "web",
            "response_types": ["id_token"],
            "grant_types": ["implicit", "client_credentials"],
            "token_endpoint_auth_method": "private_key_jwt",
            "client_name": self.client_name,
            "initiate_login_uri": config["initiate_login_uri"],
            "redirect_uris": config["redirect_uris"],
            **keys,
            "scope": " ".join(config["scopes"]),
            TOOL_CONFIGURATION: {
                "deployment_id": config["deployment_id"],
                "domain": self.domain,
                "target_link_uri": config["target_link_uri"],
                "description": self.description,
                "custom_parameters": config["custom"],
                "claims": list(self.claims),
                "messages": list(self.messages),
            },
        }


def read(host: Host, body: bytes) -> Registration:
    """Read a request of whatever content type: Moodle sends its JSON as a form. Raises LtiError and OAuthError."""
    if len(body) > MAX_BYTES:
        raise LtiError("body_too_large", f"a registration has at most {MAX_BYTES} bytes", status=413)
    try:
        return _read(host, fields.json_object(body))
    except LtiError as error:
        raise OAuthError("invalid_client_metadata", error.code, str(error)) from None


def _read(host: Host, sent: Mapping[str, Any]) -> Registration:
    _check_protocol(sent)
    asked = sent.get(TOOL_CONFIGURATION)
    if not isinstance(asked, dict):
        raise fields.invalid(TOOL_CONFIGURATION, "an object is required")
    tool = _Tool(host, fields.text(asked, "domain", required=True))
    claims, messages = _texts(asked, "claims"), _messages(tool, asked)
    config = {
        "client_id": secrets.token_urlsafe(16),
        "deployment_id": DEPLOYMENT,
        "initiate_login_uri": tool.address(sent, "initiate_login_uri"),
        "redirect_uris": tool.addresses(sent, "redirect_uris"),
        "target_link_uri": tool.address(asked, "target_link_uri"),
        "deep_linking_uri": _deep_linking(messages),
        **_keys(tool, sent),
        "scopes": _scopes(sent),
        "custom": _custom(asked),
        "send_name": not claims.isdisjoint(_NAMES),
        "send_email": "email" in claims,
    }
    _check_settings(config)
    return Registration(
        client_name=fields.text(sent, "client_name"),
        description=fields.text(asked, "description"),
        domain=tool.domain,
        claims=tuple(claim for claim in _CLAIMS if claim in claims),
        messages=tuple(messages),
        config=config,
    )


class _Tool:
    """Where a tool lives: all of its addresses are on the host that it names as its domain."""

    def __init__(self, host: Host, domain: str) -> None:
        self.domain, self._host = domain, host
        try:
            parts = urlsplit(f"//{domain}")
            self._hostname, self._port = parts.hostname or "", parts.port
        except ValueError:
            self._hostname = ""
        if not self._hostname or parts.netloc != domain or "@" in domain:
            raise fields.invalid("domain", "a host is required, such as tool.example.com")
        addresses.refuse_internal(host, self._hostname)

    def address(self, sent: Mapping[str, Any], name: str) -> str:
        return self.own(sent.get(name), name)

    def addresses(self, sent: Mapping[str, Any], name: str) -> list[str]:
        listed = sent.get(name)
        if not isinstance(listed, list) or not 0 < len(listed) <= MOST_ADDRESSES:
            raise fields.invalid(name, f"a list of 1 to {MOST_ADDRESSES} addresses is required")
        return [self.own(value, name) for value in listed]

    def own(self, value: Any, name: str) -> str:
        url = addresses.web(self._host, value, name)
        hostname, port = addresses.place(url)
        # Moodle's domain has no port, though its addresses do.
        if hostname != self._hostname or self._port not in (None, port):
            raise LtiError("address_of_other_host", f"{name}: {url} is not on the tool's domain {self.domain}")
        return url


def _check_protocol(sent: Mapping[str, Any]) -> None:
    for name, value in (("application_type", "web"), ("token_endpoint_auth_method", "private_key_jwt")):
        if sent.get(name) != value:
            raise LtiError(f"{name}_wrong", f"{name} must be {value}")
    for name, value in (("response_types", "id_token"), ("grant_types", "implicit")):
        if value not in _texts(sent, name):
            raise LtiError(f"{name}_wrong", f"{name} must hold {value}")


def _keys(tool: _Tool, sent: Mapping[str, Any]) -> dict[str, Any]:
    uri, key_set = sent.get("jwks_uri"), sent.get("jwks")
    if (uri is None) == (key_set is None):
        raise LtiError("keys_missing", "send jwks_uri or jwks, one of them: services need the tool's keys")
    if uri is not None:
        return {"jwks_uri": tool.own(uri, "jwks_uri")}
    if not keysets.usable(key_set):
        raise LtiError("keys_unusable", f"jwks holds no RSA key of {keysets.MIN_BITS} bits for signatures")
    return {"jwks": key_set}


def _scopes(sent: Mapping[str, Any]) -> list[str]:
    asked = fields.text(sent, "scope").split()
    return [scope for scope in SERVICE_SCOPES if scope in asked]


def _custom(asked: Mapping[str, Any]) -> dict[str, str]:
    custom = asked.get("custom_parameters") or {}  # PHP writes an empty object as []
    if not isinstance(custom, dict) or len(custom) > MOST_CUSTOM:
        raise fields.invalid("custom_parameters", f"an object of at most {MOST_CUSTOM} texts")
    return {fields.storable(name, "custom_parameters"): fields.text(custom, name) for name in custom}


def _messages(tool: _Tool, asked: Mapping[str, Any]) -> list[dict[str, str]]:
    listed = asked.get("messages") or []
    if not isinstance(listed, list) or len(listed) > MOST_MESSAGES or not all(isinstance(one, dict) for one in listed):
        raise fields.invalid("messages", f"a list of at most {MOST_MESSAGES} objects")
    found = []
    for one in listed:
        target = {"target_link_uri": tool.address(one, "target_link_uri")} if one.get("target_link_uri") else {}
        if one.get("type") in _MESSAGES:
            found.append({"type": one["type"], **target})
    return found


def _deep_linking(messages: Iterable[Mapping[str, str]]) -> str | None:
    return next((one.get("target_link_uri") for one in messages if one["type"] == DEEP_LINKING_REQUEST), None)


def _texts(sent: Mapping[str, Any], name: str) -> set[str]:
    listed = sent.get(name) or []
    if not isinstance(listed, list) or not all(isinstance(value, str) for value in listed):
        raise fields.invalid(name, "a list of texts")
    return set(listed)


def _check_settings(config: Mapping[str, Any]) -> None:
    try:
        registry.find(CONNECTOR).config_class.model_validate(config)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise fields.invalid(".".join(map(str, first["loc"])), first["msg"]) from None
