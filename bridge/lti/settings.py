"""The settings of a peer: those of its connection, read as its connector declares them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from bridge import registry
from bridge.connect import ConfigError


def read(connector: str, name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a connection, its addresses letter by letter; raises ConfigError naming what is wrong."""
    kind = registry.find(connector)
    try:
        return kind.config_class.model_validate(config).model_dump(mode="json")
    except ValidationError as error:
        wrong = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors(include_input=False))
        raise ConfigError(
            f"the {kind.manifest.name} '{name}' is set up wrongly, an admin has to correct: {wrong}"
        ) from None
