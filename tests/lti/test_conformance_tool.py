"""The certification list of 1EdTech for tools (LTI Advantage Conformance Certification Guide 1.3), item by item."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
import responses
from fastapi.testclient import TestClient

from bridge.lti import keys
from bridge.lti.keysets import usable
from bridge.lti.tool import service_tokens
from bridge.lti.tool.platforms import Platform
from bridge.lti.tool.services import Score, Services
from bridge.store import now, tables
from tests.lti.conftest import form_of
from tests.lti.launching_lms import CLAIM, INSTRUCTOR, LEARNER, ROLE, Lms, part

AGS, NRPS = "https://purl.imsglobal.org/spec/lti-ags/", "https://purl.imsglobal.org/spec/lti-nrps/"
DL = "https://purl.imsglobal.org/spec/lti-dl/claim/"
NO_NAMES: dict[str, Any] = {"name": None, "given_name": None, "family_name": None}
NO_PII = NO_NAMES | {"email": None}

# Known bad payloads: each is refused, and nobody is signed in


def no_kid(lms: Lms, login: Any) -> str:
    return lms.sign(lms.claims(login), header={"kid": None})


def incorrect_kid(lms: Lms, login: Any) -> str:
    return lms.sign(lms.claims(login), header={"kid": "imstester_66067"})


def invalid_message(_lms: Lms, _login: Any) -> str:
    return f"{part({'typ': 'JWT'})}.{part({'name': 'badltilaunch'})}."


def of_lti_1_1(_lms: Lms, _login: Any) -> str:
    return "lti_message_type=basic-lti-launch-request&lti_version=LTI-1p0"


def missing_claims(lms: Lms, login: Any) -> str:
    claims = lms.claims(login)
    return lms.sign({name: value for name, value in claims.items() if not name.startswith(CLAIM)})


def without(name: str) -> Callable[[Lms, Any], str]:
    return lambda lms, login: lms.id_token(login, **{name: None})


def having(**changes: Any) -> Callable[[Lms, Any], str]:
    return lambda lms, login: lms.id_token(login, **changes)


def times_wrong(lms: Lms, login: Any) -> str:
    at = int(time.time())
    return lms.id_token(login, iat=at - 7200, exp=at - 7260)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(no_kid, id="no-kid-sent-in-header"),
        pytest.param(incorrect_kid, id="incorrect-kid-in-header"),
        pytest.param(having(version="11.3"), id="wrong-lti-version"),
        pytest.param(without("version"), id="no-lti-version"),
        pytest.param(invalid_message, id="invalid-lti-message"),
        pytest.param(of_lti_1_1, id="message-is-not-an-lti-1.3-jwt"),
        pytest.param(missing_claims, id="missing-lti-claims"),
        pytest.param(times_wrong, id="timestamps-incorrect"),
        pytest.param(without("message_type"), id="message-type-claim-missing"),
        pytest.param(without("roles"), id="role-claim-missing"),
        pytest.param(without("deployment_id"), id="deployment-id-claim-missing"),
        pytest.param(without("resource_link"), id="resource-link-claim-missing"),
        pytest.param(having(resource_link={"title": "x"}), id="resource-link-id-missing"),
        pytest.param(without("sub"), id="user-claim-missing"),
    ],
)
def test_a_known_bad_payload_is_refused(lms: Lms, token: Callable[[Lms, Any], str]) -> None:
    login = lms.login()
    answer = lms.post(token(lms, login), login.state)
    assert 400 <= answer.status_code < 500
    assert 'class="tag warn"' in answer.text
    assert lms.rows(tables.SignInSession) == lms.rows(tables.LmsLink) == []


def test_symmetric_algorithms_are_refused(lms: Lms) -> None:
    login = lms.login()
    answer = lms.post(lms.sign(lms.claims(login), key="x" * 64, alg="HS256"), login.state)
    assert answer.status_code == 401


# Valid launches, of an instructor and of a student


@pytest.mark.parametrize("role", [INSTRUCTOR, LEARNER], ids=["instructor", "student"])
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="full"),
        pytest.param(
            {"more_roles": [f"{ROLE}institution/person#Other", f"{ROLE}system/person#User"]}, id="several-roles"
        ),
        pytest.param({"short": True}, id="short-role"),
        pytest.param(
            {"more_roles": ["http://purl.imsglobal.org/vocab/lis/v2/uknownrole/unknown#Helper"]}, id="unknown-role"
        ),
        pytest.param({"roles": []}, id="no-role"),
        pytest.param(NO_NAMES, id="email-only"),
        pytest.param({"email": None}, id="names-only"),
        pytest.param(NO_PII, id="no-pii"),
        pytest.param(NO_NAMES | {"context": None}, id="email-without-context"),
    ],
)
def test_a_valid_launch_is_taken(lms: Lms, role: str, changes: dict[str, Any]) -> None:
    changes = dict(changes)
    own = role.rpartition("#")[2] if changes.pop("short", False) else role
    page = lms.enter(**{"roles": [own, *changes.pop("more_roles", [])]} | changes)
    assert page.status_code == 200
    assert len(lms.rows(tables.SignInSession)) == len(lms.rows(tables.LmsLink)) == 1


# Deep linking


def placed(lms: Lms) -> dict[str, Any]:
    """An author is asked by the LMS, chooses a guide, and the answer goes to the LMS: its form."""
    files = tables.Connection(name="guides", connector="files", config={"path": "/guides"})
    with lms.runtime.db.write() as session:
        session.add(files)
        session.flush()
        asset = tables.Asset(
            id=uuid.uuid4(),
            connection_id=files.id,
            external_id="pricing.md",
            kind="guide",
            title="Pricing",
            summary="How we price",
            language="en",
            tags=[],
            activity_id="https://bridge.test/assets/pricing",
            opening={"how": "inline", "text": "# Pricing"},
            fingerprint="0",
        )
        session.add(asset)
    page = lms.enter(**lms.deep_linking())
    assert "Pricing" in page.text
    csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert csrf is not None
    form = {"csrf": csrf[1], "do": "place", "asset": str(asset.id)}
    answer = lms.client.post(page.url.path, data=form)
    assert answer.status_code == 200, answer.text
    action, fields = form_of(answer.text)
    return {"action": action, **fields}


def test_deep_linking_the_request_is_taken_and_answered(lms: Lms) -> None:
    sent = placed(lms)
    assert set(sent) == {"action", "JWT"}
    assert sent["action"] == "https://lms.test/deep-link-return"


def test_deep_linking_the_response_is_signed_with_a_published_key(lms: Lms) -> None:
    token, published = placed(lms)["JWT"], lms.client.get("/lti/tool/jwks").json()
    header = jwt.get_unverified_header(token)
    assert header["alg"] == "RS256"
    jwt.decode(token, usable(published)[header["kid"]], algorithms=["RS256"], audience=lms.issuer, issuer=lms.client_id)


def test_deep_linking_the_response_has_all_claims_and_sound_times(lms: Lms) -> None:
    claims = jwt.decode(placed(lms)["JWT"], options={"verify_signature": False})
    assert abs(claims["iat"] - time.time()) < 60
    assert 0 < claims["exp"] - claims["iat"] <= 600
    assert claims["nonce"]
    assert {claims[CLAIM + name] for name in ("message_type", "version", "deployment_id")} == {
        "LtiDeepLinkingResponse",
        "1.3.0",
        "d-1",
    }
    assert claims[f"{DL}data"] == "course-2:op-9"
    (item,) = claims[f"{DL}content_items"]
    assert (item["type"], item["title"]) == ("ltiResourceLink", "Pricing")
    assert item["url"] == lms.tool


# Services


class Wire:
    """The LMS's token and service addresses."""

    def __init__(self, wire: responses.RequestsMock) -> None:
        self.wire = wire
        token = {"access_token": "token-1", "token_type": "Bearer", "expires_in": 3600}
        wire.add(responses.POST, "https://lms.test/token", json=token)

    def token_request(self) -> dict[str, str]:
        sent = parse_qs(str(self.wire.calls[0].request.body))
        return {name: value[0] for name, value in sent.items()}

    def last(self) -> Any:
        return self.wire.calls[-1].request


