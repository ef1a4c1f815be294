"""A whole bridge as users start it: ``flowbridge serve`` in a home of its own, with the command line beside it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import requests

from tests.ports import free_port

FLOWBRIDGE = Path(sys.executable).with_name("flowbridge")
Found = TypeVar("Found")


def until(what: str, look: Callable[[], Found | None], *, seconds: float = 30) -> Found:
    """Look until there is something; fails saying what was waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds:g} s for {what}")


class BridgeProcess:
    """``base_url`` answers; ``run(...)`` runs the command line on the same database.

    Two bridges in one browser need host names of their own (``known_as``): cookies know no ports.
    """

    def __init__(self, home: Path, *, known_as: str = "127.0.0.1", **settings: str) -> None:
        self.port = free_port()
        self.base_url = f"http://{known_as}:{self.port}"
        self.home = home
        self.admin_password = ""
        own = {"home": str(home), "port": str(self.port), "base_url": self.base_url}
        own |= {"allow_private_peers": "true", "poll_seconds": "0.5"}
        names = {f"FLOWBRIDGE_{name.upper()}": value for name, value in {**own, **settings}.items()}
        self.environment = {**os.environ, **names, "FLOWBRIDGE_CONFIG": str(home / "flowbridge.toml")}
        self.log = home.with_suffix(".log")

    def run(self, *arguments: str, **environment: str) -> str:
        """Run a command; fails with what it said when it did not end well."""
        done = subprocess.run(
            [FLOWBRIDGE, *arguments],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"flowbridge {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout

    @contextlib.contextmanager
    def serving(self, **environment: str) -> Iterator[BridgeProcess]:
        """Serve until the end of the block, then end as Ctrl-C does."""
        self.environment |= environment
        with self.log.open("w") as log:
            process = subprocess.Popen(
                [FLOWBRIDGE, "serve"],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                until("the bridge to be ready", lambda: self._ready(process), seconds=40)
                found = re.search(
                    r"^The first admin is \S+ with the password (\S+)$", self.log.read_text(), re.MULTILINE
                )
                self.admin_password = found[1] if found else self.admin_password
                yield self
            finally:
                process.send_signal(signal.SIGINT)
                code = process.wait(20)
        assert code == 0, self.log.read_text()[-3000:]

    def _ready(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, self.log.read_text()[-3000:]
        try:
            return requests.get(f"{self.base_url}/readyz", timeout=2).ok
        except requests.RequestException:
            return False
