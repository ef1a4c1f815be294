"""Webhooks for anything that speaks CloudEvents: events in, prompts out.

CloudEvents 1.0.2 and its HTTP 1.1 Web Hooks for event delivery
(https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md), signed by Standard Webhooks
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator
from requests import Response

from bridge.connect import (
    BusinessEvent,
    Channel,
    Config,
    ConfigError,
    Connector,
    Health,
    Http,
    HttpUrl,
    InboundRequest,
    Manifest,
    Prompt,
    Receipt,
    Recipient,
    Rejected,
    Reply,
    SecretStr,
    SignatureInvalid,
    Trigger,
    UnexpectedPayload,
)
from bridge.connect.cloudevents import PEOPLE, STRUCTURED, parse_cloudevents, to_structured
from bridge.connect.signing import sign_standard_webhook, verify_standard_webhook

OWN = "org.flowbridge."
SHOWN = f"{OWN}prompt.v1"
WITHDRAWN = f"{OWN}prompt.withdrawn.v1"
_ORIGIN = re.compile(r"[A-Za-z0-9._:/-]{1,255}")
_PAGE = (b"<!doctype html", b"<html")


class WebhookConfig(Config):
    secrets: tuple[SecretStr, ...] = Field(
        default=(),
        description="Standard Webhooks secrets for both ways: the first is the current one, others are still good.",
    )
    bearer: SecretStr | None = Field(default=None, min_length=16, description="For a sender that can't sign.")
    url: HttpUrl | None = Field(default=None, description="Where prompts go.")
    source: str = Field(default="flowbridge", min_length=1, description="The CloudEvents source of what is sent.")
    people: Mapping[str, str] = Field(
        default=PEOPLE,
        description="By role, the path in an event's data of {id, email, name}, of an e-mail address or of an id.",
    )
    sign_in_secret: SecretStr | None = Field(
        default=None, min_length=32, description="The app's server signs with it whom it vouches for (JWT, HS256)."
    )
    origins: tuple[Annotated[str, Field(pattern=r"^https?://[^/\s]+$")], ...] = Field(
        default=(), description="Whose pages may embed the widget."
    )

    @field_validator("secrets")
    @classmethod
    def _secrets_are_keys(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in secrets:
            try:
                sign_standard_webhook(secret.get_secret_value(), "check", b"")
            except ConfigError as error:
                raise ValueError(str(error)) from None
            if len(secret.get_secret_value().removeprefix("whsec_")) < 32:
                raise ValueError("a Standard Webhooks secret holds 24 bytes or more: 32 characters of base64")
        return secrets

    @model_validator(mode="after")
    def _nothing_is_unproved(self) -> Self:
        if not self.secrets and not self.bearer:
            raise ValueError("set `secrets` (Standard Webhooks), or `bearer` for a sender that can't sign")
        if self.url and not self.secrets:
            raise ValueError("set `secrets`: prompts to `url` are signed with the first of them")
        if self.url and (self.url.username or self.url.password):
            raise ValueError("`url` must hold no user name or password")
        return self


class Webhook(Connector[WebhookConfig], Trigger, Channel):
    """Any system that sends or takes CloudEvents by HTTP."""

    manifest = Manifest(
        key="webhook",
        name="Webhook",
        summary="Takes CloudEvents by signed webhook, and sends prompts as signed CloudEvents.",
        api_docs="https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md",
        verified="live",
        proof="Prompts are taken by a real HTTP server; events of all three modes, made by the CloudEvents SDK and"
        " signed by the standardwebhooks library, are read.",
    )
    config_class = WebhookConfig
    event_types: ClassVar[frozenset[str]] = frozenset({"*"})

    def __init__(self, config: WebhookConfig, http: Http) -> None:
        super().__init__(config, http)
        self._url = str(config.url or "")
        bearer = config.bearer.get_secret_value() if config.bearer else ""
        # Some systems hand out an address whose query is the secret (Power Automate's `sig`, say).
        self._shown, _, query = self._url.partition("?")
        self._peer = http.to(self._url, secrets=(*self._keys(), bearer, query))

    def check(self) -> Health:
        works = []
        if self.config.secrets:
            works.append("events that are signed by Standard Webhooks are accepted")
        if self.config.bearer:
            works.append("events with the bearer token are accepted")
        if self._url:
            headers = {"WebHook-Request-Origin": self.config.source}
            answer = self._call("OPTIONS", (400, 404, 405, 410, 501), headers=headers)
            if answer.status_code in (404, 410):
                return Health(tuple(works), (f"nothing takes prompts at {self._shown}: check `url`",))
            works.append(f"prompts are sent to {self._shown}, which answers")
        return Health(tuple(works))

    def verify(self, request: InboundRequest) -> None:
        """A signature when there is one; a bearer token only where ``bearer`` is set and nothing is signed.

        A signature covers the body and the webhook-id, and so not the ``ce-`` headers of binary mode: structured mode
        is the better choice of a sender that has it.
        """
        if self.config.secrets and (request.headers.get("webhook-signature") or not self.config.bearer):
            verify_standard_webhook(self._keys(), request.headers, request.body)
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            given = request.query.get("access_token", "")
        expected = self.config.bearer.get_secret_value() if self.config.bearer else ""
        if not expected or not hmac.compare_digest(expected.encode(), given.strip().encode()):
            raise SignatureInvalid("the bearer token is missing or wrong: check that both sides hold the same one")

    def parse(self, request: InboundRequest) -> list[BusinessEvent]:
        """The events of a request; the bridge's own, sent back by mistake, are refused: they would go in circles."""
        events = parse_cloudevents(request.headers, request.body, self.config.people)
        for event in events:
            if event.type.startswith(OWN):
                raise UnexpectedPayload(f"{event.type} is an event of the bridge itself", field="type")
        return events

    def handshake(self, request: InboundRequest) -> Reply | None:
        """Agree to be called (HTTP 1.1 Web Hooks, section 4); each event must still prove where it is from."""
        origin = request.headers.get("webhook-request-origin", "")
        if request.method != "OPTIONS" or not origin:
            return None
        if not _ORIGIN.fullmatch(origin):
            return Reply(400, body=b"WebHook-Request-Origin must be a host name")
        rate = {"WebHook-Allowed-Rate": "*"} if "webhook-request-rate" in request.headers else {}
        return Reply(200, {"Allow": "POST", "WebHook-Allowed-Origin": origin, **rate})

    def deliver(self, prompt: Prompt, to: Recipient, *, idempotency_key: str) -> Receipt:
        """Send the prompt as a CloudEvent whose id, and webhook-id, is the key."""
        data = {
            "prompt": {
                "id": prompt.id,
                "title": prompt.title,
                "say": prompt.say,
                "launch_url": prompt.launch_url,
                "asset_kind": prompt.asset_kind,
                "duration_seconds": prompt.duration_seconds,
            },
            "recipient": {"subject": to.subject, "account_id": to.account_id, "email": to.email},
        }
        self._send(idempotency_key, SHOWN, data, to.subject)
        return Receipt(idempotency_key)

    def withdraw(self, receipt: Receipt) -> None:
        """Say that a prompt no longer holds; its data names the event that it came with."""
        self._send(f"{receipt.external_id}-withdrawn", WITHDRAWN, {"event": receipt.external_id})

    def _send(self, key: str, event_type: str, data: Mapping[str, Any], subject: str = "") -> None:
        if not self._url:
            raise ConfigError("this webhook connection has no `url` to send prompts to")
        body = to_structured(key, event_type, self.config.source, data, subject=subject)
        headers = {"Content-Type": STRUCTURED, **sign_standard_webhook(self._keys()[0], key, body)}
        answer = self._call("POST", (404, 405, 410, 415), idempotency_key=key, headers=headers, data=body)
        if answer.status_code == 410:
            raise ConfigError(f"{self._shown} answered 410: it wants no more prompts; change `url` or end this channel")
        if answer.status_code in (404, 405):
            raise ConfigError(f"{self._shown} answered {answer.status_code}: nothing takes prompts there; check `url`")
        if answer.status_code == 415:
            raise Rejected(f"{self._shown} answered 415: it does not take {STRUCTURED}")

    def _keys(self) -> tuple[str, ...]:
        return tuple(secret.get_secret_value() for secret in self.config.secrets)

    def _call(self, method: str, ok: tuple[int, ...], **kwargs: Any) -> Response:
        answer = self._peer.request(method, self._url, ok=ok, **kwargs)
        if answer.ok and answer.content.lstrip()[:20].lower().startswith(_PAGE):
            # A sign-in page answers 200 to everything, and takes no event.
            raise ConfigError(f"{self._peer.system} answered {method} {self._shown} with a web page: check `url`")
        return answer
