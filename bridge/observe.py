"""Logs: structured, to stderr, without secrets."""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
import sys
from collections.abc import Mapping
from typing import Any

import structlog

_NAMES = "|".join(
    (
        *("password", "passwd", "secrets?", "secret_key", "private_key", "api[_-]?key", "token", "bearer"),
        *("assertion", "handoff", "ticket", "session", "cookie", "csrf"),
    )
)
#: Values that must not be read in a log, wherever they come from.
_SECRETS = (
    re.compile(r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?(?:(?:basic|bearer)\s+)?)[^\s'\",]+"),
    re.compile(r"(?i)(\b(?:basic|bearer)\s+)[A-Za-z0-9+/=._~:-]{16,}"),
    re.compile(rf"(?i)((?:{_NAMES})['\"]?\s*[:=]\s*)(?:'[^']*'|\"[^\"]*\"|\[[^\]]*\]|[^\s'\",;&}}\[]+)"),
    re.compile(r"()\bwhsec_[A-Za-z0-9+/=]+"),
    re.compile(r"(/go/)[A-Za-z0-9_-]{16,}"),
    re.compile(r"(/lti/tool/continue\?code=)[A-Za-z0-9_=%-]{16,}"),
    re.compile(r"()\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"),
    re.compile(r"(\w+://[^:/@\s]*:)[^@/\s]+(?=@)"),
)
_SECRET_NAME = re.compile(rf"(?i)(?:{_NAMES}|authorization)$")
_CUT = "[redacted]"


def redact(text: str) -> str:
    """``text`` with everything that looks like a secret cut out."""
    for pattern in _SECRETS:
        text = pattern.sub(rf"\1{_CUT}", text)
    return text


def _plain(value: Any, name: str = "") -> Any:
    """A logged value without secrets: what has a secret's name is one, at any depth."""
    if _SECRET_NAME.search(name) and value is not None:
        return _CUT
    if isinstance(value, Mapping):
        return {key: _plain(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else redact(str(value))


def _redacted(_logger: Any, _name: str, event: Any) -> Any:
    return _plain(event)


class _Formatter(logging.Formatter):
    """For the standard library's loggers (the web server, Celery, SQLAlchemy), tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class _JsonFormatter(logging.Formatter):
    """The same as one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "timestamp": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat().replace("+00:00", "Z"),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps({key: redact(text) for key, text in line.items()})


def configure(*, level: str = "INFO", form: str = "text") -> None:
    """Set up logging for this process: ``form`` is text for people, json for machines."""
    handler = logging.StreamHandler(sys.stderr)
    text = _Formatter("%(asctime)s %(levelname)s %(name)s %(message)s")
    handler.setFormatter(_JsonFormatter() if form == "json" else text)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel("WARNING")  # at INFO it tells at each start that it had nothing to do
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
