"""LTI platform: the settings of an LMS, and what a check of them says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bridge.connect import Http
from bridge.connect.testing import Answer, ConnectorContract, system_played_by
from connectors.lti_platform import LtiPlatform, LtiPlatformConfig

KEYS = json.loads((Path(__file__).parent / "lti_tool" / "jwks_ltijs.json").read_text(encoding="utf-8"))
SETTINGS: dict[str, Any] = {
    "issuer": "https://lms.example",
    "client_id": "abc",
    "auth_login_url": "https://lms.example/auth",
    "auth_token_url": "https://lms.example/token",
    "jwks_uri": "https://lms.example/keys",
    "deployment_ids": ["1"],
}


def platform(**changes: Any) -> LtiPlatform:
    config = LtiPlatformConfig.model_validate({**SETTINGS, **changes})
    return LtiPlatform(config, Http(system="LTI platform", pause=lambda seconds: None))


class TestLtiPlatform(ConnectorContract):
    connector_class = LtiPlatform
    config = SETTINGS
    answers = (Answer(path="/keys", json=KEYS),)


def test_a_check_says_what_is_missing_and_what_to_do() -> None:
    with system_played_by([Answer(path="/keys", json={"keys": []})]):
        health = platform(auth_token_url=None, deployment_ids=[]).check()
    assert health.works == ()
    assert [text.partition(":")[0] for text in health.missing] == ["RSA keys", "auth_token_url", "deployment_ids"]


def test_keys_may_be_given_instead_of_their_address() -> None:
    assert platform(jwks_uri=None, jwks=KEYS).check().missing == ()


@pytest.mark.parametrize(
    "changes",
    [{"jwks_uri": None}, {"jwks": KEYS}, {"issuer": "lms"}, {"client_id": ""}, {"jwks_uri": None, "jwks": {}}],
)
def test_a_registration_that_cannot_work_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        platform(**changes)
