"""LTI tool: key sets recorded from ltijs 5.9.9 and PyLTI1p3 2.0.0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import requests
from pydantic import ValidationError

from bridge.connect import Http, Retryable
from bridge.connect.testing import Answer, CatalogContract, system_played_by, unreachable
from connectors import lti_tool
from connectors.lti_tool import LtiTool, LtiToolConfig

HERE = Path(__file__).parent / "lti_tool"
AGS = "https://purl.imsglobal.org/spec/lti-ags/scope/"
JWKS = {name: json.loads((HERE / f"jwks_{name}.json").read_text(encoding="utf-8")) for name in ("ltijs", "pylti1p3")}
SETTINGS: dict[str, Any] = {
    "client_id": "5b43536e2531",
    "initiate_login_uri": "https://tool.example/login",
    "redirect_uris": ["https://tool.example", "https://tool.example/launch"],
    "target_link_uri": "https://tool.example",
    "jwks_uri": "https://keys.example/keys",
    "resources": [
        {
            "id": "renewal",
            "title": "Negotiating a renewal",
            "kind": "video",
            "summary": "How to defend price",
            "duration": "PT5M",
            "language": "en",
            "tags": ["pricing"],
            "url": "https://tool.example/videos/7?x=1",
            "custom": {"chapter": "2"},
        },
        {"id": "onboarding", "title": "Onboarding"},
        {"id": "sso", "title": "SSO set-up", "kind": "guide"},
    ],
}
LOGIN = Answer(path="/login", status=400, text="MISSING_LOGIN_PARAMETERS")


def tool(**changes: Any) -> LtiTool:
    config = LtiToolConfig.model_validate({**SETTINGS, **changes})
    return LtiTool(config, Http(system="LTI tool", pause=lambda seconds: None))


class TestLtiTool(CatalogContract):
    connector_class = LtiTool
    config = SETTINGS
    answers = (Answer(path="/keys", json=JWKS["ltijs"]), LOGIN)
    offline = frozenset({"catalogue"})
    golden_assets = HERE / "assets.json"

    @pytest.fixture(autouse=True)
    def _two_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lti_tool, "RESOURCES_PER_PAGE", 2)


def test_keys_may_be_given_instead_of_their_address() -> None:
    with system_played_by([LOGIN]) as calls:
        health = tool(jwks_uri=None, jwks=JWKS["pylti1p3"]).check()
    assert health.ok and [call.url for call in calls] == ["https://tool.example/login"]


@pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 405])
def test_a_login_address_that_answers_is_there(status: int) -> None:
    with system_played_by([Answer(path="/login", status=status, headers={"Location": "https://elsewhere.example"})]):
        assert f"(status {status})" in " ".join(tool(jwks_uri=None, jwks=JWKS["ltijs"]).check().works)


def test_a_login_address_that_does_not_answer_is_told() -> None:
    with system_played_by(unreachable(requests.ConnectionError())), pytest.raises(Retryable, match="/login"):
        tool(jwks_uri=None, jwks=JWKS["ltijs"]).check()


SIGNING = JWKS["pylti1p3"]["keys"][0]


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [{"kty": "EC", "crv": "P-256"}],
        [{**SIGNING, "use": "enc"}],
        [{**SIGNING, "n": SIGNING["n"][:171]}],
        [{**SIGNING, "kid": ""}],
        [{**SIGNING, "n": "A"}],
    ],
    ids=["no-key", "elliptic", "for-encryption", "1024-bits", "without-a-name", "not-base64"],
)
def test_a_key_set_without_a_usable_key_is_told(keys: list[dict[str, str]]) -> None:
    with system_played_by([Answer(path="/keys", json={"keys": keys}), LOGIN]):
        health = tool().check()
    assert not health.ok and "RSA keys" in health.missing[0] and "https://keys.example/keys" in health.missing[0]


def test_a_tool_without_services_needs_no_keys() -> None:
    with system_played_by([LOGIN]):
        assert tool(jwks_uri=None, scopes=[]).check().ok


def test_addresses_stay_as_they_were_written() -> None:
    """A redirect_uri is compared as a string; ltijs registers its own without a slash at the end."""
    config = tool().config
    assert config.redirect_uris == ("https://tool.example", "https://tool.example/launch")
    assert config.target_link_uri == "https://tool.example"


def test_scores_may_come_back_unless_the_admin_says_otherwise() -> None:
    assert set(tool().config.scopes) == {f"{AGS}lineitem", f"{AGS}result.readonly", f"{AGS}score"}
    assert tool(scopes=[f"{AGS}score"]).config.scopes == (f"{AGS}score",)


def test_a_tool_without_resources_shows_one_empty_page() -> None:
    """So that the resources that were taken out of the settings are known to be gone."""
    pages = list(tool(resources=[]).pages(None))
    assert [page.assets for page in pages] == [()] and list(tool(resources=[]).pages(pages[0].checkpoint)) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"jwks_uri": None}, "needs jwks_uri or jwks"),
        ({"jwks": JWKS["ltijs"]}, "not both"),
        ({"jwks_uri": None, "jwks": {"keys": "none"}}, "keys"),
        ({"redirect_uris": []}, "redirect_uris"),
        ({"initiate_login_uri": "javascript:alert(1)"}, "begins with https://"),
        ({"scopes": ["https://example.com/scope/everything"]}, "scopes"),
        ({"resources": [{"id": "a", "title": "A"}, {"id": "a", "title": "B"}]}, "there twice: a"),
        ({"resources": [{"id": "a", "title": "A", "colour": "red"}]}, "colour"),
    ],
)
def test_a_registration_that_cannot_work_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        tool(**changes)
