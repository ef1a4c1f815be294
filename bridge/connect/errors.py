"""Connector errors, named by what the bridge does next.

ConnectorError
├── ConfigError        stop the connection, tell the admin
├── Retryable          try again, not before ``retry_after`` seconds
├── Rejected           this item will never be accepted: dead-letter it, go on with the next
│   └── TooLarge       it has too many bytes for one request: send less at once
├── Unsupported        the system can't do that: say so, go on
├── SignatureInvalid   the request was not sent by the system that it names: 401, nothing stored
└── UnexpectedPayload  the system answered or sent what its contract does not allow: quarantine
"""

from __future__ import annotations


class ConnectorError(Exception):
    """Root. ``str()`` is the operator's message; ``detail`` is for the log. Both must be free of secrets."""

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class ConfigError(ConnectorError):
    """An admin must change something first."""


class Retryable(ConnectorError):
    """The outcome is unknown, or the system asks to wait: ``retry_after`` seconds, None leaves it to the bridge."""

    def __init__(self, message: str, *, retry_after: float | None = None, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.retry_after = retry_after


class Rejected(ConnectorError):
    """The system understood and refused this item."""


class TooLarge(Rejected):
    """The request has more bytes than the system takes at once."""


class Unsupported(ConnectorError):
    """The system has no such thing."""


class SignatureInvalid(ConnectorError):
    """A request that was not signed, wrongly signed, too old or replayed."""


class UnexpectedPayload(ConnectorError):
    """Not what the published contract says; ``field`` names the part that is wrong where there is one."""

    def __init__(self, message: str, *, field: str = "", detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.field = field
