"""What a tool reads before the first launch: configuration and keys."""

from __future__ import annotations

import datetime as dt
from typing import Any

import jwt
from sqlalchemy import select

from bridge.lti import keys
from bridge.store import now, tables


def test_the_configuration_names_endpoints_that_exist(office: Any) -> None:
    answer = office.client.get("/.well-known/openid-configuration").json()
    assert answer["issuer"] == "http://bridge.test"
    assert office.client.get(answer["jwks_uri"]).status_code == 200
    assert office.client.post(answer["token_endpoint"]).status_code == 400
    assert office.client.get(answer["authorization_endpoint"]).status_code == 400
    assert answer["token_endpoint_auth_signing_alg_values_supported"] == ["RS256"]
    assert answer["id_token_signing_alg_values_supported"] == ["RS256"]
    lti = answer["https://purl.imsglobal.org/spec/lti-platform-configuration"]
    assert lti["product_family_code"] == "flowbridge"
    assert {"type": "LtiResourceLinkRequest"} in lti["messages_supported"]
    assert "FlowBridge.event.data" in lti["variables"]


def test_the_key_set_may_be_cached_and_shows_no_private_part(office: Any) -> None:
    answer = office.client.get("/lti/jwks")
    assert "max-age=3600" in answer.headers["cache-control"]
    shown = answer.json()["keys"]
    assert len(shown) == 2  # the current and the next
    for key in shown:
        assert set(key) == {"kty", "use", "alg", "kid", "n", "e"}
        assert (key["kty"], key["use"], key["alg"]) == ("RSA", "sig", "RS256")
        assert jwt.PyJWK(key).key.key_size == 2048


def test_keys_are_made_once(office: Any) -> None:
    before = keys.key_set(office.runtime)
    keys.ensure(office.runtime)
    assert keys.key_set(office.runtime) == before


def test_private_keys_are_sealed_at_rest(office: Any) -> None:
    with office.runtime.db.read() as session:
        for row in session.scalars(select(tables.SigningKey)):
            assert b"PRIVATE KEY" not in row.private
            assert "BEGIN" in office.runtime.vault.open(row.private.decode())


def test_a_rotation_keeps_every_key_that_somebody_may_still_need(office: Any) -> None:
    announced = {key["kid"] for key in keys.key_set(office.runtime)["keys"]}
    old = jwt.get_unverified_header(keys.sign(office.runtime, {"sub": "1"}))["kid"]
    current = keys.rotate(office.runtime)
    assert current != old
    assert current in announced, "tools that cached the key set must know the key that signs now"
    assert jwt.get_unverified_header(keys.sign(office.runtime, {"sub": "1"}))["kid"] == current
    shown = {key["kid"] for key in keys.key_set(office.runtime)["keys"]}
    assert announced < shown
    assert old in shown, "what was signed just before the rotation must still verify"


def test_a_replaced_key_is_published_for_a_day_and_then_dropped(office: Any) -> None:
    old = jwt.get_unverified_header(keys.sign(office.runtime, {"sub": "1"}))["kid"]
    keys.rotate(office.runtime)
    with office.runtime.db.write() as session:
        row = session.get_one(tables.SigningKey, old)
        assert row.retire_at >= now() + dt.timedelta(hours=23)
        row.retire_at = now() - dt.timedelta(seconds=1)
    assert old not in {key["kid"] for key in keys.key_set(office.runtime)["keys"]}
    keys.rotate(office.runtime)
    with office.runtime.db.read() as session:
        assert session.get(tables.SigningKey, old) is None
