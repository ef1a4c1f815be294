"""Keys change while people launch: no launch fails, whatever a tool has cached."""

from __future__ import annotations

import datetime as dt
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
from sqlalchemy import select

from bridge.lti import keys
from bridge.store import now, tables
from tests.lti.conftest import ISSUER, Office

ROUNDS, LAUNCHES = 5, 8


class Peer:
    """A tool that keeps the key set, and asks again only for a key that is not in it."""

    def __init__(self, office: Office) -> None:
        self._office, self._lock = office, threading.Lock()
        self._kept: dict[str, Any] = {}
        self.asked = 0

    def verify(self, id_token: str) -> str:
        """The kid of the key that signed; raises where the token can't be verified."""
        kid = jwt.get_unverified_header(id_token)["kid"]
        with self._lock:
            if kid not in self._kept:
                self.asked += 1
                listed = self._office.client.get("/lti/jwks").json()["keys"]
                self._kept = {key["kid"]: jwt.PyJWK(key).key for key in listed}
        options = {"require": ["exp", "iat", "nonce"]}
        jwt.decode(id_token, self._kept[kid], algorithms=["RS256"], audience="client-1", issuer=ISSUER, options=options)  # type: ignore[arg-type]
        return str(kid)


def test_no_launch_fails_while_keys_rotate(either_office: Office) -> None:
    office, peer = either_office, Peer(either_office)
    token = office.sign_in()
    gate = threading.Barrier(LAUNCHES + 1)

    def launch(start: dict[str, str]) -> str:
        gate.wait(timeout=30)
        return office.authorize(start)[1]["id_token"]

    def rotate() -> str:
        gate.wait(timeout=30)
        return keys.rotate(office.runtime)

    signed: list[str] = []
    with ThreadPoolExecutor(LAUNCHES + 1) as pool:
        for _ in range(ROUNDS):
            starts = [office.request(office.begin(token, office.launch())) for _ in range(LAUNCHES)]
            rotated = pool.submit(rotate)
            fresh = list(pool.map(launch, starts))
            rotated.result()
            assert {peer.verify(id_token) for id_token in fresh}
            signed += fresh
    assert len(signed) == ROUNDS * LAUNCHES
    used = {peer.verify(id_token) for id_token in signed}
    assert len(used) >= ROUNDS // 2, "several keys signed"
    assert {Peer(office).verify(id_token) for id_token in signed} == used, "the previous keys stay published"


def test_a_tool_with_an_old_key_set_knows_the_key_that_signs_next(office: Office) -> None:
    peer = Peer(office)
    start = office.started()
    before = peer.verify(office.authorize(start)[1]["id_token"])
    keys.rotate(office.runtime)
    after = peer.verify(office.authorize(office.started())[1]["id_token"])
    assert before != after
    assert peer.asked == 1


@pytest.mark.parametrize(("age", "early"), [(0, True), (3500, True), (3601, False)])
def test_a_key_that_some_may_not_know_is_too_early(office: Office, age: int, early: bool) -> None:
    with office.runtime.db.write() as session:
        for row in session.scalars(select(tables.SigningKey)):
            row.created_at = now() - dt.timedelta(seconds=age)
    assert (keys.too_early(office.runtime) is not None) == early
