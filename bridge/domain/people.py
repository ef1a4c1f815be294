"""People: one human, with an account in each system. Never guessed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """An account of a person: ``issuer`` is a connection's name or an identity provider's IRI, ``id`` the id there."""

    issuer: str
    id: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One human. ``key`` is the organisation's own stable id (a staff number, say), never an e-mail by necessity."""

    key: str
    name: str = ""
    email: str = ""
    accounts: tuple[Account, ...] = ()
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)
