"""LTI tool: an LTI 1.3 tool that the bridge launches, and the resources in it that are worth offering.

The settings are the tool's registration, as its vendor gives it (LTI Security Framework 1.0, section 6; LTI Dynamic
Registration 1.0 uses the same words). The launch itself is the bridge's own work: the connector lists and checks.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bridge.connect import (
    Asset,
    AssetKind,
    AssetPage,
    CatalogSource,
    Checkpoint,
    Config,
    Connector,
    Health,
    Manifest,
    Opening,
)
from bridge.connect.lti import SHORTEST_KEY, Address, DeploymentId, KeySet, peers_keys

RESOURCES_PER_PAGE = 50


class Scope(StrEnum):
    """The services that a tool may use (AGS 2.0 section 3.4, NRPS 2.0 section 2.2)."""

    LINE_ITEM = "https://purl.imsglobal.org/spec/lti-ags/scope/lineitem"
    LINE_ITEM_READ = "https://purl.imsglobal.org/spec/lti-ags/scope/lineitem.readonly"
    RESULT_READ = "https://purl.imsglobal.org/spec/lti-ags/scope/result.readonly"
    SCORE = "https://purl.imsglobal.org/spec/lti-ags/scope/score"
    MEMBERS_READ = "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly"


class LineItem(BaseModel):
    """The column in the gradebook that a resource wants (Deep Linking 2.0 section 3.1)."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    label: str = ""
    score_maximum: float = Field(100, gt=0, le=1e9)
    resource_id: str = ""
    tag: str = ""


class Resource(BaseModel):
    """One thing in the tool that can be offered."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str = Field(min_length=1, description="Its name in rules; keep it when the title changes.")
    title: str = Field(min_length=1)
    kind: AssetKind = AssetKind.MODULE
    summary: str = ""
    duration: dt.timedelta | None = Field(None, description="ISO 8601, such as PT5M.")
    language: str = ""
    tags: tuple[str, ...] = ()
    url: Address | Literal[""] = Field("", description="Its target_link_uri; the tool's own when left out.")
    custom: dict[str, str] = Field(default_factory=dict, description="Custom parameters of its launches.")
    line_item: LineItem | None = Field(None, description="Its column in the gradebook; one is made when left out.")
    plain_link: bool = Field(False, description="It is a page to open by its url, not to launch.")

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Self:
        if self.plain_link and not self.url:
            raise ValueError("a plain link needs its url")
        return self


class LtiToolConfig(Config):
    client_id: str = Field(min_length=1, description="What the tool knows this registration by.")
    initiate_login_uri: Address = Field(description="The tool's OpenID Connect login initiation address.")
    redirect_uris: tuple[Address, ...] = Field(min_length=1, description="Where launches may be posted to.")
    target_link_uri: Address = Field(description="What is opened when a resource has no address of its own.")
    deep_linking_uri: Address | None = Field(
        None, description="What is opened to choose content in it, where that is another address."
    )
    deployment_id: str = Field("1", min_length=1, max_length=255)
    deployments: dict[DeploymentId, tuple[str, ...]] = Field(
        default_factory=dict,
        description="More deployments, each with the business systems whose launches go out under it.",
    )
    open_in: Literal["tab", "frame"] = Field(
        "tab", description="Where the widget opens it: in a new tab, or in a frame over the page."
    )
    jwks_uri: Address | None = Field(None, description="Where the tool publishes its keys.")
    jwks: dict[str, Any] | None = Field(None, description="The tool's keys, where it publishes none.")
    scopes: tuple[Scope, ...] = Field(
        (Scope.LINE_ITEM, Scope.RESULT_READ, Scope.SCORE),
        description="The services that the tool may use; scores come back through them.",
    )
    custom: dict[str, str] = Field(default_factory=dict, description="Custom parameters of every launch.")
    send_name: bool = Field(False, description="Tell the tool the person's name.")
    send_email: bool = Field(False, description="Tell the tool the person's e-mail address.")
    resources: tuple[Resource, ...] = Field((), description="What can be offered.")

    @field_validator("jwks")
    @classmethod
    def _keys(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None:
            KeySet.model_validate(value)
        return value

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.jwks_uri is not None and self.jwks is not None:
            raise ValueError("give jwks_uri or jwks, not both")
        if self.scopes and self.jwks_uri is None and self.jwks is None:
            raise ValueError("a tool that uses services needs jwks_uri or jwks; without keys, set scopes to []")
        if self.deployment_id in self.deployments:
            raise ValueError(f"deployment_id '{self.deployment_id}' serves every other system; give others other ids")
        systems = [system for served in self.deployments.values() for system in served]
        if twice := sorted({system for system in systems if systems.count(system) > 1}):
            raise ValueError(f"a business system belongs to one deployment; there twice: {', '.join(twice)}")
        ids = [resource.id for resource in self.resources]
        if twice := sorted({id_ for id_ in ids if ids.count(id_) > 1}):
            raise ValueError(f"the ids of resources are unique; there twice: {', '.join(twice)}")
        return self


class LtiTool(Connector[LtiToolConfig], CatalogSource):
    """An LTI 1.3 tool. External ids are the ids of the listed resources."""

    manifest = Manifest(
        key="lti_tool",
        name="LTI tool",
        summary="An LTI 1.3 tool that people are sent to with a signed launch, and its resources.",
        api_docs="https://www.imsglobal.org/spec/lti/v1p3",
        verified="live",
        proof="The test suite of real systems registers and launches tools made with ltijs and with pylti1p3.",
    )
    config_class = LtiToolConfig

    def check(self) -> Health:
        works, missing = self._check_keys()
        status = self._status(self.config.initiate_login_uri)
        works.append(f"the login address answers (status {status})")
        works.append(f"{len(self.config.resources)} resources can be offered")
        return Health(tuple(works), tuple(missing))

    def pages(self, since: Checkpoint | None) -> Iterator[AssetPage]:
        """Walk the listed resources in the order of their ids; the checkpoint is the last id."""
        after = str((since or {}).get("after", ""))
        left = sorted((one for one in self.config.resources if one.id > after), key=lambda one: one.id)
        for start in range(0, len(left), RESOURCES_PER_PAGE):
            page = left[start : start + RESOURCES_PER_PAGE]
            yield AssetPage(tuple(map(_asset, page)), {"after": page[-1].id})
        if since is None and not left:
            yield AssetPage((), {"after": ""})

    def _check_keys(self) -> tuple[list[str], list[str]]:
        source = self.config.jwks_uri or "the settings"
        found = peers_keys(self.http, self.config.jwks_uri, self.config.jwks)
        if not self.config.scopes and not found.keys:
            return ["the tool needs no keys, as it uses no services"], []
        if found.usable:
            return [f"{len(found.usable)} RSA keys of the tool are in {source}"], []
        return [], [
            f"RSA keys: {source} holds none of {SHORTEST_KEY} bits or more for signatures; ask the tool's vendor"
        ]

    def _status(self, address: str) -> int:
        # A login without parameters is refused by every tool, each with a status of its own taste.
        return self.http.to(address).request("GET", address, ok=tuple(range(300, 500))).status_code


def _asset(resource: Resource) -> Asset:
    return Asset(
        external_id=resource.id,
        kind=resource.kind,
        title=resource.title,
        opening=_opening(resource),
        summary=resource.summary,
        language=resource.language,
        duration_seconds=int(resource.duration.total_seconds()) if resource.duration else None,
        tags=resource.tags,
    )


def _opening(resource: Resource) -> Opening:
    return Opening.link(resource.url) if resource.plain_link else Opening.lti(url=resource.url, custom=resource.custom)
