"""Nudges: after a commit, tell the worker that there is work, without ever waiting for the broker."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any

from bridge.flows.runtime import QUEUES
from bridge.settings import Settings
from workers.quiet import OncePerMinute

DEBOUNCE_SECONDS = 0.025

_log = logging.getLogger("flowbridge.nudge")
_log.addFilter(OncePerMinute())


def publisher(settings: Settings) -> Callable[[str], None]:
    """The ``nudge(queue)`` of a process that is no worker.

    It returns at once, whatever the broker does: a thread sends the messages, the first one immediately, more of the
    same within 25 ms as one. An error is logged once a minute and forgotten, because the beat finds the row within a
    second. With the embedded broker there is nothing to send: the worker watches the database itself.
    """
    return _nowhere if settings.embedded_broker else Publisher(settings)


def _nowhere(queue: str) -> None:
    _check(queue)


def _check(queue: str) -> None:
    if queue not in QUEUES:
        raise ValueError(f"there is no queue '{queue}'; there are {', '.join(QUEUES)}")


class Publisher:
    """Sends nudges from a daemon thread of its own over a connection of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._waiting: set[str] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._app: Any = None
        self._producer: Any = None

    def __call__(self, queue: str) -> None:
        _check(queue)
        with self._changed:
            self._waiting.add(queue)
            self._changed.notify()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="nudge", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                queues, self._waiting = self._waiting, set()
            for queue in sorted(queues):
                self._send(queue)
            pause.wait(DEBOUNCE_SECONDS)

    def _send(self, queue: str) -> None:
        from kombu.utils.url import maybe_sanitize_url

        from workers.app import EXPIRES_SECONDS, queue_name

        try:
            producer = self._connected()
            options = {"queue": queue_name(queue), "expires": EXPIRES_SECONDS, "timeout": 2.0, "confirm_timeout": 2.0}
            self._app.send_task(queue, producer=producer, retry=False, ignore_result=True, **options)
        except Exception as error:
            self._disconnect()
            where = maybe_sanitize_url(self._settings.broker_url)
            _log.warning(
                "The broker at %s can't be reached (%s); the worker finds new work by its beat, up to a second later."
                " Check FLOWBRIDGE_BROKER_URL and that the broker runs.",
                where,
                type(error).__name__,
            )

    def _connected(self) -> Any:
        """The producer, connected; made here because Celery takes a moment to import and a fork must not share it."""
        if self._producer is None:
            from workers.app import make_app

            self._app = self._app or make_app(self._settings, publish_only=True)
            connection = self._app.connection_for_write()
            self._producer = self._app.amqp.Producer(connection.channel(), auto_declare=False)
        return self._producer

    def _disconnect(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(Exception):
                producer.channel.connection.client.close()
