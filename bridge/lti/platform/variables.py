"""Custom parameters with variables: a value that is exactly ``$Name`` is replaced, everything else is sent as it is.

LTI Core 1.3 section 5.4.6.1 and appendix B give the standard names; ``$FlowBridge....`` are the bridge's own and carry
the business record into the content: ``$FlowBridge.event.data.amount``. The namespace is closed, values are strings,
and a value is never looked at for variables again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.store.occasion import AnyLaunch

#: Longer values are cut: the whole message must pass a form post.
LONGEST = 1000
_DATA = "$FlowBridge.event.data."

#: Names that the platform can fill, as its configuration lists them.
SUPPORTED = (
    "User.id",
    "Person.name.full",
    "Person.email.primary",
    "Person.sourcedId",
    "Context.id",
    "Context.title",
    "ResourceLink.id",
    "ResourceLink.title",
    "FlowBridge.event.id",
    "FlowBridge.event.type",
    "FlowBridge.event.subject",
    "FlowBridge.event.source",
    "FlowBridge.event.time",
    "FlowBridge.event.data",
    "FlowBridge.prompt.id",
    "FlowBridge.prompt.say",
    "FlowBridge.launch.id",
    "FlowBridge.asset.externalId",
)


def of_launch(launch: AnyLaunch) -> dict[str, str]:
    """The bridge's own variables for a launch, without ``$``."""
    event, prompt = launch.prompt.event, launch.prompt
    return {
        "FlowBridge.event.id": str(event.id),
        "FlowBridge.event.type": event.type,
        "FlowBridge.event.subject": event.subject,
        "FlowBridge.event.source": event.source,
        "FlowBridge.event.time": event.time.isoformat(),
        "FlowBridge.prompt.id": str(prompt.id),
        "FlowBridge.prompt.say": prompt.say,
        "FlowBridge.launch.id": str(launch.id),
        "FlowBridge.asset.externalId": launch.asset.external_id,
    }


def substitute(custom: Mapping[str, str], known: Mapping[str, str], data: Mapping[str, Any]) -> dict[str, str]:
    """``custom`` with its variables replaced; ``data`` is the business record. An unknown name stays as it is."""
    return {name: _value(value, known, data).strip()[:LONGEST] for name, value in custom.items()}


def _value(value: str, known: Mapping[str, str], data: Mapping[str, Any]) -> str:
    if value.startswith(_DATA):
        return _plain(_walk(data, value.removeprefix(_DATA).split(".")))
    return known.get(value[1:], value) if value.startswith("$") else value


def _walk(data: Any, path: list[str]) -> Any:
    for step in path:
        data = data.get(step) if isinstance(data, Mapping) else None
    return data


def _plain(value: Any) -> str:
    """A record's field as text; what it does not have, and what has parts of its own, is empty."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else ""
