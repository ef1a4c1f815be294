"""The certification list of 1EdTech for platforms (LTI Advantage Conformance Certification Guide 1.3), item by item.

The bridge launches people at work, whom tools know as learners, and admins, who choose content.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from sqlalchemy import select

from bridge.lti.keysets import usable
from bridge.store import tables

ISSUER, TOOL = "http://bridge.test", "http://tool.test"
CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
DL = "https://purl.imsglobal.org/spec/lti-dl/claim/"
AGS = "https://purl.imsglobal.org/spec/lti-ags/"
NRPS = "https://purl.imsglobal.org/spec/lti-nrps/"
LINE_ITEM, RESULT, SCORE = (f"{AGS}scope/{name}" for name in ("lineitem", "result.readonly", "score"))
MEMBERS = f"{NRPS}scope/contextmembership.readonly"
PERSONAL = {"name", "given_name", "family_name", "email", f"{CLAIM}lis"}
LEARNER = "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"


def resource_link(office: Any) -> str:
    start = office.begin(office.sign_in(), office.launch())
    token: str = office.authorize(office.request(start))[1]["id_token"]
    return token


def deep_linking(office: Any) -> str:
    person = office.add(tables.Person(key="A1", name=" Ada Admin ", email="ada@example.com", role="admin"))
    token = office.sign_in("A1")
    with office.runtime.db.read() as session:
        csrf = (
            session.scalars(select(tables.SignInSession).where(tables.SignInSession.person_id == person.id)).one().csrf
        )
    assert token
    page = office.client.post("/console/connections/tool/choose", data={"csrf": csrf})
    _, fields = office.form_of(page.text)
    echoed = {name: fields[name] for name in ("client_id", "login_hint", "lti_message_hint")}
    request = {"scope": "openid", "response_type": "id_token", "response_mode": "form_post", "prompt": "none"}
    request |= {"redirect_uri": f"{TOOL}/launch", "nonce": "nonce-1", "state": "state-1"} | echoed
    found: str = office.authorize(request)[1]["id_token"]
    return found


MESSAGES = {"LtiResourceLinkRequest": resource_link, "LtiDeepLinkingRequest": deep_linking}


@pytest.fixture(params=["full", "no-pii"])
def pii(request: pytest.FixtureRequest, office: Any) -> bool:
    """Whether the tool may know who the person is."""
    full: bool = request.param == "full"
    office.change_tool(send_name=full, send_email=full, scopes=[LINE_ITEM, RESULT, SCORE, MEMBERS])
    with office.runtime.db.write() as session:
        for person in session.scalars(select(tables.Person)):
            person.name = f" {person.name} "
    return full


@pytest.fixture(params=list(MESSAGES))
def payload(request: pytest.FixtureRequest, office: Any, pii: bool) -> tuple[str, str]:
    """A message of each kind: its type and the token."""
    return request.param, MESSAGES[request.param](office)


def claims_of(payload: tuple[str, str]) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(payload[1], options={"verify_signature": False})
    return claims


def test_it_is_a_message_of_lti_1_3(payload: tuple[str, str]) -> None:
    claims = claims_of(payload)
    assert claims[f"{CLAIM}version"] == "1.3.0"
    assert claims[f"{CLAIM}message_type"] == payload[0]


def test_its_timestamps_are_sound(payload: tuple[str, str]) -> None:
    claims = claims_of(payload)
    assert type(claims["iat"]) is type(claims["exp"]) is int
    assert claims["iat"] <= time.time() <= claims["exp"]
    assert 60 <= claims["exp"] - claims["iat"] <= 300


def test_it_is_signed_by_rs256_with_a_key_at_the_well_known_address(office: Any, payload: tuple[str, str]) -> None:
    header = jwt.get_unverified_header(payload[1])
    assert header["alg"] == "RS256"
    where = office.client.get("/.well-known/openid-configuration").json()
    published = office.client.get(where["jwks_uri"]).json()
    assert {key["alg"] for key in published["keys"]} == {"RS256"}
    key = usable(published)[header["kid"]]
    jwt.decode(payload[1], key, algorithms=["RS256"], audience="client-1", issuer=where["issuer"])


def test_it_is_complete(payload: tuple[str, str]) -> None:
    claims = claims_of(payload)
    assert all(claims[name] for name in ("iss", "aud", "sub", "iat", "exp", "nonce"))
    core = {"message_type", "version", "deployment_id", "target_link_uri", "roles", "context", "tool_platform"}
    assert {CLAIM + name for name in core - {"context"}} <= set(claims)
    assert claims["nonce"] == "nonce-1"
    assert isinstance(claims["sub"], str)
    assert len(claims["sub"]) <= 255
    if payload[0] == "LtiResourceLinkRequest":
        assert claims[f"{CLAIM}resource_link"]["id"]
        assert claims[f"{CLAIM}context"]["id"]
        assert {"scope", "lineitems", "lineitem"} == set(claims[f"{AGS}claim/endpoint"])
        assert claims[f"{NRPS}claim/namesroleservice"]["service_versions"] == ["2.0"]
    else:
        settings = claims[f"{DL}deep_linking_settings"]
        needed = {"deep_link_return_url", "accept_types", "accept_presentation_document_targets", "data"}
        assert needed <= set(settings)


def test_its_roles_are_full_names_and_are_right(payload: tuple[str, str]) -> None:
    roles = claims_of(payload)[f"{CLAIM}roles"]
    assert all(role.startswith("http://purl.imsglobal.org/vocab/lis/v2/") for role in roles)
    if payload[0] == "LtiResourceLinkRequest":
        assert roles == [LEARNER]
    else:
        assert any(role.endswith(("#Instructor", "#Administrator", "#ContentDeveloper")) for role in roles)


def test_it_says_who_the_person_is_only_where_the_tool_may_know(payload: tuple[str, str], pii: bool) -> None:
    told = PERSONAL & set(claims_of(payload))
    assert {"name", "email"} <= told if pii else not told


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def test_no_value_has_white_space_around_it(payload: tuple[str, str]) -> None:
    found = list(texts(claims_of(payload)))
    assert found == [text.strip() for text in found]
    assert "" not in found


def test_deep_linking_what_was_chosen_is_taken_and_shown(office: Any) -> None:
    asked = claims_of(("", deep_linking(office)))
    at = int(time.time())
    answer = {
        "iss": "client-1",
        "aud": ISSUER,
        "iat": at,
        "exp": at + 300,
        "nonce": "nonce-of-the-tool",
        f"{CLAIM}message_type": "LtiDeepLinkingResponse",
        f"{CLAIM}version": "1.3.0",
        f"{CLAIM}deployment_id": asked[f"{CLAIM}deployment_id"],
        f"{DL}data": asked[f"{DL}deep_linking_settings"]["data"],
        f"{DL}content_items": [{"type": "ltiResourceLink", "title": "Negotiation", "url": f"{TOOL}/quiz"}],
    }
    token = jwt.encode(answer, office.key, algorithm="RS256", headers={"kid": "k1"})
    page = office.client.post(asked[f"{DL}deep_linking_settings"]["deep_link_return_url"], data={"JWT": token})
    assert page.status_code == 200
    assert "Negotiation" in page.text


def test_names_and_roles_are_answered_to_the_tools_key(office: Any) -> None:
    office.change_tool(scopes=[MEMBERS])
    claims = office.claims()
    url = claims[f"{NRPS}claim/namesroleservice"]["context_memberships_url"]
    answer = office.client.get(url, headers=office.bearer(MEMBERS))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/vnd.ims.lti-nrps.v2.membershipcontainer+json"
    assert answer.json()["context"]["id"] == claims[f"{CLAIM}context"]["id"]
    assert [(one["user_id"], one["roles"], one["status"]) for one in answer.json()["members"]] == [
        (claims["sub"], [LEARNER], "Active")
    ]


def granted(office: Any, *scopes: str) -> dict[str, str]:
    """A token for exactly these scopes."""
    answer = office.ask_token(office.assertion(), " ".join(scopes))
    assert (answer.status_code, answer.json()["scope"]) == (200, " ".join(scopes))
    return {"authorization": f"Bearer {answer.json()['access_token']}"}


def test_assignments_and_grades_in_two_contexts(office: Any) -> None:
    """One token serves both contexts, and each token is good for what was asked and for nothing else."""
    first, second = office.claims(system="desk"), office.claims(system="crm")
    here, there = (claims[f"{AGS}claim/endpoint"]["lineitems"] for claims in (first, second))
    assert here != there
    may_make = granted(office, LINE_ITEM)

    def make(url: str, label: str) -> str:
        body = {"label": label, "scoreMaximum": 50}
        answer = office.client.post(url, json=body, headers=may_make)
        assert answer.status_code == 201
        assert office.client.get(answer.json()["id"], headers=may_make).json() == answer.json()
        return str(answer.json()["id"])

    one, two, three = make(here, "one"), make(here, "two"), make(there, "three")
    assert {one, two} < {item["id"] for item in office.client.get(here, headers=may_make).json()}
    assert three not in {item["id"] for item in office.client.get(here, headers=may_make).json()}

    def score(item: str, user: str, given: int, headers: dict[str, str]) -> int:
        body = {"userId": user, "scoreGiven": given, "scoreMaximum": 50, "timestamp": "2026-11-22T08:00:00.000Z"}
        body |= {"activityProgress": "Completed", "gradingProgress": "FullyGraded"}
        answer = office.client.post(f"{item}/scores", json=body, headers=headers)
        return int(answer.status_code)

    may_score = granted(office, SCORE)
    assert score(three, second["sub"], 40, may_score) == 200
    assert score(one, first["sub"], 30, may_score) == 200
    assert score(one, first["sub"], 20, may_make) == 403
    assert office.client.get(here, headers=may_score).status_code == 403
    assert office.client.get(f"{one}/results", headers=may_score).status_code == 403

    may_read = granted(office, RESULT)
    for item, user, given in ((three, second["sub"], 40), (one, first["sub"], 30)):
        (result,) = office.client.get(f"{item}/results", headers=may_read).json()
        assert (result["userId"], result["resultScore"], result["resultMaximum"]) == (user, given, 50)
        assert result["scoreOf"] == item
    assert office.client.get(f"{two}/results", headers=may_read).json() == []
    assert office.client.post(here, json={"label": "x", "scoreMaximum": 1}, headers=may_read).status_code == 403
