"""The processes: a worker, and a beat of its own where there is a broker that both can reach."""

from __future__ import annotations

import functools
import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable
from typing import Any

from celery import Celery, signals
from celery.beat import EmbeddedService
from celery.platforms import SecurityWarning
from celery.worker import state
from celery.worker.consumer import Consumer

from bridge.flows.runtime import Runtime
from bridge.settings import Settings, SettingsError
from workers.app import EXPIRES_SECONDS, KINDS, make_app, queue_name
from workers.embedded import Watch
from workers.nudge import publisher
from workers.quiet import OncePerMinute
from workers.tasks import Work, register

#: How long a worker that was asked to end finishes what it does; leases give back the rest.
STOP_SECONDS = 20
#: The longest pause before a broker that was away is asked again.
RECONNECT_SECONDS = 2.0

_log = logging.getLogger("flowbridge.worker")


class NudgeConsumer(Consumer):  # type: ignore[misc]  # Celery has no types
    """Celery's consumer without its 28 queues for delayed messages: what is due later waits in the database.

    While the broker is away it asks more often: Celery's own pauses grow to half a minute, in which nothing is done.
    """

    def ensure_connected(self, conn: Any) -> Any:
        """``conn``, once the broker answers."""
        pauses = {"interval_start": 0.2, "interval_step": 0.2, "interval_max": RECONNECT_SECONDS}
        conn.ensure_connection = functools.partial(conn.ensure_connection, **pauses)
        return super().ensure_connected(conn)

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]
        default_steps = tuple(
            step for step in Consumer.Blueprint.default_steps if not str(step).endswith(":DelayedDelivery")
        )


def run_worker(settings: Settings, *, concurrency: int = 2, beat: bool = False) -> int:
    """Work until SIGTERM or SIGINT; returns the exit code.

    ``concurrency`` is how many tasks of the same kind run at once: each kind has its own threads, so a slow system
    holds up nobody but those who wait for it. The embedded broker always has its beat in here: no other process
    reaches it.
    """
    app = make_app(settings)
    nudge = _into(app) if settings.embedded_broker else publisher(settings)
    work = Work(lambda: Runtime.start(settings), width=concurrency, nudge=nudge)
    register(app, work)
    watch = Watch(work.runtime.db, nudge) if settings.embedded_broker else None
    ticker = _ticker(app) if settings.embedded_broker or beat else None
    _connect(work, [thread for thread in (watch, ticker) if thread])
    _keep_quiet(settings)
    worker = app.Worker(
        pool_cls="threads",
        concurrency=concurrency * len(KINDS),
        consumer_cls=NudgeConsumer,
        loglevel=settings.log_level,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    if worker.use_eventloop:
        # Celery looks whether it shall stop only when its event loop wakes up, which without traffic takes up to 10 s.
        worker.timer.call_repeatedly(1.0, lambda: None)
    worker.start()
    if watch:
        watch.stop()
    return int(worker.exitcode or 0)


def run_beat(settings: Settings) -> int:
    """Tick until SIGTERM or SIGINT; returns the exit code.

    Any number of beats may run: the flows claim what is periodic.
    """
    if settings.embedded_broker:
        raise SettingsError(
            "FLOWBRIDGE_BROKER_URL: the embedded broker has its beat inside the worker; run `flowbridge worker`"
        )
    _keep_quiet(settings)
    died = threading.Event()

    def end(args: threading.ExceptHookArgs) -> None:
        _log.critical("The beat died.", exc_info=args.exc_value)
        died.set()
        os.kill(os.getpid(), signal.SIGTERM)

    # Celery's own program raises SystemExit wherever the signal finds it, and some libraries swallow that.
    signals_to_end = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals_to_end)
    threading.excepthook = end
    _ticker(make_app(settings)).start()
    signal.sigwait(signals_to_end)
    return os.EX_SOFTWARE if died.is_set() else os.EX_OK


def _into(app: Celery) -> Callable[[str], None]:
    """Nudges inside the worker process of the embedded broker: straight onto its queue."""

    def nudge(kind: str) -> None:
        app.send_task(kind, queue=queue_name(kind), expires=EXPIRES_SECONDS, ignore_result=True)

    return nudge


def _connect(work: Work, threads: list[Any]) -> None:
    """Start and end what belongs to the worker together with it."""

    def started(**_: Any) -> None:
        for thread in threads:
            thread.start()
        _log.info("The worker is ready.")

    def stopping(**_: Any) -> None:
        work.stopping.set()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(STOP_SECONDS)

    def died(args: threading.ExceptHookArgs) -> None:
        # A worker without its beat looks healthy and is not: whoever supervises it must start a new one.
        _log.critical("A thread of the worker died; the worker ends.", exc_info=args.exc_value)
        state.should_stop = os.EX_SOFTWARE

    signals.worker_ready.connect(started, weak=False)
    signals.worker_shutting_down.connect(stopping, weak=False)
    threading.excepthook = died


def _keep_quiet(settings: Settings) -> None:
    """Leave logging as the process has set it up, without a line for each tick."""
    signals.setup_logging.connect(lambda **_: None, weak=False)
    # To root, Celery recommends an option that this program has not; its worry is pickle, and only JSON is read.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    if settings.log_level != "DEBUG":
        logging.getLogger("celery").setLevel(logging.WARNING)
    for name in ("celery.beat", "celery.worker.consumer.consumer"):
        logging.getLogger(name).addFilter(OncePerMinute())


def _ticker(app: Celery) -> Any:
    """A beat as a thread: without a file, because every flow knows by itself what is due."""
    return EmbeddedService(app, thread=True, scheduler_cls="celery.beat:Scheduler")
