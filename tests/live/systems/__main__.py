"""The command line: `python -m tests.live.systems install [SYSTEM ...]`, all systems at once by default."""

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

from tests.live.systems import (
    InstallError,
    Kolibri,
    LearningLocker,
    Ltijs,
    PyLti1p3,
    Ralph,
    System,
    Tryton,
    XapiClients,
)
from tests.live.systems.install import live_directory, provide_node

SYSTEMS: dict[str, type[System | XapiClients]] = {
    system.name: system for system in (Kolibri, Tryton, Ltijs, PyLti1p3, LearningLocker, Ralph, XapiClients)
}


def install(system: type[System | XapiClients]) -> str:
    """Make the parts of a system that are not current; returns a line that says what was done and how long it took."""
    started = time.monotonic()
    made = [part.folder for part in system.parts if part.make()]
    seconds = time.monotonic() - started
    return f"{system.name}: {'made ' + ' and '.join(made) if made else 'up to date'} ({seconds:.1f} s)"


def install_all(names: list[str]) -> list[str]:
    """Install systems side by side and print a line for each; returns what failed, a message each."""
    wanted = [SYSTEMS[name] for name in names]
    failures = []
    try:
        if any(system.needs_node for system in wanted):
            provide_node()
    except InstallError as error:
        return [str(error)]
    with ThreadPoolExecutor(max_workers=len(wanted)) as pool:
        for done in as_completed([pool.submit(install, system) for system in wanted]):
            try:
                print(done.result(), flush=True)
            except InstallError as error:
                failures.append(str(error))
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.live.systems", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("install", help=f"install into {live_directory()}")
    command.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"of {', '.join(SYSTEMS)}; default: all")
    names = parser.parse_args().systems or list(SYSTEMS)
    if unknown := [name for name in names if name not in SYSTEMS]:
        parser.error(f"no such system: {', '.join(unknown)}; there are {', '.join(SYSTEMS)}")
    failures = install_all(names)
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
