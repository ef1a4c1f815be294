"""The message of a launch: the claims of the id_token (LTI Core 1.3 section 5.3)."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import time
import uuid
from typing import Any

from bridge.lti.host import Host
from bridge.lti.platform import subjects, variables
from bridge.lti.platform.registrations import Tool
from bridge.lti.vocabulary import (
    ADMINISTRATOR,
    AGS_ENDPOINT,
    AGS_SCOPES,
    CLAIM,
    COURSE_SECTION,
    DEEP_LINKING_REQUEST,
    DEEP_LINKING_SETTINGS,
    INSTRUCTOR,
    LEARNER,
    MEMBERS_READ,
    NRPS_SERVICE,
    PRODUCT,
    RESOURCE_LINK_REQUEST,
    VERSION,
)
from bridge.store.occasion import AnyLaunch, AnyPerson
from bridge.store.tables import ContentSelection, Person

#: How long an id_token is valid, in seconds.
LIFE_SECONDS = 300
#: What a tool may answer a deep linking request with.
ACCEPT_TYPES = ("ltiResourceLink", "link")
#: It is dated back a little: tools with a slow clock refuse what was issued "in the future" without any leeway.
BACKDATE_SECONDS = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a launch happens, as the tool knows it: the context is the business system, the link the asset in it."""

    context: str
    title: str
    resource_link: str
    deployment_id: str

    @classmethod
    def of(cls, host: Host, tool: Tool, launch: AnyLaunch) -> Place:
        system = launch.prompt.event.connection.name
        context = subjects.context(host.vault, tool.client_id, system)
        # An id must not be the same for two placements of one asset (LTI Core 1.3 section 5.3.5).
        return cls(context, system, str(uuid.uuid5(launch.asset.id, context)), tool.deployment_of(system))


@dataclasses.dataclass(frozen=True, slots=True)
class Grades:
    """The assignment and grade addresses of a launch; ``line_item`` only when the link has exactly one."""

    line_items: str
    line_item: str | None


def resource_link(
    host: Host, tool: Tool, launch: AnyLaunch, place: Place, *, target: str, framed: bool, grades: Grades
) -> dict[str, Any]:
    """All claims of a resource link request for this launch, but those of ``fresh``."""
    described: dict[str, dict[str, Any]] = {
        "resource_link": {"id": place.resource_link, "title": launch.asset.title, "description": launch.asset.summary},
        "context": {"id": place.context, "type": [COURSE_SECTION], "label": place.title, "title": place.title},
        "launch_presentation": {
            "document_target": "iframe" if framed else "window",
            "return_url": f"{host.settings.issuer}/lti/return/{launch.id}",
            "locale": launch.asset.language or "en",
        },
    }
    return envelope(host, tool, launch.person, place.deployment_id) | {
        f"{CLAIM}message_type": RESOURCE_LINK_REQUEST,
        f"{CLAIM}target_link_uri": target,
        f"{CLAIM}roles": [LEARNER],
        **{CLAIM + name: tidy(value) for name, value in described.items()},
        f"{CLAIM}custom": _custom(host, tool, launch, place),
        **_services(host, tool, place, grades),
    }


def deep_linking(host: Host, tool: Tool, person: Person, selection: ContentSelection) -> dict[str, Any]:
    """All claims of a deep linking request, by which an admin chooses content, but those of ``fresh``.

    Deep Linking 2.0 section 4.4.
    """
    known = {"User.id": subjects.person(host.vault, tool.client_id, person.key)}
    return envelope(host, tool, person, selection.deployment_id) | {
        f"{CLAIM}message_type": DEEP_LINKING_REQUEST,
        f"{CLAIM}target_link_uri": tool.deep_linking_uri,
        f"{CLAIM}roles": [ADMINISTRATOR, INSTRUCTOR],
        f"{CLAIM}launch_presentation": {"document_target": "window", "locale": "en"},
        f"{CLAIM}custom": variables.substitute(tool.custom, known, {}),
        DEEP_LINKING_SETTINGS: {
            "deep_link_return_url": f"{host.settings.issuer}/lti/deeplink/return",
            "accept_types": list(ACCEPT_TYPES),
            "accept_presentation_document_targets": ["window", "iframe"],
            "accept_multiple": selection.multiple,
            "auto_create": False,
            "data": selection_data(host, selection.id),
        },
    }


