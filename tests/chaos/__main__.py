"""``python -m tests.chaos [RUN] [--seed N]``: one set-up, or all; each line of the output is a JSON object.

Ends with 0 when nothing was lost, doubled or set aside without reason, and with 1 when anything was: the reasons are in
``faults``, or in what was told last where it got stuck.
"""

from __future__ import annotations

import argparse
import secrets
import signal
import sys

from tests.chaos.installation import SETUPS
from tests.chaos.plan import FULL, SHORT
from tests.chaos.progress import Stuck
from tests.chaos.run import run


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("run", nargs="?", choices=list(SETUPS), help="without it, all of them")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10_000), help="the same one breaks alike")
    parser.add_argument("--short", action="store_true", help="as the tests do it")
    given = parser.parse_args(arguments)
    well = True
    for name in [given.run] if given.run else SETUPS:
        _tell(f"{name}, seed {given.seed}")
        try:
            outcome = run(name, SHORT if given.short else FULL, given.seed, _tell)
        except Stuck as error:
            _tell(str(error))
            well = False
        else:
            print(outcome.line(), flush=True)
            well = well and not outcome.faults
    return 0 if well else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: nothing that was started stays
    sys.exit(main())
