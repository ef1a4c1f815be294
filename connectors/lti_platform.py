"""LTI platform: an LMS that launches the bridge by LTI 1.3, so that its courses hold prompts, guides and checklists.

The settings are what the LMS shows when a tool is registered (LTI Security Framework 1.0, section 5.1; LTI Dynamic
Registration 1.0). The launches themselves, the lists of members and the grades are the bridge's own work: the connector
checks that the LMS can be reached.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from bridge.connect import Config, Connector, Health, Manifest
from bridge.connect.lti import SHORTEST_KEY, Address, DeploymentId, KeySet, peers_keys


class LtiPlatformConfig(Config):
    issuer: Address = Field(description="What the LMS calls itself (iss), letter by letter.")
    client_id: str = Field(min_length=1, description="What the LMS knows the bridge by.")
    auth_login_url: Address = Field(description="Its authentication request address.")
    auth_token_url: Address | None = Field(None, description="Its access token address; without one, no services.")
    auth_audience: str = Field("", description="The audience of token requests, where it is not the address.")
    jwks_uri: Address | None = Field(None, description="Where it publishes its keys.")
    jwks: dict[str, Any] | None = Field(None, description="Its keys, where it publishes none.")
    deployment_ids: tuple[DeploymentId, ...] = Field(
        (), description="The deployments that are trusted; others wait in the console for approval."
    )
    match_people: Literal["nobody", "sourcedid"] = Field(
        "nobody",
        description="Who an unknown account is: somebody new, or the person whose key is its lis person_sourcedid.",
    )
    console_for: Literal["nobody", "administrators", "instructors"] = Field(
        "administrators", description="Who is let into the console from there."
    )

    @field_validator("jwks")
    @classmethod
    def _keys(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            KeySet.model_validate(value)
        return value

    @model_validator(mode="after")
    def _one_source_of_keys(self) -> Self:
        if (self.jwks_uri is None) == (self.jwks is None):
            raise ValueError("give jwks_uri or jwks, one of them")
        return self


class LtiPlatform(Connector[LtiPlatformConfig]):
    """An LMS as an LTI 1.3 platform."""

    manifest = Manifest(
        key="lti_platform",
        name="LTI platform",
        summary="An LMS whose courses launch prompts, guides and checklists, and whose gradebook shows what was done.",
        api_docs="https://www.imsglobal.org/spec/lti/v1p3",
        verified="live",
        proof="The test suite launches it from its own platform role, and replays what a real Moodle sent.",
    )
    config_class = LtiPlatformConfig

    def check(self) -> Health:
        works, missing = [], []
        source = self.config.jwks_uri or "the settings"
        usable = peers_keys(self.http, self.config.jwks_uri, self.config.jwks).usable
        if usable:
            works.append(f"{len(usable)} RSA keys of the LMS are in {source}")
        else:
            missing.append(f"RSA keys: {source} holds none of {SHORTEST_KEY} bits or more for signatures")
        if self.config.auth_token_url:
            works.append("grades and lists of members can be asked for")
        else:
            missing.append("auth_token_url: without it no grade can be sent and no list of members be read")
        if not self.config.deployment_ids:
            missing.append("deployment_ids: none is trusted yet; launch once, then approve it in the console")
        return Health(tuple(works), tuple(missing))
