"""The authentication request: who may ask, what is refused how, and that a launch is taken once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jwt
import pytest
from sqlalchemy import select

from bridge.lti.errors import LtiError
from bridge.store import tables

TOOL = "http://tool.test"


def refused(office: Any, params: dict[str, str]) -> tuple[str, str]:
    """The error that is posted to the tool: its word, and the stable code at the end of its description."""
    action, fields = office.authorize(params)
    assert action == params["redirect_uri"]
    assert "id_token" not in fields
    assert fields.get("state") == params.get("state")
    return fields["error"], fields["error_description"].rpartition("(")[2].rstrip(")")


def test_a_launch_begins_with_a_form_for_the_tools_login(office: Any) -> None:
    token, launch = office.sign_in(), office.launch()
    start = office.begin(token, launch)
    assert (start.url, start.method) == (f"{TOOL}/login?id=7", "post")
    assert start.fields["iss"] == "http://bridge.test"
    assert start.fields["client_id"] == "client-1"
    assert start.fields["lti_deployment_id"] == "1"
    assert start.fields["target_link_uri"] == f"{TOOL}/quiz"
    assert "sam" not in start.fields["login_hint"].lower()
    assert "E001" not in start.fields["login_hint"]
    with office.runtime.db.read() as session:
        row = session.scalars(select(tables.LtiHint)).one()
    assert start.fields["lti_message_hint"].encode() not in row.hint_hash


def test_one_person_has_another_name_in_each_tool(office: Any) -> None:
    office.add_asset("second", "other")
    token = office.sign_in()
    first, again = (office.begin(token, office.launch()).fields["login_hint"] for _ in range(2))
    second = office.begin(token, office.launch(asset="other")).fields["login_hint"]
    assert first == again != second


def test_a_resource_of_its_own_address_is_opened_there(office: Any) -> None:
    office.add_asset("tool", "deep", url=f"{TOOL}/deep/7")
    start = office.begin(office.sign_in(), office.launch(asset="deep"))
    assert start.fields["target_link_uri"] == f"{TOOL}/deep/7"
    _, fields = office.authorize(office.request(start))
    assert office.claims_of(fields["id_token"])["https://purl.imsglobal.org/spec/lti/claim/target_link_uri"] == (
        f"{TOOL}/deep/7"
    )


@pytest.mark.parametrize(
    "url", ["http://evil.test/quiz", "//evil.test", "javascript:alert(1)", "https://tool.test/quiz"]
)
def test_an_address_that_is_not_the_tools_is_never_opened(office: Any, url: str) -> None:
    office.add_asset("tool", "foreign", url=url)
    with pytest.raises(LtiError) as caught:
        office.begin(office.sign_in(), office.launch(asset="foreign"))
    assert caught.value.code == "target_not_of_tool"


def test_an_asset_can_name_the_tool_that_opens_it(office: Any) -> None:
    office.add_asset("crm", "by-name", tool="second")
    start = office.begin(office.sign_in(), office.launch(asset="by-name"))
    assert start.fields["client_id"] == "client-2"


def test_a_tool_that_is_switched_off_opens_nothing(office: Any) -> None:
    params = office.started()
    office.change_tool(enabled=False)
    assert office.client.get("/lti/authorize", params=params).status_code == 400
    with pytest.raises(LtiError) as caught:
        office.begin(office.sign_in(), office.launch())
    assert caught.value.code == "tool_missing"


def test_the_answer_is_a_signed_token_with_the_tools_own_state_and_nonce(office: Any) -> None:
    params = office.started(state='a"b<c>&ü', nonce="n-ü")
    action, fields = office.authorize(params)
    assert (action, fields["state"]) == (f"{TOOL}/launch", 'a"b<c>&ü')
    known = jwt.PyJWKSet.from_dict(office.client.get("/lti/jwks").json())
    header = jwt.get_unverified_header(fields["id_token"])
    assert (header["alg"], header["typ"]) == ("RS256", "JWT")
    claims = jwt.decode(
        fields["id_token"],
        known[header["kid"]].key,
        algorithms=["RS256"],
        audience="client-1",
        issuer="http://bridge.test",
    )
    assert claims["nonce"] == "n-ü"
    assert claims["sub"] == params["login_hint"]


def test_the_page_that_carries_the_token_is_kept_by_nobody_and_posts_to_one_place(office: Any) -> None:
    response = office.client.get("/lti/authorize", params=office.started())
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["referrer-policy"] == "no-referrer"
    policy = response.headers["content-security-policy"]
    assert policy.endswith("form-action http://tool.test https:")
    assert "script-src 'sha256-" in policy
    assert "unsafe-inline" not in policy
    assert "<noscript>" in response.text


def test_state_is_left_out_when_the_tool_sent_none(office: Any) -> None:
    _, fields = office.authorize(office.started(state=None))
    assert set(fields) == {"id_token"}


def test_parameters_that_the_platform_does_not_know_are_ignored(office: Any) -> None:
    params = office.started() | {"id_token_signed_response_alg": "RS256", "lti_deployment_id": "1"}
    assert "id_token" in office.authorize(params)[1]


def test_the_request_may_come_by_post(office: Any) -> None:
    response = office.client.post("/lti/authorize", data=office.started())
    assert "id_token" in office.form_of(response.text)[1]


@pytest.mark.parametrize("client_id", [None, "", "client-9", "CLIENT-1", "client-1\x00"])
def test_nothing_is_posted_for_an_unknown_client(office: Any, client_id: str | None) -> None:
    response = office.client.get("/lti/authorize", params=office.started(client_id=client_id))
    assert response.status_code == 400
    assert "<form" not in response.text
    assert TOOL not in response.text


@pytest.mark.parametrize(
    "redirect_uri",
    [
        None,
        "",
        f"{TOOL}/launch/",
        f"{TOOL}/launch/more",
        f"{TOOL}/LAUNCH",
        "http://TOOL.test/launch",
        "http://tool.test:80/launch",
        "http://tool.test:8080/launch",
        f"{TOOL}/launch?x=1",
        f"{TOOL}/laun%63h",
        f"{TOOL}/launch#x",
        f" {TOOL}/launch",
        "https://tool.test/launch",
        "http://evil.test/launch",
        "http://third.test/launch",
    ],
)
def test_nothing_is_posted_to_an_address_that_is_not_registered_letter_by_letter(
    office: Any, redirect_uri: str | None
) -> None:
    office.change_tool("second", redirect_uris=["http://third.test/launch"])
    params = office.started(redirect_uri=redirect_uri)
    response = office.client.get("/lti/authorize", params=params)
    assert response.status_code == 400
    assert "<form" not in response.text
    assert "id_token" in office.authorize(params | {"redirect_uri": f"{TOOL}/launch?second=1"})[1], (
        "nothing was used up"
    )


@pytest.mark.parametrize(
    ("changes", "error", "code"),
    [
        ({"scope": "profile"}, "invalid_scope", "scope_openid_missing"),
        ({"scope": None}, "invalid_scope", "scope_openid_missing"),
        ({"response_type": "code"}, "unsupported_response_type", "response_type_wrong"),
        ({"response_mode": "query"}, "invalid_request", "response_mode_wrong"),
        ({"response_mode": "fragment"}, "invalid_request", "response_mode_wrong"),
        ({"response_mode": None}, "invalid_request", "response_mode_wrong"),
        ({"prompt": "login"}, "invalid_request", "prompt_wrong"),
        ({"prompt": None}, "invalid_request", "prompt_wrong"),
        ({"nonce": None}, "invalid_request", "nonce_wrong"),
        ({"nonce": ""}, "invalid_request", "nonce_wrong"),
        ({"nonce": "n" * 513}, "invalid_request", "nonce_wrong"),
        ({"login_hint": None}, "invalid_request", "login_hint_wrong"),
        ({"login_hint": "somebody"}, "invalid_request", "login_hint_wrong"),
        ({"login_hint": "sömebody"}, "invalid_request", "login_hint_wrong"),
        ({"lti_message_hint": None}, "launch_no_longer_valid", "hint_unknown"),
        ({"lti_message_hint": "x" * 32}, "launch_no_longer_valid", "hint_unknown"),
    ],
)
def test_a_wrong_parameter_is_told_to_the_tool_and_uses_nothing_up(
    office: Any, changes: dict[str, str | None], error: str, code: str
) -> None:
    params = office.started()
    wrong = {name: value for name, value in (params | changes).items() if value is not None}
    assert refused(office, wrong) == (error, code)
    assert "id_token" in office.authorize(params)[1]


def test_a_repeated_parameter_is_refused_on_a_page(office: Any) -> None:
    params = office.started()
    response = office.client.get("/lti/authorize", params=[*params.items(), ("redirect_uri", "http://evil.test/")])
    assert response.status_code == 400
    assert "<form" not in response.text


def test_a_launch_is_taken_once(office: Any) -> None:
    params = office.started()
    office.authorize(params)
    assert refused(office, params) == ("launch_no_longer_valid", "hint_used")


def test_a_launch_that_took_too_long_is_over(office: Any, expire: Callable[..., None]) -> None:
    params = office.started()
    expire(office.runtime, tables.LtiHint)
    assert refused(office, params) == ("launch_no_longer_valid", "hint_expired")


def test_a_hint_of_another_tool_is_refused(office: Any) -> None:
    office.add_asset("second", "other")
    theirs = office.begin(office.sign_in(), office.launch(asset="other"))
    params = office.request(theirs, client_id="client-1")
    assert refused(office, params) == ("invalid_request", "hint_of_other_client")


def test_two_launches_cant_be_crossed(office: Any) -> None:
    priya = office.begin(office.sign_in("E002"), office.launch("E002"))
    sam = office.started()
    crossed = sam | {"lti_message_hint": priya.fields["lti_message_hint"]}
    assert refused(office, crossed) == ("invalid_request", "login_hint_wrong")


def test_a_stolen_launch_cant_be_finished_in_another_sign_in(office: Any) -> None:
    params = office.started()
    office.sign_in("E002")
    assert refused(office, params) == ("login_required", "session_other")
    office.sign_in("E001")  # the same person, but not the browser that began
    assert refused(office, params) == ("login_required", "session_other")


def test_without_a_session_the_browser_is_asked_once_to_send_it_from_here(office: Any) -> None:
    params = office.started(state='s"<>')
    cookie = office.client.cookies["flowbridge_session"]
    office.client.cookies.clear()
    response = office.client.post("/lti/authorize", data=params)
    action, fields = office.form_of(response.text)
    assert action == "/lti/authorize"
    assert fields.items() >= params.items()
    assert response.headers["content-security-policy"].endswith("form-action 'self'")
    office.client.cookies.set("flowbridge_session", cookie)
    action, answer = office.form_of(office.client.post(action, data=fields).text)
    assert action == f"{TOOL}/launch"
    assert "id_token" in answer
    assert answer["state"] == 's"<>'


def test_a_browser_that_never_sends_a_session_is_not_asked_again(office: Any) -> None:
    params = office.started()
    office.client.cookies.clear()
    _, fields = office.form_of(office.client.post("/lti/authorize", data=params).text)
    action, answer = office.form_of(office.client.post("/lti/authorize", data=fields).text)
    assert action == f"{TOOL}/launch"
    assert answer["error"] == "login_required"
    assert "new tab" in answer["error_description"]


def test_a_session_that_has_ended_counts_as_none(office: Any, expire: Callable[..., None]) -> None:
    params = office.started()
    expire(office.runtime, tables.SignInSession)
    action, _ = office.authorize(params)
    assert action == "/lti/authorize"


def test_the_way_back_shows_what_the_tool_says_as_text(office: Any) -> None:
    launch = office.launch()
    page = office.client.get(f"/lti/return/{launch}", params={"lti_errormsg": "<b>no</b>", "lti_msg": "done"})
    assert page.status_code == 200
    assert "&lt;b&gt;no&lt;/b&gt;" in page.text
    assert "done" in page.text
