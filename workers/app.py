"""The Celery app: queues, transports and the beat, all from the settings.

The broker carries nudges only. What is to be done lies in the database under leases, so a message that is lost costs at
most one beat of a second, and one that comes twice costs an empty claim.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from celery import Celery
from kombu.entity import Queue

from bridge.flows.runtime import QUEUES
from bridge.settings import Settings

#: Begins the name of every queue at the broker.
PREFIX = "flowbridge"

#: Kinds of work that only the beat asks for; each flow knows by itself what is due.
PERIODIC = ("poll", "sync", "members", "housekeeping")

#: Every kind of work: the name of its task, and the end of its queue's name.
KINDS = (*QUEUES, *PERIODIC)

#: A message that waited so long is thrown away: the next beat says the same.
EXPIRES_SECONDS = 5.0

_LONG_AGO = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)

# A nudge must never hold up the one who nudges: no retries, short timeouts (kombu's defaults block for up to 6 s).
_FAIL_FAST = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}


def queue_name(kind: str) -> str:
    """The name of the queue at the broker."""
    return f"{PREFIX}.{kind}"


def make_app(settings: Settings, *, publish_only: bool = False) -> Celery:
    """A Celery app for a worker or a beat; ``publish_only`` gives one that fails fast while the broker is away."""
    # Kombu warns about a URL without a host, which a broker in memory does not have.
    url = "memory://localhost/" if settings.embedded_broker else settings.broker_url
    app = Celery(PREFIX, broker=url, set_as_current=not publish_only)
    app.conf.update(
        task_queues=[_queue(kind) for kind in KINDS],
        task_routes={kind: {"queue": queue_name(kind)} for kind in KINDS},
        task_default_queue=queue_name("housekeeping"),
        task_default_exchange=PREFIX,
        task_create_missing_queues=False,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        worker_soft_shutdown_timeout=5.0,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=1.0 if publish_only else 4.0,
        broker_transport_options=_transport_options(settings.broker_url) | (_FAIL_FAST if publish_only else {}),
        beat_scheduler="celery.beat:Scheduler",
        beat_max_loop_interval=1,
        beat_schedule=_beat(settings),
    )
    return app


def _queue(kind: str) -> Queue:
    name = queue_name(kind)
    # Other transports than RabbitMQ's ignore the arguments. One nudge that waits is as good as a thousand.
    arguments = {"x-queue-type": "quorum", "x-max-length": 1000}
    return Queue(name, routing_key=name, queue_arguments=arguments)  # type: ignore[no-untyped-call]


def _transport_options(url: str) -> dict[str, Any]:
    if url.startswith("memory"):
        return {"polling_interval": 0.01}
    if url.startswith(("redis", "rediss")):
        return {
            "visibility_timeout": 120,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_connect_timeout": 1,
            "socket_keepalive": True,
        }
    return {"confirm_publish": True, "read_timeout": 10, "write_timeout": 10}


def _beat(settings: Settings) -> dict[str, dict[str, Any]]:
    """How often each kind is asked for: the net under the nudges, and the flows that look for themselves what is due.

    They look more often than they act, so that a beat that restarts skips nothing and a new connection need not wait.
    """
    every = dict.fromkeys(QUEUES, 1.0)
    every["poll"] = min(1.0, settings.poll_seconds / 2)
    every["sync"] = min(5.0, settings.sync_hours * 3600)
    every["members"] = 5.0
    every["housekeeping"] = 3600.0
    return {kind: _entry(kind, seconds) for kind, seconds in every.items()}


def _entry(kind: str, seconds: float) -> dict[str, Any]:
    options = {"queue": queue_name(kind), "expires": EXPIRES_SECONDS}
    return {"task": kind, "schedule": seconds, "options": options, "last_run_at": _LONG_AGO}
