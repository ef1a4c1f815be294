"""Key sets of tools: how long they are kept, when they are asked for again, and which keys count."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import responses
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from bridge.connect import Egress, Http
from bridge.lti import keysets
from bridge.lti.errors import LtiError
from bridge.lti.keysets import KeySets, usable
from bridge.store import tables

URL = "http://tool.test/jwks.json?v=1"


def jwk(key: rsa.RSAPrivateKey, kid: str, **members: str) -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", "alg": "RS256", **members}


class Peer:
    """A tool that publishes keys, a bridge that asks for them, and the time between."""

    def __init__(self, wire: responses.RequestsMock) -> None:
        self.wire, self.now = wire, 1000.0
        self.http = Http(egress=Egress(allow_private=True), attempts=1)
        self.sets = KeySets(lambda: self.now)

    def publish(self, *keys: dict[str, Any], **answer: Any) -> None:
        self.wire.upsert(responses.GET, URL, **({"json": {"keys": list(keys)}} | answer))

    def key(self, kid: str) -> rsa.RSAPublicKey:
        return self.sets.key(self.http, URL, kid)

    @property
    def asked(self) -> int:
        return len(self.wire.calls)


@pytest.fixture
def peer() -> Iterator[Peer]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as wire:
        yield Peer(wire)


def code(call: Callable[[], Any]) -> str:
    with pytest.raises(LtiError) as caught:
        call()
    assert caught.value.status == 401
    return caught.value.code


def test_a_set_is_fetched_once_and_kept(peer: Peer, rsa_key: Any) -> None:
    peer.publish(jwk(rsa_key, "a"), jwk(rsa_key, "b"))
    assert peer.key("a").public_numbers() == rsa_key.public_key().public_numbers()
    peer.key("b")
    peer.now += 3599
    peer.key("a")
    assert peer.asked == 1
    peer.now += 2
    peer.key("a")
    assert peer.asked == 2


@pytest.mark.parametrize(
    ("advice", "kept"), [("max-age=1", 300), ("public, max-age=7200", 7200), ("max-age=9999999", 86_400)]
)
def test_the_peers_advice_counts_within_bounds(peer: Peer, rsa_key: Any, advice: str, kept: int) -> None:
    peer.publish(jwk(rsa_key, "a"), headers={"Cache-Control": advice})
    peer.key("a")
    peer.now += kept - 1
    peer.key("a")
    assert peer.asked == 1
    peer.now += 2
    peer.key("a")
    assert peer.asked == 2


def test_a_rotation_is_noticed_at_once(peer: Peer, rsa_key: Any, other_key: Any) -> None:
    peer.publish(jwk(rsa_key, "old"))
    peer.key("old")
    peer.publish(jwk(other_key, "new"))
    assert peer.key("new").public_numbers() == other_key.public_key().public_numbers()


def test_an_unknown_kid_is_looked_for_once_a_minute(peer: Peer, rsa_key: Any) -> None:
    peer.publish(jwk(rsa_key, "a"))
    for _ in range(5):
        assert code(lambda: peer.key("zz")) == "kid_unknown"
    assert peer.asked == 2
    peer.now += 61
    assert code(lambda: peer.key("zz")) == "kid_unknown"
    assert peer.asked == 3


def test_invented_kids_do_not_flood_the_peer(peer: Peer, rsa_key: Any) -> None:
    peer.publish(jwk(rsa_key, "a"))
    for number in range(100):
        assert code(lambda kid=f"k{number}": peer.key(kid)) == "kid_unknown"
    assert peer.asked == 2
    peer.key("a")


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 500},
        {"status": 404},
        {"status": 302, "headers": {"Location": "http://169.254.169.254/"}},
        {"body": "<html>"},
        {"body": b"\xff"},
        {"body": "[" * 100_000},
        {"json": []},
        {"json": {"keys": []}},
        {"json": {"keys": "x"}},
        {"body": requests.ConnectionError("down")},
        {"body": json.dumps({"keys": [], "pad": "x" * 300_000})},
    ],
    ids=lambda answer: str(answer)[:30],
)
def test_an_old_set_is_used_on_while_the_new_one_cant_be_read(peer: Peer, rsa_key: Any, answer: dict[str, Any]) -> None:
    peer.publish(jwk(rsa_key, "a"))
    peer.key("a")
    peer.wire.upsert(responses.GET, URL, **answer)
    peer.now += 4000
    peer.key("a")
    assert code(lambda: peer.key("b")) == "key_set_unreachable"
    asked = peer.asked
    peer.key("a")
    assert peer.asked == asked, "a peer in trouble is left alone for a moment"
    peer.publish(jwk(rsa_key, "b"))
    peer.now += 11
    peer.key("b")


def test_a_peer_that_was_never_reached_is_named(peer: Peer) -> None:
    peer.publish(status=503)
    with pytest.raises(LtiError) as caught:
        peer.key("a")
    assert caught.value.code == "key_set_unreachable"
    assert "http://tool.test/jwks.json" in str(caught.value)


@pytest.fixture
def published(rsa_key: Any) -> Iterator[str]:
    """A real address on this machine with a good key set."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"keys": [jwk(rsa_key, "a")]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/jwks"
        server.shutdown()
        thread.join()


def test_an_address_on_a_private_network_is_called_only_where_an_admin_typed_it_in(
    office: Any, published: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keysets, "_KEY_SETS", KeySets())
    settings = office.runtime.settings.model_copy(update={"allow_private_peers": False})
    monkeypatch.setattr(office.runtime, "settings", settings)
    office.change_tool(jwks_uri=published, jwks=None)
    assert office.ask_token(office.assertion(kid="a")).status_code == 200
    with office.runtime.db.write() as session:
        row = session.get_one(tables.Connection, office.connection("tool"))
        row.options = {"self_registered": True}
    monkeypatch.setattr(keysets, "_KEY_SETS", KeySets())
    answer = office.ask_token(office.assertion(kid="a"))
    assert answer.status_code == 401
    assert "private network" in answer.json()["error_description"]


def test_only_keys_that_may_sign_count(rsa_key: Any) -> None:
    good = jwk(rsa_key, "good")
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    curve = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)
    found = usable(
        {
            "keys": [
                good,
                {name: good[name] for name in ("kty", "n", "e")} | {"kid": "bare"},
                jwk(rsa_key, "enc", use="enc"),
                jwk(rsa_key, "rs512", alg="RS512"),
                jwk(short, "short"),
                {**curve, "kid": "curve"},
                {**good, "kid": 7},
                {**good, "kid": "no-n", "n": "!"},
                {**RSAAlgorithm.to_jwk(rsa_key, as_dict=True), "kid": "private"},
                {"kty": "oct", "k": "c2VjcmV0", "kid": "oct"},
                "x",
                None,
            ]
        }
    )
    assert set(found) == {"good", "bare"}
    assert usable(None) == usable([]) == usable({}) == {}


def test_a_tool_is_known_by_the_key_set_at_its_address(
    office: Any, peer: Peer, other_key: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keysets, "_KEY_SETS", peer.sets)
    peer.publish(jwk(other_key, "k1"))
    office.change_tool(jwks_uri=URL, jwks=None)
    assert office.ask_token(office.assertion(key=other_key)).status_code == 200
    assert office.ask_token(office.assertion()).status_code == 401
