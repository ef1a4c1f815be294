"""What a real Moodle sent, sent again byte by byte to both roles, at the moment when it was sent.

Signed parts stay as they were recorded: the bridge stands at the address, and under the ids, that they were signed for.
Ids that the bridge itself had made are put in place of the recorded ones where nothing is signed.
"""

from __future__ import annotations

import datetime as dt
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt.api_jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi.testclient import TestClient
from sqlalchemy import select

from bridge.flows import identity, register_tool
from bridge.flows.runtime import Runtime
from bridge.lti.platform import tokens
from bridge.lti.tool import logins
from bridge.settings import Settings
from bridge.store import tables
from bridge.web.app import create_app
from tests.lti.conftest import Office, form_of, furnish
from tests.lti.launching_lms import Lms

MOODLE, TEST_PLATFORM, TEST_TOOL = "http://127.0.0.1:18080", "http://127.0.0.1:19100", "http://127.0.0.1:19200/launch"
CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
AGS = "https://purl.imsglobal.org/spec/lti-ags/"
NRPS = "https://purl.imsglobal.org/spec/lti-nrps/"
Clock = Callable[[float], None]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let the clocks that judge a token stand at a moment."""

    def stand(at: float) -> None:
        class Standing(dt.datetime):
            @classmethod
            def now(cls, tz: dt.tzinfo | None = None) -> Standing:
                return cls.fromtimestamp(at, tz)

        monkeypatch.setattr(jwt.api_jwt, "datetime", Standing)
        monkeypatch.setattr(time, "time", lambda: at)

    return stand


# Moodle as platform, the bridge as its tool


@pytest.fixture
def moodle(runtime: Runtime, client: TestClient, recorded: Any, monkeypatch: pytest.MonkeyPatch) -> Lms:
    """The Moodle that was recorded; what it launched stood at another address than the bridge ever does."""
    monkeypatch.setattr(logins, "launch_url", lambda _host: TEST_TOOL)
    keys = recorded("moodle-platform-04-jwks")["response"]["json"]
    lms = Lms(runtime, client, rsa.generate_private_key(65537, 2048), MOODLE, "mSaor4X8KZxa0U1", "6")
    return lms.register("moodle", jwks=keys)


def sent_again(moodle: Lms, clock: Clock, initiation: dict[str, Any], token: dict[str, Any]) -> tuple[Any, str]:
    """The recorded initiation and launch: the answer to the launch, and the state of its login."""
    clock(token["claims"]["iat"])
    begun = moodle.client.post("/lti/tool/login", data=initiation["request"]["form"], follow_redirects=False)
    assert begun.status_code == 302, begun.text
    url = begun.headers["location"]
    assert url.startswith(f"{MOODLE}/auth?")
    with moodle.runtime.db.write() as session:
        row = session.scalars(select(tables.LmsLogin)).one()
        row.nonce = token["claims"]["nonce"]
    state = url.partition("state=")[2].partition("&")[0]
    return moodle.post(token["jwt"], state), state


@pytest.mark.parametrize(
    ("who", "comes"),
    [
        ("learner", ("3", "Emp No1", "/")),
        ("teacher", ("9", "Teach No1", "/")),
        ("admin", ("2", "Admin User", "/console/")),
    ],
)
def test_launches_of_a_real_moodle_are_taken(
    moodle: Lms, clock: Clock, recorded: Any, who: str, comes: tuple[str, str, str]
) -> None:
    subject, name, where = comes
    token = recorded(f"moodle-platform-08-id-token-{who}")
    answer, state = sent_again(moodle, clock, recorded(f"moodle-platform-06-oidc-initiation-{who}"), token)
    assert answer.status_code == 303, answer.text
    page = moodle.client.get(answer.headers["location"])
    assert (page.status_code, page.url.path) == (200, where)
    assert [(row.issuer, row.subject) for row in moodle.rows(tables.Account)] == [("moodle", subject)]
    assert name in {person.name for person in moodle.rows(tables.Person)}
    (link,) = moodle.rows(tables.LmsLink)
    assert (link.context_title, link.resource_link_id) == ("Phishing awareness", "5")
    assert link.line_item == token["claims"][f"{AGS}claim/endpoint"]["lineitem"]
    assert link.memberships == token["claims"][f"{NRPS}claim/namesroleservice"]["context_memberships_url"]
    again = moodle.post(token["jwt"], state)
    assert again.status_code == 409
    assert len(moodle.rows(tables.LmsLink)) == 1


def test_a_choice_that_a_real_moodle_asks_for_begins(moodle: Lms, clock: Clock, recorded: Any) -> None:
    token = recorded("moodle-platform-17-deep-link-request-token")
    answer, _ = sent_again(moodle, clock, recorded("moodle-platform-17-deep-link-initiation"), token)
    assert answer.status_code == 303, answer.text
    page = moodle.client.get(answer.headers["location"])
    assert page.status_code == 200
    assert page.url.path.startswith("/lti/tool/deeplink/")


@pytest.mark.parametrize(("seconds", "status"), [(0, 303), (119, 303), (121, 401), (-59, 303), (-61, 401)])
def test_a_recorded_launch_counts_while_it_is_valid(
    moodle: Lms, clock: Clock, recorded: Any, seconds: int, status: int
) -> None:
    token = recorded("moodle-platform-08-id-token-learner")
    shifted = token | {"claims": token["claims"] | {"iat": token["claims"]["iat"] + seconds}}
    answer, _ = sent_again(moodle, clock, recorded("moodle-platform-06-oidc-initiation-learner"), shifted)
    assert answer.status_code == status


# Moodle as tool, the bridge as its platform


@pytest.fixture
def platform(prepared_home: Path, tmp_path: Path, rsa_key: Any, recorded: Any) -> Iterator[Office]:
    """The bridge where the test platform stood, with Moodle as its tool."""
    home = shutil.copytree(prepared_home, tmp_path / "platform")
    runtime = Runtime.start(Settings.load(home=home, base_url=TEST_PLATFORM, allow_private_peers=True))
    with TestClient(create_app(runtime), base_url=TEST_PLATFORM) as client:
        office = furnish(runtime, client, rsa_key)
        asked = recorded("moodle-tool-03-registration")["request"]["json"]
        office.change_tool(
            client_id="fc37f02126ab",
            deployment_id="d-fc37f02126ab",
            jwks=recorded("moodle-tool-04-jwks")["response"]["json"],
            scopes=asked["scope"].split(),
            **{name: asked[name] for name in ("initiate_login_uri", "redirect_uris")},
            target_link_uri=asked["https://purl.imsglobal.org/spec/lti-tool-configuration"]["target_link_uri"],
        )
        yield office
    runtime.db.close()


def test_a_real_moodle_registers_itself(platform: Office, recorded: Any) -> None:
    sent = recorded("moodle-tool-03-registration")["request"]
    platform.add(tables.Person(key="A1", name="Ada Admin", email="ada@example.com", role="admin"))
    admin = identity.session(platform.runtime, platform.sign_in("A1"))
    assert admin is not None
    begun = register_tool.begin(platform.runtime, "moodle", f"{MOODLE}/enrol/lti/register.php?token=x", admin)
    token = begun.url.partition("registration_token=")[2]
    headers = {"authorization": f"Bearer {token}", "content-type": sent["headers"]["content-type"]}
    answer = platform.client.post("/lti/register", content=sent["body"], headers=headers)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert {name: told[name] for name in ("initiate_login_uri", "redirect_uris", "jwks_uri", "scope")} == {
        name: sent["json"][name] for name in ("initiate_login_uri", "redirect_uris", "jwks_uri", "scope")
    }
    ours = told["https://purl.imsglobal.org/spec/lti-tool-configuration"]
    assert ours["deployment_id"]
    assert ours["custom_parameters"] == {}


@pytest.mark.parametrize("which", ["learner-course", "learner-quiz", "teacher-course"])
def test_authentication_requests_of_a_real_moodle_are_answered(platform: Office, recorded: Any, which: str) -> None:
    query = recorded(f"moodle-tool-06-auth-request-{which}")["request"]["query"]
    start = platform.begin(platform.sign_in(), platform.launch())
    ours = {name: start.fields[name] for name in ("login_hint", "lti_message_hint")}
    action, fields = platform.authorize(query | ours)
    assert (action, fields["state"]) == (query["redirect_uri"], query["state"])
    claims = platform.claims_of(fields["id_token"])
    assert (claims["nonce"], claims["aud"]) == (query["nonce"], "fc37f02126ab")


def launched_claims(platform: Office) -> dict[str, Any]:
    """The claims of a launch of Moodle."""
    start = platform.begin(platform.sign_in(), platform.launch())
    request = platform.request(start, redirect_uri=f"{MOODLE}/enrol/lti/launch.php")
    return platform.claims_of(platform.authorize(request)[1]["id_token"])


def token_of(platform: Office, clock: Clock, recorded: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The answer to a recorded token request; the test platform's token address was another than the bridge's."""
    sent = recorded(name)["request"]
    monkeypatch.setattr(tokens, "token_url", lambda _host: f"{TEST_PLATFORM}/token")
    clock(platform.claims_of(sent["form"]["client_assertion"])["iat"])
    return platform.client.post(
        "/lti/token", content=sent["body"], headers={"content-type": sent["headers"]["content-type"]}
    )


