"""``python -m tests.threats [CASES.json]``: attack both roles of the running app; without a file, with our own cases.

Ends with 0 when all is as it must be, 1 when a case is not, 2 when the file can't be used, and 3 when all that was
tried is right but some cases were not understood.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.threats.cases import OURS, CasesError, load
from tests.threats.report import attempt, details, summary
from tests.threats.running import world


def main(arguments: list[str]) -> int:
    """Run a file of cases; returns the exit code."""
    try:
        cases = load(Path(arguments[0]) if arguments else OURS)
    except CasesError as error:
        print(f"threats: {error}", file=sys.stderr)
        return 2
    tried = []
    with world() as made:
        for number, case in enumerate(cases, 1):
            tried.append(attempt(made, case))
            if number % 25 == 0 or number == len(cases):
                print(f"{number} of {len(cases)}", file=sys.stderr, flush=True)
    print("\n".join([*details(tried), *summary(tried)]))
    if any(one.wrong for one in tried):
        return 1
    if any(one.unknown or one.untried for one in tried):
        print("Some cases were not tried: nothing is said about those.")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
