"""What a use case answers when it can't do what was asked. The message is for the person who asked."""

from __future__ import annotations


class FlowError(Exception):
    """Root; ``code`` is stable and can be matched by programs."""

    code = "error"

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code or type(self).code


class NotFound(FlowError):
    """There is no such thing."""

    code = "not_found"


class Refused(FlowError):
    """It is there, but not for this person, or not any more."""

    code = "refused"


class Invalid(FlowError):
    """The input is wrong; ``field`` names the part."""

    code = "invalid"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
