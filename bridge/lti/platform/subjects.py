"""Names that a tool knows people and places by: the same each time, and different for every tool.

Lower-case hex on purpose: pylti1p3 lower-cases whole page links, and these stand in them.
"""

from __future__ import annotations

from bridge.secrets import Vault


def person(vault: Vault, client_id: str, key: str) -> str:
    """The ``sub`` and ``login_hint`` of the person with this key."""
    return vault.derive("lti-sub", client_id.encode(), key.encode()).hex()


def context(vault: Vault, client_id: str, connection: str) -> str:
    """The context id of a business system, which is where a prompt came from."""
    return vault.derive("lti-context", client_id.encode(), connection.encode())[:16].hex()


def platform(vault: Vault) -> str:
    """The ``guid`` of this installation."""
    return vault.derive("lti-platform")[:16].hex()