@pytest.mark.parametrize("score", ["moodle-tool-09-score-1", "moodle-tool-09-score-2"])
def test_scores_of_a_real_moodle_are_kept(
    platform: Office, clock: Clock, recorded: Any, monkeypatch: pytest.MonkeyPatch, score: str
) -> None:
    """With the token that its own assertion gets: numbers as texts, a zone without a colon, of 200 points."""
    launched, sent = launched_claims(platform), recorded(score)["request"]
    granted = token_of(platform, clock, recorded, "moodle-tool-08-token", monkeypatch)
    assert granted.status_code == 200, granted.text
    again = token_of(platform, clock, recorded, "moodle-tool-08-token", monkeypatch)
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")
    headers = {name: sent["headers"][name] for name in ("accept", "content-type")}
    headers["authorization"] = f"Bearer {granted.json()['access_token']}"
    item = launched[f"{AGS}claim/endpoint"]["lineitem"]
    body = json.loads(sent["body"]) | {"userId": launched["sub"]}
    answer = platform.client.post(f"{item}/scores", content=json.dumps(body), headers=headers)
    assert (answer.status_code, answer.json()) == (200, {})
    with platform.runtime.db.read() as session:
        assert [row.result for row in session.scalars(select(tables.Score))] == [42.5]


def test_a_real_moodle_reads_the_members(
    platform: Office, clock: Clock, recorded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched, sent = launched_claims(platform), recorded("moodle-tool-10-nrps-1")["request"]
    granted = token_of(platform, clock, recorded, "moodle-tool-10-nrps-token", monkeypatch)
    assert granted.status_code == 200, granted.text
    headers = {"accept": sent["headers"]["accept"], "authorization": f"Bearer {granted.json()['access_token']}"}
    url = launched[f"{NRPS}claim/namesroleservice"]["context_memberships_url"]
    asked = urlencode({"rlid": launched[f"{CLAIM}resource_link"]["id"]})
    answer = platform.client.get(f"{url}?{asked}", headers=headers)
    assert answer.headers["content-type"] == sent["headers"]["accept"]
    assert [member["user_id"] for member in answer.json()["members"]] == [launched["sub"]]


def test_a_choice_of_a_real_moodle_is_taken(platform: Office, clock: Clock, recorded: Any) -> None:
    token = recorded("moodle-tool-13-deep-link-response-token")
    platform.add(tables.Person(key="A1", name="Ada Admin", email="ada@example.com", role="admin"))
    session_token = platform.sign_in("A1")
    admin = identity.session(platform.runtime, session_token)
    assert admin is not None
    begun = platform.client.post("/console/connections/tool/choose", data={"csrf": admin.csrf})
    assert form_of(begun.text)[1]["lti_deployment_id"] == "d-fc37f02126ab"
    data = token["claims"]["https://purl.imsglobal.org/spec/lti-dl/claim/data"]
    with platform.runtime.db.write() as session:
        session.scalars(select(tables.ContentSelection)).one().data_hash = identity.token_hash(data)
    clock(token["claims"]["iat"])
    answer = platform.client.post("/lti/deeplink/return", data={"JWT": token["jwt"]}, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    page = platform.client.get(answer.headers["location"]).text
    for item in token["claims"]["https://purl.imsglobal.org/spec/lti-dl/claim/content_items"]:
        assert item["title"] in page
