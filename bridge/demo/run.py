"""Run the demo: the bridge, and around it what a company has, each a program of its own.

Desk is the business app, the sample tool is a vendor's LTI tool, and a second flowbridge is the company's LRS. All of
it lives in one folder, the demo's home, and is configured by the YAML files in ``setup/`` as any other installation.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import requests
import typer
from sqlalchemy import select

from bridge.demo.areas import PEOPLE
from bridge.flows import configure, identity, setup, sync_catalogue
from bridge.flows.runtime import Runtime
from bridge.serve import CannotServe, Child, serve
from bridge.settings import EMBEDDED_BROKER, Settings
from bridge.store import tables

HOST = "127.0.0.1"
#: How long everything may take to start, in seconds.
START_SECONDS = 60.0
_SETUP = Path(__file__).parent / "setup"
_CONTENT = Path(__file__).parent / "content"


@dataclasses.dataclass(frozen=True, slots=True)
class Ports:
    """Who listens where on this machine."""

    bridge: int
    desk: int
    tool: int
    lrs: int

    @classmethod
    def beginning_with(cls, first: int) -> Self:
        return cls(first, first + 1, first + 2, first + 3)

    @classmethod
    def free(cls) -> Self:
        """Four that nobody listens on, below the range that systems take for outgoing connections."""
        for _ in range(200):
            first = random.randrange(20_000, 32_000)  # noqa: S311
            if all(map(_is_free, range(first, first + 4))):
                return cls.beginning_with(first)
        raise OSError("this machine has no four free ports beside each other")

    def url(self, name: str) -> str:
        return f"http://{HOST}:{getattr(self, name)}"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


@dataclasses.dataclass(frozen=True, slots=True)
class Secrets:
    """What the demo's programs prove themselves with toward each other; random for each home, and kept in it."""

    webhook: str = dataclasses.field(repr=False)
    sign_in: str = dataclasses.field(repr=False)
    lrs_key: str
    lrs_secret: str = dataclasses.field(repr=False)

    @classmethod
    def make(cls, *, lrs_key: str, lrs_secret: str) -> Self:
        # Standard Webhooks secrets are base64 (not its URL form) behind their prefix.
        return cls("whsec_" + secrets.token_hex(32), secrets.token_urlsafe(32), lrs_key, lrs_secret)

    def as_environment(self) -> dict[str, str]:
        """The variables that the YAML files refer to."""
        return {
            "DEMO_WEBHOOK_SECRET": self.webhook,
            "DEMO_SIGN_IN_SECRET": self.sign_in,
            "DEMO_LRS_SECRET": self.lrs_secret,
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """A demo that is ready to be started. ``password`` is the admin's, while nobody has replaced it."""

    home: Path
    ports: Ports
    settings: Settings
    lrs_settings: Settings
    secrets: Secrets
    admin: str
    password: str = dataclasses.field(repr=False)


def prepare(home: Path, ports: Ports) -> Prepared:
    """Make ``home`` ready: two bridges, their secrets, the configuration, the catalogues. May be done again."""
    home = home.absolute()
    settings, lrs_settings = _settings(home / "bridge", ports.bridge), _settings(home / "corporate-lrs", ports.lrs)
    kept = _secrets(home / "secrets.json", lrs_settings)
    runtime = Runtime.start(settings)
    try:
        first = setup.prepare(runtime)
        configure.apply(runtime, write_setup(home / "setup", ports, lrs_key=kept.lrs_key), actor="demo")
        for catalogue in ("guides", "quiz"):
            sync_catalogue.sync(runtime, catalogue)
        password = first.password if first else _unused_password(runtime)
    finally:
        runtime.db.close()
    return Prepared(home, ports, settings, lrs_settings, kept, setup.ADMIN_EMAIL, password)


def _settings(home: Path, port: int) -> Settings:
    return Settings.load(**_isolated(home, port))


def _isolated(home: Path, port: int) -> dict[str, Any]:
    """Settings that keep the demo apart from an installation that this shell is set up for."""
    return {
        "home": home,
        "host": HOST,
        "port": port,
        "base_url": "",
        "database_url": "",
        "broker_url": EMBEDDED_BROKER,
        "allow_private_peers": True,
    }


def _secrets(path: Path, lrs_settings: Settings) -> Secrets:
    """The secrets of this home; the first time they are made, and the LRS is told which key the bridge has."""
    if path.exists():
        return Secrets(**json.loads(path.read_text()))
    runtime = Runtime.start(lrs_settings)
    try:
        setup.prepare(runtime)
        key, secret = identity.create_credential(runtime, "flowbridge", ["statements/write", "statements/read"])
    finally:
        runtime.db.close()
    made = Secrets.make(lrs_key=key, lrs_secret=secret)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(dataclasses.asdict(made), file)
    return made


def write_setup(folder: Path, ports: Ports, *, lrs_key: str) -> Path:
    """The YAML files of ``setup/`` with this demo's own addresses; returns the folder, which ``apply`` takes."""
    folder.mkdir(parents=True, exist_ok=True)
    own = {
        "path: bridge/demo/content": f"path: {json.dumps(str(_CONTENT))}",
        "fb_corporate_lrs": lrs_key,
        "127.0.0.1:8001": f"127.0.0.1:{ports.desk}",
        "localhost:8001": f"localhost:{ports.desk}",
        "127.0.0.1:8002": f"127.0.0.1:{ports.tool}",
        "127.0.0.1:8003": f"127.0.0.1:{ports.lrs}",
    }
    for file in _SETUP.glob("*.yaml"):
        text = file.read_text()
        for there, here in own.items():
            text = text.replace(there, here)
        (folder / file.name).write_text(text)
    return folder


def _unused_password(runtime: Runtime) -> str:
    """A new one-time password for the admin as long as nobody has signed in with the first; else empty."""
    with runtime.db.read() as session:
        admin = session.scalar(select(tables.Person).where(tables.Person.email == setup.ADMIN_EMAIL))
    return identity.reset_password(runtime, setup.ADMIN_EMAIL) if admin and admin.password_once else ""


def children(demo: Prepared) -> list[Child]:
    """What runs beside the bridge."""
    ports, python = demo.ports, [sys.executable, "-P", "-m"]
    bridge, home = ports.url("bridge"), str(demo.home)
    lrs = {
        f"FLOWBRIDGE_{name.upper()}": str(value) for name, value in _isolated(demo.lrs_settings.home, ports.lrs).items()
    }
    tool = ["--issuer", bridge, "--port", str(ports.tool), "--key-file", str(demo.home / "tool.pem")]
    return [
        Child("desk", [*python, "bridge.demo.desk", "--port", str(ports.desk), "--bridge", bridge, "--home", home]),
        Child("quiz", [*python, "bridge.demo.tool", *tool]),
        Child("lrs", [*python, "bridge.cli_serve", "web"], lrs),
    ]


def doors(ports: Ports) -> dict[str, str]:
    """By program: an address that answers when it is ready."""
    return {
        "bridge": f"{ports.url('bridge')}/readyz",
        "desk": f"{ports.url('desk')}/sign-in",
        "tool": f"{ports.url('tool')}/jwks",
        "lrs": f"{ports.url('lrs')}/xapi/about",
    }


def wait_for(addresses: Iterable[str], seconds: float) -> list[str]:
    """Wait until every address answers 200; returns those that did not in time."""
    waiting, deadline = list(addresses), time.monotonic() + seconds
    while waiting and time.monotonic() < deadline:
        waiting = [address for address in waiting if not _answers(address)]
        if waiting:
            time.sleep(0.05)
    return waiting


def _answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=2, allow_redirects=False).status_code == 200
    except requests.RequestException:
        return False


