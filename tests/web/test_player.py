"""A launch in a frame: proved by a key that only the page around it has, and shown by nobody else's page."""

from __future__ import annotations

import re
import uuid
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import func, select

from bridge.flows import identity
from bridge.flows.runtime import Runtime
from bridge.store import tables
from bridge.web.auth import SESSION_COOKIE
from tests.lti.conftest import claims_of, form_of
from tests.web.test_widget_api import DESK, SHOP, Widget, bridge, happens

__all__ = ["bridge"]

HTML = {"Accept": "text/html"}
TOOL = "http://tool.test"


@pytest.fixture
def framed(bridge: Runtime) -> Runtime:
    """The bridge, whose tool opens in a frame, and a prompt of Sam's for it."""
    with bridge.db.write() as session:
        tool = session.scalars(select(tables.Connection).where(tables.Connection.name == "vendor")).one()
        tool.config = {**tool.config, "open_in": "frame"}
    happens(bridge, "proposal")
    return bridge


def count(runtime: Runtime, table: type[tables.Base]) -> int:
    with runtime.db.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def door(client: TestClient) -> dict[str, str]:
    """What the widget posts to open Sam's prompt."""
    sam = Widget(client)
    [prompt] = sam.prompts()
    found: dict[str, str] = sam.post(f"prompts/{prompt['id']}/open").json()
    return found


def play(client: TestClient, opened: dict[str, str], **headers: str) -> Response:
    form = {"handoff": opened["handoff"], "frame": "1"}
    return client.post(urlsplit(opened["action"]).path, data=form, headers=HTML | headers)


def begun(client: TestClient) -> tuple[str, dict[str, str]]:
    """A player's key, and the authentication request that the tool makes in its frame."""
    page = play(client, door(client)).text
    _, fields = form_of(page)
    found = re.search('data-key="([^"]+)"', page)
    assert found is not None
    request = {
        "scope": "openid",
        "response_type": "id_token",
        "response_mode": "form_post",
        "prompt": "none",
        "client_id": fields["client_id"],
        "redirect_uri": f"{TOOL}/launch",
        "login_hint": fields["login_hint"],
        "lti_message_hint": fields["lti_message_hint"],
        "state": "state-1",
        "nonce": "nonce-1",
    }
    return found[1], request


def repeat(client: TestClient, request: dict[str, str], key: str) -> dict[str, str]:
    """Send the request again as the page in the frame does; what is posted to the tool then."""
    body = request | {"flowbridge_reposted": "1", "flowbridge_key": key}
    action, fields = form_of(client.post("/lti/authorize", data=body).text)
    assert action == f"{TOOL}/launch"
    return fields


def policy(answer: Response) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in answer.headers["content-security-policy"].split(";"))
    return {name: value for name, _, value in parts}


def test_the_widget_knows_where_it_opens(framed: Runtime, client: TestClient) -> None:
    happens(framed, "deal")
    assert {prompt["title"]: prompt["in_frame"] for prompt in Widget(client).prompts()} == {
        "A quiz": True,
        "Pricing": False,
    }


def test_the_player_needs_no_cookie_and_only_the_asking_page_may_show_it(framed: Runtime, client: TestClient) -> None:
    answer = play(client, door(client))
    assert answer.status_code == 200, answer.text
    assert "set-cookie" not in answer.headers and "x-frame-options" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"
    assert (count(framed, tables.SignInSession), count(framed, tables.Launch)) == (0, 1)
    allowed = policy(answer)
    assert allowed["frame-ancestors"] == f"'self' {DESK}"
    assert allowed["script-src"] == allowed["style-src"] == "'self'"
    assert allowed["form-action"] == f"'self' https: {TOOL}"
    action, fields = form_of(answer.text)
    assert (action, fields["lti_storage_target"]) == (f"{TOOL}/login", "_parent")


