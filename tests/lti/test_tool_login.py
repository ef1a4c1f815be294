"""Logins that an LMS begins: what is answered, what is kept, and what is refused."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from fastapi.testclient import TestClient

from bridge.flows import housekeeping
from bridge.flows.runtime import Runtime
from bridge.lti.tool import cookies, logins
from bridge.settings import Settings
from bridge.store import tables
from tests.lti.launching_lms import Lms

ODD = "a b+c%20d\"e'f<g>&h=ü€𝄞"


def test_the_authentication_request_says_what_the_specification_asks_for(lms: Lms) -> None:
    login = lms.login()
    assert login.url.startswith("https://lms.test/auth?")
    assert login.request == {
        "scope": "openid",
        "response_type": "id_token",
        "response_mode": "form_post",
        "prompt": "none",
        "client_id": "bridge-1",
        "redirect_uri": lms.tool,
        "login_hint": "user-7",
        "lti_message_hint": "link-5",
        "state": login.state,
        "nonce": login.nonce,
    }
    assert len(login.state) >= 32 and len(login.nonce) >= 32
    again = lms.login()
    assert again.state != login.state and again.nonce != login.nonce


def test_a_login_by_get_is_the_same(lms: Lms) -> None:
    answer = lms.client.get("/lti/tool/login", params=lms.initiation(), follow_redirects=False)
    assert answer.status_code == 302
    assert answer.headers["location"].startswith("https://lms.test/auth?scope=openid&")
    assert answer.headers["cache-control"] == "no-store"


def test_hints_come_back_letter_by_letter(lms: Lms) -> None:
    request = lms.login(login_hint=ODD, lti_message_hint=ODD[::-1]).request
    assert (request["login_hint"], request["lti_message_hint"]) == (ODD, ODD[::-1])


def test_the_query_of_the_platforms_own_address_stays(lms: Lms) -> None:
    lms.reconfigure(auth_login_url="https://lms.test/auth?tenant=a%20b&x=1")
    assert lms.login().url.startswith("https://lms.test/auth?tenant=a%20b&x=1&scope=openid&")


def test_a_client_id_may_be_left_out_while_there_is_one_registration(lms: Lms) -> None:
    assert lms.login(client_id=None).request["client_id"] == "bridge-1"
    Lms(lms.runtime, lms.client, lms.key, client_id="bridge-2").register("lms-2")
    refused = lms.begin(client_id=None)
    assert refused.status_code == 400 and "registration unknown" in refused.text
    assert "bridge-" not in refused.text and "lms-2" not in refused.text, "what is registered is nobody's business"
    assert lms.login(client_id="bridge-2").request["client_id"] == "bridge-2"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"iss": "https://other.test"}, "registration unknown"),
        ({"iss": "https://lms.test/"}, "registration unknown"),
        ({"iss": "https://LMS.test"}, "registration unknown"),
        ({"iss": "https://lms.test\x00"}, "login malformed"),
        ({"iss": None}, "login malformed"),
        ({"client_id": "other"}, "registration unknown"),
        ({"login_hint": None}, "login malformed"),
        ({"login_hint": "x" * 9000}, "login malformed"),
        ({"login_hint": "a\x00b"}, "login malformed"),
        ({"target_link_uri": None}, "target unknown"),
        ({"target_link_uri": "https://evil.test/lti/tool/launch"}, "target unknown"),
        ({"target_link_uri": "//evil.test/lti/tool/launch"}, "target unknown"),
        ({"target_link_uri": "javascript:alert(1)"}, "target unknown"),
        ({"target_link_uri": "http://bridge.test/lti/tool/launch?x=1"}, "target unknown"),
        ({"target_link_uri": "http://bridge.test/lti/tool/launch/"}, "target unknown"),
        ({"target_link_uri": "http://bridge.test/"}, "target unknown"),
    ],
)
def test_a_login_that_does_not_fit_is_refused_with_its_reason(
    lms: Lms, changes: dict[str, str | None], code: str
) -> None:
    answer = lms.begin(**changes)
    assert answer.status_code == 400
    assert code in answer.text and "Reference:" in answer.text
    assert "set-cookie" not in answer.headers
    assert lms.rows(tables.LmsLogin) == []


def test_a_switched_off_lms_is_unknown(lms: Lms) -> None:
    lms.reconfigure(enabled=False)
    assert lms.begin().status_code == 400


def test_a_repeated_parameter_is_refused(lms: Lms) -> None:
    query = f"iss=https%3A%2F%2Flms.test&iss=x&login_hint=1&target_link_uri={lms.tool}"
    answer = lms.client.get(f"/lti/tool/login?{query}", follow_redirects=False)
    assert answer.status_code == 400 and "parameter repeated" in answer.text


def test_a_refusal_can_be_read_in_the_lms_s_frame(lms: Lms) -> None:
    assert "frame-ancestors" not in lms.begin(iss="https://other.test").headers["content-security-policy"]


@pytest.mark.parametrize(
    ("address", "how"),
    [
        ("https://bridge.example", "Secure; SameSite=None; Partitioned"),
        ("http://127.0.0.1:8000", "Secure; SameSite=None; Partitioned"),
        ("http://localhost:8000", "Secure; SameSite=None; Partitioned"),
        ("http://[::1]:8000", "Secure; SameSite=None; Partitioned"),
        ("http://bridge.localhost:8000", "Secure; SameSite=None; Partitioned"),
        ("http://bridge.intranet", "SameSite=Lax"),
        ("http://localhost.evil.test", "SameSite=Lax"),
    ],
)
def test_the_cookie_comes_back_with_a_form_of_another_site_where_browsers_allow_it(address: str, how: str) -> None:
    header = cookies.header("s-1", path="/lti/tool", seconds=600, crosses=cookies.cross_sites(address))
    assert header == f"{cookies.name_of('s-1')}=s-1; Max-Age=600; Path=/lti/tool; HttpOnly; {how}"


def test_each_login_has_a_cookie_of_its_own(lms: Lms) -> None:
    first, second = lms.begin(), lms.begin()
    names = {answer.headers["set-cookie"].partition("=")[0] for answer in (first, second)}
    assert len(names) == 2
    assert "Path=/lti/tool; HttpOnly" in first.headers["set-cookie"]


def test_nothing_that_opens_a_launch_is_kept_in_clear(lms: Lms) -> None:
    login = lms.login(lti_storage_target=None)
    (row,) = lms.rows(tables.LmsLogin)
    assert login.state.encode() not in row.state_hash
    assert row.proof_hash is None


def test_a_flood_from_one_address_is_stopped_and_leaves_no_endless_rows(
    lms: Lms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "_THROTTLE", logins.Throttle(5, 0))
    answers = [lms.begin() for _ in range(12)]
    assert [answer.status_code for answer in answers] == [302] * 5 + [429] * 7
    assert answers[-1].headers["retry-after"] == "60"
    assert len(lms.rows(tables.LmsLogin)) == 5
    elsewhere = Lms(lms.runtime, lms.client, lms.key, issuer="https://second.test").register("second")
    assert elsewhere.begin().status_code == 302, "another LMS does not suffer"


def test_ten_thousand_logins_at_once_from_one_address_are_throttled() -> None:
    allowed = sum(logins._THROTTLE.allows("192.0.2.1") for _ in range(10_000))
    assert 1_000 <= allowed < 5_000


def test_the_throttle_fills_again_and_forgets_the_silent() -> None:
    at = 0.0
    throttle = logins.Throttle(2, 0.5, most=2, clock=lambda: at)
    assert [throttle.allows("a") for _ in range(3)] == [True, True, False]
    at = 2.0
    assert [throttle.allows("a") for _ in range(2)] == [True, False]
    assert throttle.allows("b") and throttle.allows("c")
    assert len(throttle._left) == 2


def test_logins_that_nobody_finished_are_swept_out(lms: Lms, expire: Any) -> None:
    lms.login()
    assert housekeeping.clean(lms.runtime) == 0
    expire(lms.runtime, tables.LmsLogin)
    assert housekeeping.clean(lms.runtime) == 1
    assert lms.rows(tables.LmsLogin) == []


def test_where_the_lms_keeps_notes_a_page_leaves_one_before_it_goes_on(lms: Lms) -> None:
    lms.reconfigure(auth_login_url="https://Login.lms.test:8443/auth?x=1")
    page = lms.begin(lti_storage_target="post_message_forwarding")
    assert page.status_code == 200
    assert 'data-target="post_message_forwarding"' in page.text
    assert 'data-origin="https://login.lms.test:8443"' in page.text, "the note goes to the login's own origin alone"
    assert 'src="/static/lti-storage.js"' in page.text and "<script>" not in page.text
    assert "script-src" not in page.headers["content-security-policy"], "scripts only from here"
    assert "set-cookie" in page.headers
    (row,) = lms.rows(tables.LmsLogin)
    assert row.storage_target == "post_message_forwarding" and row.proof_hash is not None
    assert lms.client.get("/static/lti-storage.js").status_code == 200


@pytest.mark.parametrize("target", ["", "a b", "x" * 300, '"><script>'])
def test_a_frame_with_an_impossible_name_is_none(lms: Lms, target: str) -> None:
    assert lms.begin(lti_storage_target=target).status_code == 302


def test_the_key_set_is_the_platforms(lms: Lms) -> None:
    ours, theirs = lms.client.get("/lti/tool/jwks"), lms.client.get("/lti/jwks")
    assert ours.json() == theirs.json()
    assert ours.headers["cache-control"] == "public, max-age=3600"


def test_over_https_a_whole_way_needs_no_lax_cookie(runtime: Runtime, other_key: Any) -> None:
    from bridge.web.app import create_app

    runtime.settings = Settings.load(home=runtime.settings.home, base_url="https://bridge.example")
    with TestClient(create_app(runtime), base_url="https://bridge.example") as client:
        lms = Lms(runtime, client, other_key).register()
        answer = lms.begin()
        assert "SameSite=None; Partitioned" in answer.headers["set-cookie"]
        request = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
        assert request["redirect_uri"] == "https://bridge.example/lti/tool/launch"
        assert lms.enter().status_code == 200