@pytest.fixture
def wire() -> Iterator[Wire]:
    service_tokens.forget()
    with responses.RequestsMock() as mock:
        yield Wire(mock)
    service_tokens.forget()


def services_of(lms: Lms) -> Services:
    with lms.runtime.db.read() as session:
        return Services(lms.runtime, Platform.of(session.get_one(tables.Connection, lms.connection_id)))


def proved(lms: Lms, wire: Wire) -> dict[str, Any]:
    """The token request's assertion, verified with the tool's published keys."""
    form = wire.token_request()
    assert form["grant_type"] == "client_credentials"
    assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    key = usable(keys.key_set(lms.runtime))[jwt.get_unverified_header(form["client_assertion"])["kid"]]
    claims: dict[str, Any] = jwt.decode(
        form["client_assertion"], key, algorithms=["RS256"], audience="https://lms.test/token"
    )
    assert claims["iss"] == claims["sub"] == lms.client_id
    assert claims["jti"]
    return claims


def test_names_and_roles_are_asked_for_with_header_bearer_and_scope(lms: Lms, wire: Wire) -> None:
    url = "https://lms.test/nrps/course-2"
    members = [{"user_id": "user-7", "status": "Active", "roles": ["Learner"]}]
    wire.wire.add(
        responses.GET, re.compile(re.escape(url)), json={"id": url, "context": {"id": "course-2"}, "members": members}
    )
    found = [member for page in services_of(lms).members(url) for member in page]
    assert [member.subject for member in found] == ["user-7"]
    proved(lms, wire)
    assert wire.token_request()["scope"] == f"{NRPS}scope/contextmembership.readonly"
    assert wire.last().headers["Accept"] == "application/vnd.ims.lti-nrps.v2.membershipcontainer+json"
    assert wire.last().headers["Authorization"] == "Bearer token-1"


