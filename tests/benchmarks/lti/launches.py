"""Whole launches of a tool: the person opens their prompt, the tool's authentication request gets its signed message.

The server is ``flowbridge web`` with PostgreSQL, one process on one core. The bound of that core is one RSA signature
and two requests of the bare framework, measured in the same round.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import re
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from bridge.flows import identity, setup
from bridge.flows.runtime import Runtime
from bridge.settings import Settings
from bridge.store import tables
from tests.benchmarks import Figure, Size
from tests.benchmarks.load import FORM, Load, Refused, Wire, drive, request
from tests.benchmarks.machine import backends, cores, cpu_seconds, median, move, on, server
from tests.conftest import database, url_of
from tests.lti.conftest import LINE_ITEM, READ, RESULT, SCORE
from tests.ports import free_port

TARGET = 0.40
TOOL = "https://tool.example"
_HINT = re.compile(rb'name="lti_message_hint" value="([^"]+)"')
_SUBJECT = re.compile(rb'name="login_hint" value="([^"]+)"')
_TOKEN = re.compile(rb'name="id_token" value="([^"]+)"')


@dataclasses.dataclass(frozen=True, slots=True)
class Worker:
    """A signed-in person with a prompt, as the requests of their browser: open, and authorize with hints to fill in."""

    opening: bytes
    authorizing: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """One round on one server."""

    load: Load
    cpu_ms: float


def run(size: Size) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder, database() as name, on(cores()[1]):
        yield _compare(Path(folder), name, size)


def _compare(folder: Path, name: str, size: Size) -> Figure:
    env = {
        "FLOWBRIDGE_HOME": str(folder / "home"),
        "FLOWBRIDGE_DATABASE_URL": url_of(name),
        "FLOWBRIDGE_PORT": str(free_port()),
    }
    ours, bare = f"127.0.0.1:{env['FLOWBRIDGE_PORT']}", f"127.0.0.1:{free_port()}"
    people = _furnish(env, ours, size.people)
    with contextlib.ExitStack() as stack:
        run = stack.enter_context
        process = run(server("bridge.cli_serve", "web", ready=f"http://{ours}/readyz", env=env, folder=folder))
        work = _Launches(people)
        drive(ours, work, connections=size.connections, seconds=size.seconds / 2)  # what is first does not count
        move(backends(name), cores()[1])
        sizes = map(str, work.sizes)
        arguments = (bare.partition(":")[2], *sizes)
        framework = run(
            server("tests.benchmarks.lti.bare", *arguments, ready=f"http://{bare}/lti/authorize", env={}, folder=folder)
        )
        rounds = [
            (
                _signing(work.token, size),
                _measured(framework, bare, work.bare, size),
                _measured(process, ours, work, size),
            )
            for _ in range(size.rounds)
        ]
    return _figure(rounds, len(work.token))


def _figure(rounds: list[tuple[float, Measured, Measured]], token: int) -> Figure:
    bounds = [1 / (sign + 1 / bare.load.per_second) for sign, bare, _ in rounds]
    cpu = [(sign * 1000 + bare.cpu_ms) / ours.cpu_ms for sign, bare, ours in rounds]
    ours = [measured for _, _, measured in rounds]
    beside = {
        "bound": median(bounds),
        "rsa_2048_signatures": median([1 / sign for sign, _, _ in rounds]),
        "bare_framework_pairs_of_requests": median([bare.load.per_second for _, bare, _ in rounds]),
        "p50_ms": median([measured.load.p50_ms for measured in ours]),
        "p99_ms": median([measured.load.p99_ms for measured in ours]),
        "server_cpu_ms": median([measured.cpu_ms for measured in ours]),
        "ratio_by_cpu": median(cpu),
        "load_generator_cpu": median([measured.load.own_cpu for measured in ours]),
        "id_token_bytes": token,
    }
    ratio = median([measured.load.per_second / bound for measured, bound in zip(ours, bounds, strict=True)])
    return Figure(
        "lti.launch",
        round(median([measured.load.per_second for measured in ours]), 1),
        "launches/s/core",
        {name: round(value, 3) for name, value in beside.items()},
        round(ratio, 3),
        TARGET,
    )


def _measured(process: int, host: str, work: Any, size: Size) -> Measured:
    before = cpu_seconds(process)
    load = drive(host, work, connections=size.connections, seconds=size.seconds)
    return Measured(load, (cpu_seconds(process) - before) / load.units * 1000)


def _signing(token: str, size: Size) -> float:
    """Seconds for one RS256 signature of such a token, by a loaded key, on the core that is measured."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    claims = jwt.decode(token, options={"verify_signature": False})
    with on(cores()[0]):
        taken = []
        until = time.perf_counter() + size.seconds / 3
        while (at := time.perf_counter()) < until:
            jwt.encode(claims, key, algorithm="RS256", headers={"kid": "bound"})
            taken.append(time.perf_counter() - at)
    return sum(taken) / len(taken)


