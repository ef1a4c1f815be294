"""Prompts: what a person is told, where, and the receipt of it."""

from __future__ import annotations

import dataclasses
from enum import StrEnum


class Reason(StrEnum):
    """Why a rule did, or did not, lead to a prompt."""

    OFFERED = "offered"
    OPENED_IN_LMS = "opened_in_lms"
    CONDITION_FALSE = "condition_false"
    CONDITION_FAILED = "condition_failed"
    PERSON_MISSING = "person_missing"
    PERSON_UNKNOWN = "person_unknown"
    PERSON_AMBIGUOUS = "person_ambiguous"
    ASSET_NOT_FOUND = "asset_not_found"
    ASSET_RETIRED = "asset_retired"
    ASSET_NOT_OPENABLE = "asset_not_openable"
    ALREADY_PROMPTED = "already_prompted"
    COOLING_DOWN = "cooling_down"
    ALREADY_COMPLETED = "already_completed"
    TEMPLATE_FAILED = "template_failed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt as a channel shows it. All texts are plain text; ``launch_url`` opens the asset."""

    id: str
    title: str
    say: str
    launch_url: str
    asset_kind: str = ""
    duration_seconds: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """Where a prompt goes: the business record that it is about and the person's account in that system."""

    subject: str = ""
    account_id: str = ""
    email: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Receipt:
    """What a system answered to a delivery or a write-back: enough to find the thing again, or to take it back."""

    external_id: str
    url: str = ""
