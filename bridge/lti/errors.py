"""Refusals of the LTI endpoints.

LtiError           the request is refused: ``code`` is stable, ``status`` is HTTP, the message says what to do
└── OAuthError     ... and the protocol has a word for it (RFC 6749 section 5.2, OpenID Connect Core section 3.1.2.6)
"""

from __future__ import annotations


class LtiError(Exception):
    """A refused request. The message is for the person or the tool's developer and names no secret."""

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class OAuthError(LtiError):
    """A refusal that is reported with the protocol's own ``error`` word."""

    def __init__(self, error: str, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(code, message, status=status)
        self.error = error

    @property
    def description(self) -> str:
        """The ``error_description``: the words and the stable code."""
        return f"{self} ({self.code})"
