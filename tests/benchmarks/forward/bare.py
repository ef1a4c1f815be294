"""The limit of the sink: POST ready bytes in a bare requests loop, and do nothing else.

``python -m tests.benchmarks.forward.bare ENDPOINT BATCH SECONDS``; begins when it reads a line, and prints the
statements that it sent in a second, and the microseconds of processor time for each.
"""

from __future__ import annotations

import os
import sys
import time

import requests

from tests.benchmarks.forward.content import statement

_BODIES = 20


def main(endpoint: str, batch: int, seconds: float) -> None:
    run = os.getpid()
    bodies = [
        b"[" + b",".join(statement(place * batch + number, run)[1] for number in range(batch)) + b"]"
        for place in range(_BODIES)
    ]
    session = requests.Session()
    session.trust_env = False
    session.headers.update({"X-Experience-API-Version": "1.0.3", "Content-Type": "application/json"})
    print("ready", flush=True)
    sys.stdin.readline()
    posts, begin, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() < begin + seconds:
        session.post(f"{endpoint}/statements", data=bodies[posts % _BODIES]).raise_for_status()
        posts += 1
    sent = posts * batch
    print(sent / (time.perf_counter() - begin), (time.process_time() - cpu) / sent * 1e6)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