def selection_data(host: Host, selection_id: uuid.UUID) -> str:
    """What a tool must echo: nobody but this installation can make it, and the database holds only its hash."""
    return host.vault.derive("lti-selection", selection_id.bytes).hex()


def fresh(nonce: str) -> dict[str, Any]:
    """The claims of the moment in which a message is signed; ``nonce`` is the tool's."""
    at = int(time.time()) - BACKDATE_SECONDS
    return {"iat": at, "exp": at + LIFE_SECONDS, "nonce": nonce}


def envelope(host: Host, tool: Tool, person: AnyPerson, deployment_id: str) -> dict[str, Any]:
    """The claims that every message to a tool has: who says it to whom, about which person."""
    return {
        "iss": host.settings.issuer,
        "aud": tool.client_id,
        "azp": tool.client_id,
        "sub": subjects.person(host.vault, tool.client_id, person.key),
        **tidy(personal(tool, person)),
        f"{CLAIM}version": VERSION,
        f"{CLAIM}deployment_id": deployment_id,
        f"{CLAIM}tool_platform": platform(host),
    }


def personal(tool: Tool, person: AnyPerson) -> dict[str, Any]:
    """What says who the person is: only as far as the tool's connection allows it."""
    claims: dict[str, Any] = {}
    if tool.send_name:
        names = {name: person.attributes.get(name, "") for name in ("given_name", "family_name")}
        claims |= {"name": person.name, **names, f"{CLAIM}lis": {"person_sourcedid": person.key}}
    if tool.send_email:
        claims["email"] = person.email
    return claims


def platform(host: Host) -> dict[str, str]:
    """The ``tool_platform`` claim."""
    return {
        "guid": subjects.platform(host.vault),
        "name": PRODUCT,
        "product_family_code": PRODUCT,
        "version": product_version(),
    }


@functools.cache
def product_version() -> str:
    """The version of the installed program."""
    return importlib.metadata.version("flowbridge")


def _custom(host: Host, tool: Tool, launch: AnyLaunch, place: Place) -> dict[str, str]:
    asset, person = launch.asset, launch.person
    known = variables.of_launch(launch) | {
        "User.id": subjects.person(host.vault, tool.client_id, person.key),
        "Person.name.full": person.name if tool.send_name else "",
        "Person.sourcedId": person.key if tool.send_name else "",
        "Person.email.primary": person.email if tool.send_email else "",
        "Context.id": place.context,
        "Context.title": place.title,
        "ResourceLink.id": place.resource_link,
        "ResourceLink.title": asset.title,
    }
    custom = {**tool.custom, **(asset.opening or {}).get("custom", {})}
    return variables.substitute(custom, known, launch.prompt.event.data)


def _services(host: Host, tool: Tool, place: Place, grades: Grades) -> dict[str, Any]:
    """The services that were granted to the tool (AGS 2.0 section 3.1, NRPS 2.0 section 2.1)."""
    claims: dict[str, Any] = {}
    if scopes := [scope for scope in tool.scopes if scope in AGS_SCOPES]:
        endpoint: dict[str, Any] = {"scope": scopes, "lineitems": grades.line_items}
        claims[AGS_ENDPOINT] = endpoint | ({"lineitem": grades.line_item} if grades.line_item else {})
    if MEMBERS_READ in tool.scopes:
        url = memberships_url(host, place.context)
        claims[NRPS_SERVICE] = {"context_memberships_url": url, "service_versions": ["2.0"]}
    return claims


def memberships_url(host: Host, context: str) -> str:
    """The members of a context (NRPS 2.0)."""
    return f"{host.settings.issuer}/lti/nrps/{context}/memberships"


def tidy(texts: dict[str, Any]) -> dict[str, Any]:
    """Without white space around texts, which conformance tests refuse, and without optional texts that are empty."""
    stripped = {key: value.strip() if isinstance(value, str) else value for key, value in texts.items()}
    return {key: value for key, value in stripped.items() if value != ""}
