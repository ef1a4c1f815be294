"""Rules between their stored definition and their value."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from bridge.domain.rules import WIDGET, Limits, Offer, OncePer, Rule


def from_definition(definition: Mapping[str, Any]) -> Rule:
    """Read a stored definition: the rule's YAML with durations in seconds, checked when it was saved."""
    limits = definition.get("limits", {})
    return Rule(
        name=definition["name"],
        on=definition["on"],
        when=definition.get("when", "true"),
        for_=definition.get("for", "actor"),
        offer=Offer(**{key: _tuple(value) for key, value in definition["offer"].items()}),
        say=definition["say"],
        through=tuple(definition.get("through", (WIDGET,))),
        limits=Limits(
            once_per=OncePer(limits.get("once_per", OncePer.OBJECT)),
            cool_down=_seconds(limits.get("cool_down")),
            skip_if_completed_within=_seconds(limits.get("skip_if_completed_within")),
        ),
        enabled=definition.get("enabled", True),
    )


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _seconds(value: float | None) -> dt.timedelta | None:
    return None if value is None else dt.timedelta(seconds=value)
