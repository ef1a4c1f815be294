"""Requests of real tools, as recorded on the wire: only ids and addresses are put in place of the recorded ones."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import jwt
import pytest

from bridge.lti.keysets import usable


@pytest.mark.parametrize(
    ("key_set", "assertion"),
    [
        ("ltijs-tool-04-jwks", "ltijs-tool-08-token-assertion"),
        ("moodle-tool-04-jwks", "moodle-tool-08-token-assertion"),
        ("pylti1p3-tool-jwks", "moodle-platform-09-token-ags-assertion"),
    ],
)
def test_key_sets_of_real_tools_verify_their_assertions(recorded: Any, key_set: str, assertion: str) -> None:
    signed = recorded(assertion)
    keys = usable(recorded(key_set)["response"]["json"])
    without_clock = {"verify_exp": False, "verify_iat": False, "verify_aud": False}
    claims = jwt.decode(signed["jwt"], keys[signed["header"]["kid"]], algorithms=["RS256"], options=without_clock)
    assert claims == signed["claims"]


@pytest.mark.parametrize("name", ["ltijs-tool-06-auth-request-learner", "moodle-tool-06-auth-request-learner-course"])
def test_authentication_requests_of_real_tools_are_answered(office: Any, recorded: Any, name: str) -> None:
    query = recorded(name)["request"]["query"]
    address = query["redirect_uri"]
    office.change_tool(initiate_login_uri=address, redirect_uris=[address], target_link_uri=address)
    start = office.started()
    ours = {key: start[key] for key in ("client_id", "login_hint", "lti_message_hint")}
    action, fields = office.authorize(query | ours)
    assert (action, fields["state"]) == (address, query["state"])
    assert office.claims_of(fields["id_token"])["nonce"] == query["nonce"]


@pytest.mark.parametrize("name", ["ltijs-tool-08-token", "moodle-tool-08-token", "moodle-platform-09-token-ags"])
def test_token_requests_of_real_tools_are_answered(office: Any, recorded: Any, name: str) -> None:
    sent = recorded(name)["request"]
    form = sent["form"] | {"client_assertion": office.assertion()}
    answer = office.client.post(
        "/lti/token", content=urlencode(form), headers={"content-type": sent["headers"]["content-type"]}
    )
    assert answer.status_code == 200
    assert set(answer.json()["scope"].split()) <= set(form["scope"].split())
    assert {"access_token", "token_type", "expires_in"} < set(answer.json())
