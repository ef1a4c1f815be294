"""``python -m tests.benchmarks [NAME]``: run one benchmark, or all; each line of the output is a JSON object."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys

import tests.benchmarks
from tests.benchmarks import Size


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(tests.benchmarks.__path__) if module.ispkg)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=names(), help="without it, all of them")
    parser.add_argument("--rounds", type=int, default=Size().rounds, help="how often everything is repeated")
    parser.add_argument("--seconds", type=float, default=Size().seconds, help="how long each measurement takes")
    parser.add_argument("--statements", type=int, default=Size().statements, help="how many the LRS holds meanwhile")
    parser.add_argument("--million", action="store_true", help="measure growth up to 1,000,000 rows, which takes long")
    given = parser.parse_args(arguments)
    backlogs = (*Size().backlogs, 1_000_000) if given.million else Size().backlogs
    size = Size(given.rounds, given.seconds, backlogs=backlogs, statements=given.statements)
    for name in [given.name] if given.name else names():
        for figure in importlib.import_module(f"tests.benchmarks.{name}").run(size):
            print(figure.line(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