def _greet(demo: Prepared) -> None:
    late = wait_for(doors(demo.ports).values(), START_SECONDS)
    typer.echo(greeting(demo) if not late else f"Not ready after {START_SECONDS:.0f} s: {', '.join(late)}")


def greeting(demo: Prepared) -> str:
    """Where to go first, and who to be there."""
    ports = demo.ports
    sign_in = f"{demo.admin}, one-time password {demo.password}" if demo.password else f"{demo.admin}, your password"
    people = "\n".join(
        f"               {person.name:15} {what}"
        for person, what in zip(
            PEOPLE.values(),
            (
                "enter an opportunity above 100,000; above 250,000 move it to Proposal",
                "start a project",
                "enter a complaint, then escalate it",
            ),
            strict=True,
        )
    )
    return f"""
  Desk         {ports.url("desk")}   the business app: begin here, as
{people}
  Console      {ports.url("bridge")}/console/   {sign_in}
  Quiz tool    {ports.url("tool")}   an LTI 1.3 tool, opened by the bridge
  LRS          {ports.url("lrs")}/xapi   the company's own; every statement arrives there

  Ctrl-C stops all of it. What you did stays in {demo.home}.
"""


def start(home: Path, ports: Ports) -> int:
    """Prepare and run the demo until it is stopped; returns the exit code. Raises CannotServe."""
    taken = [port for port in dataclasses.astuple(ports) if not _is_free(port)]
    if taken:
        raise CannotServe(
            f"Another program is listening on {HOST}:{taken[0]} already. Stop it, or choose four other ports:"
            f" flowbridge demo --port {ports.bridge + 100}"
        )
    demo = prepare(home, ports)
    os.environ.update(demo.secrets.as_environment())  # for the children, and for the references in the YAML files
    threading.Thread(target=_greet, args=(demo,), daemon=True).start()
    return serve(demo.settings, children(demo))


def main() -> None:
    """``python -m bridge.demo.run``: what ``demo --once`` starts in a process of its own."""
    parser = argparse.ArgumentParser(prog="demo")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    sys.exit(start(arguments.home, Ports.beginning_with(arguments.port)))


if __name__ == "__main__":
    main()
