"""The bridge as platform: edits of the tokens that tools sign."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tests.threats.cases import Case
from tests.threats.changes import edited, key_set, signer, variants
from tests.threats.phrases import Attempt
from tests.threats.platform_choices import Choice
from tests.threats.platform_side import Tool
from tests.threats.platform_tokens import ask_token
from tests.threats.running import Came, Stage
from tests.threats.signing import Draft


def changed(case: Case) -> list[Attempt]:
    """The change, applied to every token that tools sign and that it is about."""
    tokens = (("client assertion", _changed_assertion), ("deep linking response", _changed_response))
    about = _about(case.text, case.change or {})
    return [
        Attempt(f"{name}: {one.label}", one.run) for name, run in tokens if name in about for one in variants(case, run)
    ]


def _about(text: str, change: Mapping[str, Any]) -> set[str]:
    """The tokens that a change speaks of: by its claims, or in its words."""
    both = {"client assertion", "deep linking response"}
    touched = set(change.get("claims", {})) | set(change.get("keep_only", ()))
    if re.search(r"\bassertion\b", text) or touched & {"iss", "sub", "jti"} or "@token_url" in json.dumps(change):
        both = {"client assertion"}
    if re.search(r"deep.?link|content.?item", text, re.IGNORECASE) or any(
        name.startswith("https:") for name in touched
    ):
        both = {"deep linking response"}
    return {"deep linking response"} if touched & {"nonce"} else both


def _known(tool: Tool) -> dict[str, str]:
    issuer = tool.stage.issuer
    known = {"issuer": issuer, "client_id": tool.client_id, "token_url": f"{issuer}/lti/token"}
    return known | {"iss": tool.client_id}


def _edit(tool: Tool, draft: Draft, text: str, change: Mapping[str, Any]) -> None:
    own = signer(text, draft)
    edited(draft, change, _known(tool))
    tool.change(jwks={"keys": key_set(text, draft, tool.kid, own)})


def _changed_assertion(stage: Stage, *, text: str, change: Mapping[str, Any]) -> Came:
    tool = Tool(stage)
    draft = tool.assertion()
    _edit(tool, draft, text, change)
    return ask_token(tool, draft)


def _changed_response(stage: Stage, *, text: str, change: Mapping[str, Any]) -> Came:
    choice = Choice(stage)
    draft = choice.response()
    _edit(choice.tool, draft, text, change)
    return choice.attempt(draft)
