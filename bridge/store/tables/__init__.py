"""The tables.

Each hop of the way stores the id of the hop before: event, prompt, delivery, launch, outcome, statement. Work that
waits for a worker lives in rows with a :class:`Queued` part; the row, not the broker, is the record of truth.
"""

from __future__ import annotations

from bridge.store.tables.access import Credential, SignInSession, UsedToken
from bridge.store.tables.base import Base, Queued
from bridge.store.tables.evidence import Audit, Outbox, Statement, StatementReceipt
from bridge.store.tables.loop import (
    Account,
    Asset,
    Checkpoint,
    Connection,
    Delivery,
    Event,
    Launch,
    Outcome,
    Person,
    Prompt,
    Rule,
    SyncPage,
    SyncRun,
    Ticket,
    Unmatched,
    WriteBack,
)
from bridge.store.tables.lti import (
    AccessToken,
    ContentSelection,
    ContextMember,
    LineItem,
    LmsDeployment,
    LmsGrade,
    LmsLink,
    LmsLogin,
    LmsMember,
    LmsPlacing,
    LtiHint,
    RegistrationTicket,
    Score,
    SigningKey,
)

__all__ = [
    "AccessToken",
    "Account",
    "Asset",
    "Audit",
    "Base",
    "Checkpoint",
    "Connection",
    "ContentSelection",
    "ContextMember",
    "Credential",
    "Delivery",
    "Event",
    "Launch",
    "LineItem",
    "LmsDeployment",
    "LmsGrade",
    "LmsLink",
    "LmsLogin",
    "LmsMember",
    "LmsPlacing",
    "LtiHint",
    "Outbox",
    "Outcome",
    "Person",
    "Prompt",
    "Queued",
    "RegistrationTicket",
    "Rule",
    "Score",
    "SignInSession",
    "SigningKey",
    "Statement",
    "StatementReceipt",
    "SyncPage",
    "SyncRun",
    "Ticket",
    "Unmatched",
    "UsedToken",
    "WriteBack",
]
