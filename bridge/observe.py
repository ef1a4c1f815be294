"""Logs: structured, to stderr, without secrets."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

import structlog

#: Values that must not be read in a log, wherever they come from.
_SECRETS = (
    re.compile(r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?(?:basic|bearer)\s+)[^\s'\"]+"),
    re.compile(
        r"(?i)((?:password|secret|token|api_key|assertion|handoff|ticket|id_token)['\"]?\s*[:=]\s*['\"]?)[^\s'\",&}]+"
    ),
    re.compile(r"(/go/)[A-Za-z0-9_-]{16,}"),
    re.compile(r"()\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"),
    re.compile(r"(\w+://[^:/\s]+:)[^@\s]+(?=@)"),
)


def redact(text: str) -> str:
    """``text`` with everything that looks like a secret cut out."""
    for pattern in _SECRETS:
        text = pattern.sub(r"\1[redacted]", text)
    return text


class _Redacting(logging.Filter):
    """For the standard library's loggers: the web server's access lines, Celery, SQLAlchemy."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), None
        return True


def _redacted(_logger: Any, _name: str, event: Any) -> Any:
    return {key: redact(value) if isinstance(value, str) else value for key, value in event.items()}


def configure(*, level: str = "INFO", form: str = "text") -> None:
    """Set up logging for this process: ``form`` is text for people, json for machines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_Redacting())
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    last = structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redacted,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def logger(name: str) -> Any:
    """A structured logger."""
    return structlog.get_logger(name)
