"""The bridge's client for LMSs against the bridge's own services for tools: each keeps to the specifications."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import responses
from requests import PreparedRequest

from bridge.lti.tool import service_tokens
from bridge.lti.tool.platforms import Platform
from bridge.lti.tool.services import Score, Services
from bridge.store import now

ISSUER = "http://bridge.test"
AGS = "https://purl.imsglobal.org/spec/lti-ags/"
NRPS = "https://purl.imsglobal.org/spec/lti-nrps/"


@pytest.fixture
def services(office: Any) -> Iterator[Services]:
    """A tool whose keys are the bridge's, at the platform that is the bridge."""
    from bridge.lti import keys

    office.change_tool(
        jwks=keys.key_set(office.runtime),
        scopes=[f"{AGS}scope/{name}" for name in ("lineitem", "score", "result.readonly")]
        + [f"{NRPS}scope/contextmembership.readonly"],
        send_name=True,
    )
    platform = Platform(
        connection_id=1,
        name="ourselves",
        issuer=ISSUER,
        client_id="client-1",
        auth_login_url=f"{ISSUER}/lti/authorize",
        auth_token_url=f"{ISSUER}/lti/token",
        auth_audience=f"{ISSUER}/lti/token",
        jwks_uri=f"{ISSUER}/lti/jwks",
        jwks=None,
        deployment_ids=("1",),
        match_people="nobody",
        console_for="nobody",
        trusted_network=True,
    )
    service_tokens.forget()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as wire:
        for method in (responses.GET, responses.POST):
            wire.add_callback(method, re.compile(f"{ISSUER}/.*"), _at(office.client))
        yield Services(office.runtime, platform)
    service_tokens.forget()


def _at(client: Any) -> Any:
    def answer(request: PreparedRequest) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(request.url or "")
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        headers = {name: value for name, value in request.headers.items() if name.lower() != "content-length"}
        got = client.request(request.method, target, content=request.body, headers=headers)
        kept = {name: value for name, value in got.headers.items() if name in ("content-type", "link")}
        return got.status_code, kept, got.content

    return answer


def test_a_score_arrives_and_is_read_back(office: Any, services: Services) -> None:
    claims = office.claims()
    endpoint = claims[f"{AGS}claim/endpoint"]
    assert services.put_score(endpoint["lineitem"], Score(claims["sub"], 73.0, True), now())
    has = services.result_of(endpoint["lineitem"], claims["sub"])
    assert has is not None and has.share == 0.73
    earlier = now() - dt.timedelta(hours=1)
    assert not services.put_score(endpoint["lineitem"], Score(claims["sub"], 10.0, True), earlier)


def test_the_links_line_item_is_found(office: Any, services: Services) -> None:
    claims = office.claims()
    endpoint, link = claims[f"{AGS}claim/endpoint"], claims["https://purl.imsglobal.org/spec/lti/claim/resource_link"]
    assert services.line_item(endpoint["lineitems"], link["id"], "Quiz", "asset-1") == endpoint["lineitem"]


def test_members_come_page_by_page(office: Any, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.lti.tool.services.PAGE", 1)
    sam, priya = office.claims("E001"), office.claims("E002")
    address = sam[f"{NRPS}claim/namesroleservice"]["context_memberships_url"]
    pages = list(services.members(address))
    assert len(pages) == 2
    assert {member.subject: member.told["sourcedid"] for page in pages for member in page} == {
        sam["sub"]: "E001",
        priya["sub"]: "E002",
    }
