"""Forwarding: statements per second from their commit to the last receipt, beside the sink's own limit and a relative.

The relative is one Celery task and one request by tincan for each statement, as event-routing-backends works.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks import Figure, Size


def run(size: Size) -> Iterator[Figure]:
    from tests.benchmarks.forward import figures  # the small processes of this package start without all of it

    yield from figures.run(size)
