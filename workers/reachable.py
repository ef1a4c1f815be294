"""Does the broker answer?"""

from __future__ import annotations

from kombu.utils.url import maybe_sanitize_url

from bridge.settings import Settings
from workers.app import make_app


def broker_problem(settings: Settings) -> str:
    """Why the broker can't be reached, and what to do; "" where it answers, or none is needed."""
    if settings.embedded_broker:
        return ""
    try:
        with make_app(settings, publish_only=True).connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=3)
    except Exception as error:  # each transport of kombu has errors of its own
        where = maybe_sanitize_url(settings.broker_url)
        return f"the broker {where} does not answer ({error}): start it, or change FLOWBRIDGE_BROKER_URL"
    return ""
