"""Webhook: requests made by the CloudEvents SDK for Python and signed by the standardwebhooks library."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from bridge.connect import (
    ConfigError,
    Http,
    InboundRequest,
    Recipient,
    Rejected,
    SignatureInvalid,
    UnexpectedPayload,
)
from bridge.connect.testing import (
    PROMPT,
    Answer,
    ChannelContract,
    TriggerContract,
    everything,
    plain,
    sent,
    system_played_by,
)
from connectors.webhook import Webhook, WebhookConfig

HERE = Path(__file__).parent / "webhook"
SECRET = "whsec_dGhlIHNlY3JldCBvZiB0aGUgd2ViaG9vayB0ZXN0cw=="
OTHER = "whsec_YW5vdGhlciBzZWNyZXQgb2YgdGhlIHdlYmhvb2sgdGVzdHM="
BEARER = "token-of-a-sender-that-cannot-sign"
URL = "https://shop.example/hooks/learning?sig=secret-of-the-address"
TO = Recipient(subject="deal/42", account_id="7", email="bob@example.com")


def webhook(**config: Any) -> Webhook:
    settings = WebhookConfig.model_validate(config)
    return Webhook(settings, Http(system="Webhook", pause=lambda seconds: None))


def case(path: str) -> tuple[InboundRequest, dict[str, Any]]:
    held = json.loads((HERE / path).read_text(encoding="utf-8"))
    request = InboundRequest(headers=held["headers"], body=held["body"].encode(), query=held.get("query", {}))
    return request, held


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second in which the recorded requests were signed."""
    monkeypatch.setattr(time, "time", lambda: 1772600767.0)


@pytest.mark.usefixtures("now")
class TestWebhook(TriggerContract, ChannelContract):
    connector_class = Webhook
    config: ClassVar[Mapping[str, Any]] = {"secrets": [SECRET, OTHER], "url": URL}
    answers = (Answer("OPTIONS", "/hooks/learning"), Answer("POST", "/hooks/learning", status=202))
    fixtures = HERE / "signed"
    recipient = TO


class TestWebhookOfASenderThatCannotSign(TestWebhook):
    config: ClassVar[Mapping[str, Any]] = {"bearer": BEARER, "secrets": [SECRET], "url": URL}
    fixtures = HERE / "bearer"
    replay_window: ClassVar[float | None] = None
    body_is_signed = False


@pytest.mark.usefixtures("now")
def test_binary_mode_is_read() -> None:
    request, held = case("binary.json")
    connector = webhook(secrets=[SECRET])
    connector.verify(request)
    assert [plain(event) for event in connector.parse(request)] == held["expect"]
    with pytest.raises(SignatureInvalid):
        connector.verify(dataclasses.replace(request, body=request.body + b" "))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "set `secrets`"),
        ({"url": URL}, "set `secrets`"),
        ({"bearer": BEARER, "url": URL}, "prompts to `url` are signed"),
        ({"secrets": ["whsec_***"]}, "base64"),
        ({"secrets": ["whsec_c2hvcnQ="]}, "24 bytes"),
        ({"bearer": "short"}, "16"),
        ({"secrets": [SECRET], "url": "https://me:pass@shop.example/"}, "no user name"),
    ],
)
def test_a_connection_that_proves_nothing_is_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        WebhookConfig.model_validate(config)


@pytest.mark.usefixtures("now")
def test_each_secret_of_a_rotation_is_good() -> None:
    request, _ = case("signed/structured.json")
    webhook(secrets=[OTHER, SECRET]).verify(request)
    with pytest.raises(SignatureInvalid):
        webhook(secrets=[OTHER]).verify(request)


@pytest.mark.usefixtures("now")
def test_a_wrong_signature_is_not_saved_by_the_bearer_token() -> None:
    request, _ = case("signed/structured.json")
    both = dataclasses.replace(request, headers={**request.headers, "authorization": f"Bearer {BEARER}"})
    webhook(secrets=[SECRET], bearer=BEARER).verify(both)
    with pytest.raises(SignatureInvalid, match="webhook-signature does not match"):
        webhook(secrets=[OTHER], bearer=BEARER).verify(both)


@pytest.mark.parametrize(
    "given", ["", "Bearer", f"Bearer {BEARER}x", f"Basic {BEARER}", BEARER, f"bearer {BEARER[:-1]}"]
)
def test_another_token_is_refused(given: str) -> None:
    request, _ = case("bearer/structured.json")
    with pytest.raises(SignatureInvalid, match="bearer token"):
        webhook(bearer=BEARER).verify(dataclasses.replace(request, headers={"authorization": given}))


def test_an_unsigned_request_shows_no_token_where_none_is_set() -> None:
    request, _ = case("bearer/structured.json")
    with pytest.raises(SignatureInvalid, match="webhook-id is missing"):
        webhook(secrets=[SECRET]).verify(request)


def test_the_people_are_found_where_the_connection_says() -> None:
    body = {
        "specversion": "1.0",
        "id": "1",
        "type": "t",
        "source": "s",
        "data": {"deal": {"rep": 7}, "by": {"name": "Bo"}},
    }
    request = InboundRequest({"content-type": "application/cloudevents+json"}, json.dumps(body).encode())
    [event] = webhook(secrets=[SECRET], people={"owner": "deal.rep", "actor": "by", "boss": "deal.boss.id"}).parse(
        request
    )
    assert {role: person.id for role, person in event.people.items()} == {"owner": "7"}


