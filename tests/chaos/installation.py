"""A whole installation: the bridge with its database and broker, the sink it forwards to, and who states things."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import requests

from bridge.flows import configure, identity, setup
from bridge.flows.runtime import Runtime
from bridge.settings import Settings
from tests.chaos.plan import Size, Way
from tests.chaos.processes import Tree
from tests.chaos.services import PostgreSql, RabbitMq, Redis, Service, running
from tests.journeys.bridge_process import FLOWBRIDGE
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
DESTINATION = """
connections:
  - name: sink
    connector: lrs
    config: {{endpoint: "http://127.0.0.1:{port}/xapi", key: chaos, secret: "env:CHAOS_SINK_SECRET"}}
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Setup:
    """What the bridge runs on, and the commands by which an operator would start it there."""

    commands: tuple[str, ...]
    services: Mapping[str, type[Service]]


SETUPS: Mapping[str, Setup] = {
    "rabbitmq": Setup(
        ("web --workers 2", "worker --beat", "worker --beat"), {"database": PostgreSql, "broker": RabbitMq}
    ),
    "redis": Setup(("serve", "worker"), {"database": PostgreSql, "broker": Redis}),
    "embedded": Setup(("serve",), {}),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Installation:
    """What runs. ``runtime`` looks into the same database; ``services`` are by their kind, database or broker."""

    folder: Path
    runtime: Runtime
    services: Mapping[str, Service]
    bridge: list[Tree]
    producers: list[Tree]
    sink: Tree

    def answers(self) -> bool:
        """The bridge takes requests."""
        try:
            return requests.get(f"{self.runtime.settings.issuer}/readyz", timeout=2).ok
        except requests.RequestException:
            return False

    def trees(self) -> list[Tree]:
        return [*self.producers, *self.bridge, self.sink]


@contextlib.contextmanager
def installation(name: str, size: Size, seed: int, folder: Path) -> Iterator[Installation]:
    """Everything of a set-up, prepared, with the sink running; who holds it starts the rest."""
    wanted = SETUPS[name]
    with contextlib.ExitStack() as stack:
        services = stack.enter_context(running(wanted.services, folder))
        own = {
            "HOME": str(folder / "home"),
            "PORT": str(free_port()),
            "CONFIG": str(folder / "none.toml"),
            **{f"{what.upper()}_URL": service.url for what, service in services.items()},
        }
        if "database" in services:
            services["database"].wait()
        sink_port = free_port()
        runtime, secrets = _prepare(own, sink_port)
        stack.callback(runtime.db.close)
        environment = _environment(own) | secrets
        made = _trees(wanted, size, environment, folder)
        sink = [sys.executable, "-m", "tests.chaos.sink", str(sink_port), str(folder), str(seed), str(size.silences)]
        whole = Installation(folder, runtime, services, *made, Tree("sink", sink, environment, folder))
        for tree in whole.trees():
            stack.callback(tree.kill)
        whole.sink.start()
        yield whole


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FLOWBRIDGE_")}
    ours = {f"FLOWBRIDGE_{name}": value for name, value in own.items()}
    return {**inherited, **ours, "PYTHONPATH": str(ROOT), "CHAOS_SINK_SECRET": "opensesame"}


def _prepare(own: Mapping[str, str], sink_port: int) -> tuple[Runtime, dict[str, str]]:
    """The first start, the destination, and the credential of who states by HTTP."""
    values = {name.lower(): value for name, value in own.items() if name != "CONFIG"}
    runtime = Runtime.start(Settings.load(**values))
    setup.prepare(runtime)
    file = runtime.settings.home / "sink.yaml"
    file.write_text(DESTINATION.format(port=sink_port), encoding="utf-8")
    configure.apply(runtime, file)
    key, secret = identity.create_credential(runtime, "chaos", ["statements/write"], None)
    return runtime, {"CHAOS_KEY": key, "CHAOS_SECRET": secret}


def _trees(wanted: Setup, size: Size, environment: Mapping[str, str], folder: Path) -> tuple[list[Tree], list[Tree]]:
    bridge = [
        Tree(f"{command.split()[0]} {place}", [str(FLOWBRIDGE), *command.split()], environment, folder)
        for place, command in enumerate(wanted.commands, 1)
    ]
    of = size.statements
    numbers = [str(of.count), str(of.poisoned), str(of.seconds)]
    ways: tuple[Way, ...] = ("ledger", "http")
    module = [sys.executable, "-m", "tests.chaos.producer"]
    producers = [Tree(f"producer {way}", [*module, way, str(folder), *numbers], environment, folder) for way in ways]
    return bridge, producers