def test_the_key_takes_the_place_of_the_session(
    framed: Runtime, client: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    key, request = begun(client)
    asked = client.get("/lti/authorize", params=request)
    assert form_of(asked.text) == ("/lti/authorize", request | {"flowbridge_reposted": "1", "flowbridge_key": ""})
    assert policy(asked)["frame-ancestors"] == f"'self' {DESK}"
    assert policy(asked)["script-src"] == "'self'" and 'src="/static/claim.js"' in asked.text
    sent = repeat(client, request, key)
    assert (sent["state"], sent["lti_storage_target"]) == ("state-1", "_parent")
    claims = claims_of(sent["id_token"])
    assert claims["https://purl.imsglobal.org/spec/lti/claim/launch_presentation"]["document_target"] == "iframe"
    assert repeat(client, request, key)["error"] == "launch_no_longer_valid"
    assert key not in "".join(capsys.readouterr())
    with framed.db.read() as session:
        assert session.scalars(select(tables.LtiHint.session_hash)).one() == identity.token_hash(key)


def test_a_hint_without_its_key_is_good_for_nothing(framed: Runtime, client: TestClient) -> None:
    key, request = begun(client)
    other, _ = begun(client)
    for wrong in ("", "x" * 43, other, key[:-1]):
        assert repeat(client, request, wrong)["error"] == "login_required"
    by_address = client.get("/lti/authorize", params=request | {"flowbridge_reposted": "1", "flowbridge_key": key})
    assert form_of(by_address.text)[0] == "/lti/authorize"  # asks the player, whatever the address says
    assert "id_token" in repeat(client, request, key)


def test_a_session_does_not_stand_in_for_the_key(framed: Runtime, client: TestClient) -> None:
    """As where the business app and the bridge are of one site, and cookies come along."""
    key, request = begun(client)
    with framed.db.read() as session:
        sam = session.scalars(select(tables.Person.id).where(tables.Person.key == "E1")).one()
    client.cookies.set(SESSION_COOKIE, identity.open_session(framed, sam, via="password")[0])
    assert form_of(client.get("/lti/authorize", params=request).text)[0] == "/lti/authorize"
    assert repeat(client, request, "")["error"] == "login_required"
    assert "id_token" in repeat(client, request, key)


def test_a_key_does_not_stand_in_for_a_session(framed: Runtime, client: TestClient) -> None:
    """In a tab the session's token is not accepted as a key, least of all when the session has ended."""
    opened = door(client)
    page = client.post(urlsplit(opened["action"]).path, data={"handoff": opened["handoff"]}, headers=HTML)
    _, fields = form_of(page.text)
    assert "lti_storage_target" not in fields
    token = client.cookies[SESSION_COOKIE]
    identity.sign_out(framed, token)
    _, request = begun(client)
    tab = request | {"lti_message_hint": fields["lti_message_hint"]}
    assert repeat(client, tab, token)["error"] == "login_required"


def test_it_opens_nowhere_but_in_the_frame_of_the_asking_page(framed: Runtime, client: TestClient) -> None:
    opened = door(client)
    top = play(client, opened, **{"Sec-Fetch-Dest": "document"})
    assert top.status_code == 403 and "only be opened in the frame" in top.text
    assert count(framed, tables.Launch) == 0
    assert play(client, opened, **{"Sec-Fetch-Dest": "iframe"}).status_code == 200  # the code was not used up


def test_without_a_page_that_asked_there_is_no_frame(framed: Runtime, client: TestClient) -> None:
    opened = door(client)
    with framed.db.read() as session:
        prompt = session.scalars(select(tables.Prompt)).one()
    for code in ("", "nonsense", identity.handoff(framed, prompt.person_id or 0, str(prompt.id))):
        answer = play(client, opened | {"handoff": code})
        assert answer.status_code == 403 and policy(answer)["frame-ancestors"] == "'self'"


def test_a_refusal_can_be_read_in_the_frame(framed: Runtime, client: TestClient) -> None:
    opened = door(client)
    assert play(client, opened).status_code == 200
    again = play(client, opened)
    assert again.status_code == 401 and "used already" in again.text
    assert policy(again)["frame-ancestors"] == f"'self' {DESK}"
    assert 'href="/"' not in again.text  # the start page may not be shown there


def test_a_tool_that_was_switched_off_is_said_in_the_frame(framed: Runtime, client: TestClient) -> None:
    opened = door(client)
    with framed.db.write() as session:
        session.scalars(select(tables.Connection).where(tables.Connection.name == "vendor")).one().enabled = False
    answer = play(client, opened)
    assert answer.status_code == 409 and "switched off" in answer.text
    assert policy(answer)["frame-ancestors"] == f"'self' {DESK}"
    assert count(framed, tables.Launch) == 0


def test_the_way_back_from_a_tool_ends_in_the_same_frame(framed: Runtime, client: TestClient) -> None:
    answer = client.get(f"/lti/return/{uuid.uuid4()}", params={"lti_msg": "Well <done>"})
    assert "Well &lt;done&gt;" in answer.text
    assert policy(answer)["frame-ancestors"] == f"'self' {DESK} {SHOP}"
