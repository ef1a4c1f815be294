"""Who is it? Passwords, sessions, assertions, handoffs and credentials, and what each is not good for."""

from __future__ import annotations

import datetime as dt
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import pytest
from argon2 import PasswordHasher
from sqlalchemy import select, text

from bridge.connect import SignatureInvalid
from bridge.flows import callers, configure, housekeeping, identity
from bridge.flows.errors import Invalid, NotFound, Refused
from bridge.flows.runtime import Runtime
from bridge.store import now, tables
from tests.flows.conftest import SECRET

PASSWORD = "correct horse battery"
SIGN_IN = "a sign-in secret of thirty-two bytes"


@pytest.fixture(autouse=True)
def _quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """No failed tries of other tests, and hashes that cost less than real ones."""
    monkeypatch.setattr(identity, "_tries", identity._Tries())
    monkeypatch.setattr(identity, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
def bridge(runtime: Runtime, tmp_path: Path) -> Runtime:
    return configured(runtime, tmp_path)


def configured(runtime: Runtime, tmp_path: Path) -> Runtime:
    file = tmp_path / "flowbridge.yaml"
    file.write_text(
        f"""
connections:
  - {{name: desk, connector: webhook, config: {{secrets: ["{SECRET}"], sign_in_secret: "{SIGN_IN}"}}}}
  - {{name: shop, connector: webhook, config: {{secrets: ["{SECRET}"], sign_in_secret: "{SIGN_IN}, another"}}}}
  - {{name: plain, connector: webhook, config: {{secrets: ["{SECRET}"]}}}}
people:
  - {{key: E001, name: Sam, email: sam@example.com, accounts: {{desk: sam, shop: sam}}}}
  - {{key: E002, name: Ann, email: ann@example.com, role: admin, accounts: {{desk: ann}}}}
"""
    )
    configure.apply(runtime, file)
    return runtime


def person(runtime: Runtime, key: str = "E001") -> int:
    with runtime.db.read() as session:
        return session.scalars(select(tables.Person.id).where(tables.Person.key == key)).one()


def code_of(refused: pytest.ExceptionInfo[Refused]) -> str:
    return refused.value.code


# Passwords and sessions.


def test_a_one_time_password_signs_in_and_must_be_replaced(bridge: Runtime) -> None:
    once = identity.reset_password(bridge, " Sam@Example.com ")
    token, who = identity.sign_in(bridge, "SAM@example.com", once)
    assert (who.key, who.via, who.must_change) == ("E001", "password", True)
    identity.set_password(bridge, who.person_id, PASSWORD)
    assert identity.session(bridge, token) is None, "every session from before has ended"
    with pytest.raises(Refused):
        identity.sign_in(bridge, "sam@example.com", once)
    _, who = identity.sign_in(bridge, "sam@example.com", PASSWORD)
    assert not who.must_change


@pytest.mark.parametrize("password", ["short", "x" * 201, "the present one"])
def test_a_password_that_is_none_is_refused(bridge: Runtime, password: str) -> None:
    if password == "the present one":
        password = identity.reset_password(bridge, "sam@example.com")
    with pytest.raises(Invalid) as wrong:
        identity.set_password(bridge, person(bridge), password)
    assert wrong.value.field == "password"


def test_a_wrong_sign_in_does_not_say_what_was_wrong(bridge: Runtime) -> None:
    identity.set_password(bridge, person(bridge), PASSWORD)
    for email, password in (
        ("sam@example.com", "wrong"),
        ("nobody@example.com", PASSWORD),
        ("ann@example.com", "nobody"),  # who has no password yet
        ("", ""),
    ):
        with pytest.raises(Refused) as refused:
            identity.sign_in(bridge, email, password)
        assert code_of(refused) == "sign_in_failed"
        assert str(refused.value) == "That e-mail address and password do not belong together."


def test_after_ten_wrong_tries_even_the_right_password_waits(bridge: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_verified", lambda _hash, password: password == PASSWORD)
    identity.set_password(bridge, person(bridge), PASSWORD)
    for number in range(10):
        with pytest.raises(Refused) as refused:
            identity.sign_in(bridge, "Sam@example.com", f"wrong {number}")
        assert code_of(refused) == "sign_in_failed"
    with pytest.raises(Refused, match="Wait five minutes") as refused:
        identity.sign_in(bridge, "sam@example.com", PASSWORD)
    assert code_of(refused) == "too_many_tries"
    monkeypatch.setattr(identity, "_TRY_WINDOW", 0.0)  # five minutes have passed
    assert identity.sign_in(bridge, "sam@example.com", PASSWORD)[1].key == "E001"


def test_a_session_lasts_as_long_as_the_settings_say(bridge: Runtime) -> None:
    token, _ = identity.open_session(bridge, person(bridge), via="password")
    assert identity.session(bridge, token) is not None
    with bridge.db.write() as session:
        row = session.scalars(select(tables.SignInSession)).one()
        assert abs(row.expires_at - now() - dt.timedelta(hours=12)) < dt.timedelta(minutes=1)
        row.expires_at = now()
    assert identity.session(bridge, token) is None
    assert housekeeping.clean(bridge) == 1


def test_signing_out_ends_that_session_only(bridge: Runtime) -> None:
    first, _ = identity.open_session(bridge, person(bridge), via="password")
    second, _ = identity.open_session(bridge, person(bridge), via="password")
    identity.sign_out(bridge, first)
    identity.sign_out(bridge, first)
    assert identity.session(bridge, first) is None
    assert identity.session(bridge, second) is not None
    assert identity.session(bridge, None) is identity.session(bridge, "nonsense") is None


def test_a_token_is_not_in_the_database(bridge: Runtime) -> None:
    token, _ = identity.open_session(bridge, person(bridge), via="password")
    _, secret = identity.create_credential(bridge, "x", ["all"])
    with bridge.db.read() as session:
        stored = str(session.execute(text("select * from sign_in_session")).all())
        stored += str(session.execute(text("select * from credential")).all())
    assert token not in stored
    assert secret not in stored


def test_only_a_password_opens_the_console(bridge: Runtime) -> None:
    """What a business app vouches for must not make it an admin here."""
    roles = {
        via: identity.open_session(bridge, person(bridge, "E002"), via=via)[1].role for via in ("password", "handoff")
    }
    assert roles == {"password": "admin", "handoff": ""}


def test_a_password_is_reset_for_one_person_or_nobody(bridge: Runtime, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nobody has the address"):
        identity.reset_password(bridge, "nobody@example.com")
    (tmp_path / "twin.yaml").write_text("people: [{key: E003, email: sam@example.com}]")
    configure.apply(bridge, tmp_path / "twin.yaml")
    with pytest.raises(NotFound, match="2 people have the address"):
        identity.reset_password(bridge, "sam@example.com")


# Assertions of business apps.


def assertion(secret: str = SIGN_IN, **claims: Any) -> str:
    at = int(time.time())
    whole = {"iss": "desk", "aud": "http://bridge.test", "sub": "sam", "iat": at, "exp": at + 300, **claims}
    return jwt.encode({key: value for key, value in whole.items() if value is not None}, secret, algorithm="HS256")


def test_an_app_vouches_for_its_own_people(bridge: Runtime) -> None:
    assert identity.person_from_assertion(bridge, "desk", assertion()) == person(bridge)
    assert identity.person_from_assertion(bridge, "desk", assertion(sub="ann")) == person(bridge, "E002")


def wrong_assertions() -> dict[str, str]:
    at = int(time.time())
    return {
        "another secret": assertion(secret=SECRET),
        "another app's secret": assertion(secret=SIGN_IN + ", another"),
        "another issuer": assertion(iss="shop"),
        "another audience": assertion(aud="http://elsewhere.test"),
        "expired": assertion(iat=at - 700, exp=at - 100),
        "from the future": assertion(iat=at + 300, exp=at + 400),
        "lives too long": assertion(exp=at + 601),
        "lives too long, in text": assertion(exp=str(at + 100_000)),
        "lives for ever": assertion(exp=None),
        "not issued": assertion(iat=None),
        "nobody": assertion(sub=None),
        "not a text": assertion(sub=7),
        "for nobody": assertion(aud=None),
        "not signed": jwt.encode({"iss": "desk", "sub": "sam", "iat": at, "exp": at + 60}, "", algorithm="none"),
        "nonsense": "nonsense",
    }


def test_an_assertion_that_is_wrong_in_any_way_proves_nothing(bridge: Runtime) -> None:
    believed = {}
    for name, wrong in wrong_assertions().items():
        try:
            believed[name] = identity.person_from_assertion(bridge, "desk", wrong)
        except SignatureInvalid as error:
            assert "the sign-in assertion of 'desk'" in str(error)
            assert SIGN_IN not in str(error)
    assert believed == {}


def test_an_account_that_nobody_has_is_refused(bridge: Runtime) -> None:
    with pytest.raises(Refused, match="The account 'stranger' of 'desk' belongs to nobody") as refused:
        identity.person_from_assertion(bridge, "desk", assertion(sub="stranger"))
    assert code_of(refused) == "person_unknown"


def test_an_app_without_a_secret_vouches_for_nobody(bridge: Runtime) -> None:
    with pytest.raises(SignatureInvalid, match="'plain' has no sign_in_secret"):
        identity.person_from_assertion(bridge, "plain", assertion(iss="plain"))
    with pytest.raises(NotFound):
        identity.person_from_assertion(bridge, "nowhere", assertion(iss="nowhere"))


# Handoffs: from the widget to a tab of the bridge's own.


def test_a_handoff_is_good_once_for_its_prompt(bridge: Runtime) -> None:
    code = identity.handoff(bridge, person(bridge), "prompt-1")
    with pytest.raises(SignatureInvalid):
        identity.redeem_handoff(bridge, code, "prompt-2")
    assert identity.redeem_handoff(bridge, code, "prompt-1") == person(bridge)
    with pytest.raises(SignatureInvalid, match="was used already; go back to your work"):
        identity.redeem_handoff(bridge, code, "prompt-1")


def test_a_handoff_is_over_after_ten_minutes(bridge: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "ASSERTION_LIFE", -1)  # ten minutes have passed
    code = identity.handoff(bridge, person(bridge), "prompt-1")
    with pytest.raises(SignatureInvalid, match="opened too late; go back to your work"):
        identity.redeem_handoff(bridge, code, "prompt-1")


def test_a_handoff_can_not_be_made_elsewhere(bridge: Runtime) -> None:
    claims = {"sub": "1", "prompt": "p", "jti": "x", "exp": int(time.time()) + 60}
    with pytest.raises(SignatureInvalid):
        identity.redeem_handoff(bridge, jwt.encode(claims, SIGN_IN, algorithm="HS256"), "p")


def test_of_twenty_uses_at_once_exactly_one_wins(each_runtime: Runtime, tmp_path: Path) -> None:
    bridge = configured(each_runtime, tmp_path)
    code = identity.handoff(bridge, person(bridge), "prompt-1")

    def use(_: int) -> int:
        try:
            return identity.redeem_handoff(bridge, code, "prompt-1")
        except SignatureInvalid:
            return 0

    with ThreadPoolExecutor(20) as pool:
        assert sorted(pool.map(use, range(20))) == [0] * 19 + [person(bridge)]


# Credentials of programs.


def test_a_credential_has_its_scopes_until_it_is_revoked(bridge: Runtime) -> None:
    key, secret = identity.create_credential(bridge, "the LRS", ["statements/read", "statements/read"])
    caller = callers.by_secret(bridge, key, secret)
    assert caller is not None
    assert (caller.may("statements/read"), caller.may("statements/write"), caller.connection_id) == (True, False, None)
    assert callers.by_secret(bridge, key, secret + "x") is None
    assert callers.by_secret(bridge, "fb_nobody", secret) is None
    identity.revoke_credential(bridge, key)
    assert callers.by_secret(bridge, key, secret) is None
    with pytest.raises(NotFound):
        identity.revoke_credential(bridge, "fb_nobody")


def test_all_is_every_scope(bridge: Runtime) -> None:
    caller = callers.by_secret(bridge, *identity.create_credential(bridge, "x", ["all"], "desk"))
    assert caller is not None
    assert all(caller.may(scope) for scope in identity.SCOPES)
    assert caller.connection_id is not None


@pytest.mark.parametrize("scopes", [[], ["everything"], ["all", "everything"]])
def test_a_scope_that_is_none_is_told_with_those_there_are(bridge: Runtime, scopes: list[str]) -> None:
    with pytest.raises(Invalid, match="the scopes are events:write, prompts:read"):
        identity.create_credential(bridge, "x", scopes)


def test_making_and_revoking_is_audited_without_the_secret(bridge: Runtime) -> None:
    key, secret = identity.create_credential(bridge, "x", ["all"])
    identity.revoke_credential(bridge, key)
    with bridge.db.read() as session:
        rows = session.scalars(select(tables.Audit).where(tables.Audit.subject == key)).all()
    assert [row.action for row in rows] == ["credential.create", "credential.revoke"]
    assert secret not in str([row.detail for row in rows])


def test_a_connection_that_is_not_there_has_no_credential(bridge: Runtime) -> None:
    with pytest.raises(NotFound, match="there is no connection 'dsek'"):
        identity.create_credential(bridge, "x", ["all"], "dsek")