class _Launches:
    """The work of one launch, over the people in turn."""

    def __init__(self, people: list[Worker]) -> None:
        self._people, self._next = people, 0
        self.sizes, self.token = (0, 0), ""

    async def __call__(self, wire: Wire, _number: int) -> None:
        self._next = (self._next + 1) % len(self._people)
        worker = self._people[self._next]
        opened = await wire.ask(worker.opening)
        hint, subject = _HINT.search(opened), _SUBJECT.search(opened)
        if hint is None or subject is None:
            raise Refused(opened.decode(errors="replace"))
        answer = await wire.ask(worker.authorizing.replace(b"HINT", hint[1]).replace(b"SUBJECT", subject[1]))
        token = _TOKEN.search(answer)
        if token is None:
            raise Refused(answer.decode(errors="replace"))
        if not self.token:
            self.sizes = _body(opened), _body(answer)
            self.token = token[1].decode()

    async def bare(self, wire: Wire, number: int) -> None:
        """The same requests, whatever the answers."""
        worker = self._people[number % len(self._people)]
        await wire.ask(worker.opening)
        await wire.ask(worker.authorizing)


def _body(answer: bytes) -> int:
    return len(answer.partition(b"\r\n\r\n")[2])


def _furnish(env: dict[str, str], host: str, people: int) -> list[Worker]:
    """An installation at work: a tool, a business system, an LRS, and people with a session and a prompt each."""
    settings = {name.removeprefix("FLOWBRIDGE_").lower(): value for name, value in env.items()}
    runtime = Runtime.start(Settings.load(**settings))
    try:
        setup.prepare(runtime)
        with runtime.db.write() as session:
            rows = [_person(number) for number in range(people)]
            desk, asset, rule = _content()
            session.add_all([desk, asset, rule, _sink(), *rows])
            session.flush()
            prompts = [_prompt(desk, rule, asset, row) for row in rows]
            session.add_all(prompts)
        return [_requests(runtime, host, row.id, prompt.id) for row, prompt in zip(rows, prompts, strict=True)]
    finally:
        runtime.db.close()


def _content() -> tuple[tables.Connection, tables.Asset, tables.Rule]:
    config = {
        "client_id": "benchmark",
        "initiate_login_uri": f"{TOOL}/login",
        "redirect_uris": [f"{TOOL}/launch"],
        "target_link_uri": f"{TOOL}/launch",
        "jwks_uri": f"{TOOL}/jwks",
        "scopes": [LINE_ITEM, READ, RESULT, SCORE],
        "custom": {"customer": "$FlowBridge.event.data.customer", "deal": "$FlowBridge.event.subject"},
        "send_name": True,
        "send_email": True,
    }
    tool = tables.Connection(name="academy", connector="lti_tool", config=config)
    asset = tables.Asset(
        id=uuid.uuid4(),
        connection=tool,
        external_id="quiz",
        kind="quiz",
        title="Negotiating a renewal",
        summary="Five questions before you call the customer",
        language="en",
        tags=["sales"],
        activity_id="",
        opening={"how": "lti"},
        fingerprint="0",
    )
    desk = tables.Connection(name="desk", connector="webhook", config={})
    return desk, asset, tables.Rule(name="renewals", event_type="desk.opportunity.created", definition={})


def _sink() -> tables.Connection:
    return tables.Connection(
        name="lrs", connector="lrs", config={"endpoint": "http://127.0.0.1:9/xapi", "key": "benchmark"}
    )


def _person(number: int) -> tables.Person:
    return tables.Person(
        key=f"E{number:04}",
        name=f"Sam Seller {number}",
        email=f"sam{number}@example.com",
        attributes={"given_name": "Sam", "family_name": f"Seller {number}"},
    )


def _prompt(desk: tables.Connection, rule: tables.Rule, asset: tables.Asset, person: tables.Person) -> tables.Prompt:
    event = tables.Event(
        id=uuid.uuid4(),
        connection=desk,
        external_id=uuid.uuid4().hex,
        type="desk.opportunity.created",
        source="https://desk.example",
        subject=f"opportunity,{person.id}",
        time=dt.datetime(2026, 11, 22, 8, 0, tzinfo=dt.UTC),
        data={"customer": "Umbrella Retail", "amount": 120000, "stage": "renewal"},
        people={"owner": person.key},
        due_at=None,
    )
    return tables.Prompt(
        id=uuid.uuid4(),
        event=event,
        rule=rule,
        rule_version=1,
        person_id=person.id,
        asset=asset,
        offered=True,
        reason="offered",
        say="Two minutes before you call Umbrella Retail",
    )


def _requests(runtime: Runtime, host: str, person_id: int, prompt_id: uuid.UUID) -> Worker:
    token, signed_in = identity.open_session(runtime, person_id, via="password")
    cookie = f"Cookie: flowbridge_session={token}\r\n"
    query = "&".join(
        f"{name}={quote(value, safe='')}"
        for name, value in {
            "scope": "openid",
            "response_type": "id_token",
            "response_mode": "form_post",
            "prompt": "none",
            "client_id": "benchmark",
            "redirect_uri": f"{TOOL}/launch",
            "login_hint": "SUBJECT",
            "lti_message_hint": "HINT",
            "state": "state-0123456789abcdef0123456789abcdef",
            "nonce": "nonce-0123456789abcdef0123456789abcdef",
        }.items()
    )
    opening = request("POST", f"/prompts/{prompt_id}/open", host, headers=cookie + FORM, body=f"csrf={signed_in.csrf}")
    return Worker(opening, request("GET", f"/lti/authorize?{query}", host, headers=cookie))
