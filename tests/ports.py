"""Ports for servers of the tests' own.

A port that the kernel gives (bind to 0, read it, close) lies where it also finds ports for outgoing connections:
whoever connects to anything before the server listens may get it, and keep it. So these lie below that range, on
Linux, macOS and Windows, and above every port that browsers refuse. Each process of a test run has a part to itself.
"""

from __future__ import annotations

import itertools
import os
import random
import socket

_FIRST, _END = 12_000, 32_000
_PROCESSES = 10
_PART = (_END - _FIRST) // _PROCESSES
_process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
# Two test runs on one machine seldom begin at the same place.
_begin = random.SystemRandom().randrange(_PART)
_next = itertools.count(_begin)


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on, and that this process has not been given lately."""
    for _ in range(_PART):
        port = _FIRST + _process * _PART + next(_next) % _PART
        with socket.socket() as probe:
            # As servers do: what a former one left in TIME_WAIT is no hindrance.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError(f"every port of {_PART} is taken")