def test_a_score_is_sent_with_its_media_type_bearer_and_scope(lms: Lms, wire: Wire) -> None:
    wire.wire.add(responses.POST, "https://lms.test/ags/21/scores", json={})
    services_of(lms).put_score("https://lms.test/ags/21?type=6", Score("user-7", 73.0, True), now())
    proved(lms, wire)
    assert f"{AGS}scope/score" in wire.token_request()["scope"].split()
    request = wire.last()
    assert request.headers["Content-Type"].startswith("application/vnd.ims.lis.v1.score+json")
    assert request.headers["Authorization"] == "Bearer token-1"
    sent = json.loads(request.body)
    assert {name: sent[name] for name in ("userId", "activityProgress", "gradingProgress")} == {
        "userId": "user-7",
        "activityProgress": "Completed",
        "gradingProgress": "FullyGraded",
    }
    assert sent["scoreGiven"] / sent["scoreMaximum"] == 0.73
    assert re.search(r"(Z|[+-]\d\d:\d\d)$", sent["timestamp"])


def test_a_line_item_is_created_with_its_media_type_and_scope(lms: Lms, wire: Wire) -> None:
    items = "https://lms.test/ags/lineitems"
    wire.wire.add(responses.GET, re.compile(re.escape(items)), json=[])
    wire.wire.add(responses.POST, items, json={"id": f"{items}/1", "label": "Pricing", "scoreMaximum": 100}, status=201)
    assert services_of(lms).line_item(items, "link-5", "Pricing", "asset-1") == f"{items}/1"
    proved(lms, wire)
    assert f"{AGS}scope/lineitem" in wire.token_request()["scope"].split()
    assert wire.last().headers["Content-Type"].startswith("application/vnd.ims.lis.v2.lineitem+json")
    sent = json.loads(wire.last().body)
    assert (sent["label"], sent["resourceLinkId"], sent["scoreMaximum"]) == ("Pricing", "link-5", 100)


def test_the_tools_keys_are_published(client: TestClient) -> None:
    assert client.get("/lti/tool/jwks").json() == client.get("/lti/jwks").json()
