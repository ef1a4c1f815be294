"""``flowbridge worker`` with queues of its own at a broker that others use too: ``... worker PREFIX``."""

from __future__ import annotations

import sys

import workers.app
from bridge.settings import Settings
from workers.run import run_worker

if __name__ == "__main__":
    workers.app.PREFIX = sys.argv[1]
    sys.exit(run_worker(Settings.load(), beat=True))