def test_the_bridges_own_events_do_not_come_back() -> None:
    with system_played_by([Answer("POST", status=202)]) as calls:
        webhook(secrets=[SECRET], url=URL).deliver(PROMPT, TO, idempotency_key="key-1")
    body = calls[0].body
    assert isinstance(body, bytes)
    echo = InboundRequest({name.lower(): value for name, value in calls[0].headers.items()}, body)
    connector = webhook(secrets=[SECRET], url=URL)
    connector.verify(echo)
    with pytest.raises(UnexpectedPayload, match="the bridge itself") as caught:
        connector.parse(echo)
    assert caught.value.field == "type"


def test_a_handshake_is_agreed_to() -> None:
    connector = webhook(secrets=[SECRET])
    asked = {"webhook-request-origin": "events.example.com", "webhook-request-rate": "120"}
    reply = connector.handshake(InboundRequest(asked, b"", method="OPTIONS"))
    assert reply is not None and reply.status == 200
    assert reply.headers["WebHook-Allowed-Origin"] == "events.example.com"
    assert reply.headers["WebHook-Allowed-Rate"] == "*"
    without_rate = connector.handshake(InboundRequest({"webhook-request-origin": "a.example"}, b"", method="OPTIONS"))
    assert without_rate is not None and "WebHook-Allowed-Rate" not in without_rate.headers


@pytest.mark.parametrize(("method", "origin"), [("POST", "a.example"), ("OPTIONS", "")])
def test_another_request_is_no_handshake(method: str, origin: str) -> None:
    assert (
        webhook(secrets=[SECRET]).handshake(InboundRequest({"webhook-request-origin": origin}, b"", method=method))
        is None
    )


def test_an_origin_that_is_no_host_is_not_repeated() -> None:
    request = InboundRequest({"webhook-request-origin": "a.example\r\nSet-Cookie: x"}, b"", method="OPTIONS")
    reply = webhook(secrets=[SECRET]).handshake(request)
    assert reply is not None and reply.status == 400 and not reply.headers


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (410, ConfigError, "no more prompts"),
        (404, ConfigError, "check `url`"),
        (405, ConfigError, "check `url`"),
        (415, Rejected, "does not take application/cloudevents"),
        (400, Rejected, "400"),
    ],
)
def test_a_refusal_says_what_to_do(status: int, error: type[Exception], words: str) -> None:
    with system_played_by(everything(status)), pytest.raises(error, match=words) as caught:
        webhook(secrets=[SECRET], url=URL).deliver(PROMPT, TO, idempotency_key="key-1")
    assert "secret-of-the-address" not in str(caught.value)


def test_a_connection_for_events_alone_sends_no_prompts() -> None:
    connector = webhook(bearer=BEARER)
    with system_played_by(()):
        assert connector.check().works == ("events with the bearer token are accepted",)
        with pytest.raises(ConfigError, match="no `url`"):
            connector.deliver(PROMPT, TO, idempotency_key="key-1")


def test_an_address_where_nothing_listens_is_told() -> None:
    with system_played_by(everything(404)):
        health = webhook(secrets=[SECRET], url=URL).check()
    assert not health.ok and "check `url`" in health.missing[0] and "secret-of-the-address" not in health.missing[0]


def test_a_prompt_that_is_taken_back_names_its_event() -> None:
    with system_played_by([Answer("POST", status=200)]) as calls:
        connector = webhook(secrets=[SECRET], url=URL)
        connector.withdraw(connector.deliver(PROMPT, TO, idempotency_key="key-1"))
    shown, withdrawn = (sent(call) for call in calls)
    assert (shown["id"], shown["type"]) == ("key-1", "org.flowbridge.prompt.v1")
    assert withdrawn["type"] == "org.flowbridge.prompt.withdrawn.v1"
    assert withdrawn["data"] == {"event": "key-1"} and withdrawn["id"] != shown["id"]


@pytest.fixture
def shop() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """A business system's HTTP server: its address, and what it was sent."""
    taken: list[tuple[dict[str, str], bytes]] = []

    class Shop(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_OPTIONS(self) -> None:
            self.send_error(405)

        def log_message(self, *args: object) -> None:
            """Tests are quiet."""

    server = HTTPServer(("127.0.0.1", 0), Shop)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/prompts/", taken
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_prompt_arrives_signed_at_a_real_server(shop: tuple[str, list[tuple[dict[str, str], bytes]]]) -> None:
    url, taken = shop
    connector = webhook(secrets=[SECRET, OTHER], url=url, source="https://bridge.example")
    assert connector.check().ok
    receipt = connector.deliver(PROMPT, TO, idempotency_key="key-1")
    [(headers, body)] = taken
    assert receipt.external_id == headers["webhook-id"] == "key-1"
    assert headers["content-type"] == "application/cloudevents+json"
    signed = f"key-1.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(base64.b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert json.loads(body) == {
        "specversion": "1.0",
        "id": "key-1",
        "type": "org.flowbridge.prompt.v1",
        "source": "https://bridge.example",
        "subject": "deal/42",
        "datacontenttype": "application/json",
        "data": {
            "prompt": dataclasses.asdict(PROMPT),
            "recipient": {"subject": "deal/42", "account_id": "7", "email": "bob@example.com"},
        },
    }
