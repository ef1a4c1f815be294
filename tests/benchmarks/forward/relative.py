"""One Celery task and one request per statement, with tincan: how event-routing-backends sends them, as it comes.

``celery -A tests.benchmarks.forward.relative worker``; ``RELATIVE_QUEUE`` and ``RELATIVE_ENDPOINT`` say where.
"""

from __future__ import annotations

import os

from celery import Celery
from tincan import RemoteLRS, Statement

QUEUE, ENDPOINT = os.environ.get("RELATIVE_QUEUE", "relative"), os.environ.get("RELATIVE_ENDPOINT", "")

app = Celery("relative", broker=os.environ.get("RELATIVE_BROKER", "memory://localhost/"))
app.conf.update(task_default_queue=QUEUE, task_ignore_result=True, worker_enable_remote_control=False)


@app.task(name="relative.send")  # type: ignore[untyped-decorator]
def send(event: str) -> None:
    """Store one statement, through a client of its own."""
    lrs = RemoteLRS(endpoint=f"{ENDPOINT}/", version="1.0.3", username="benchmark", password="benchmark")
    answer = lrs.save_statement(Statement.from_json(event))
    if not answer.success:
        raise RuntimeError(answer.data)
