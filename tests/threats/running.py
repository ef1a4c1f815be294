"""The running app and those around it: key sets and other peers over HTTP, browsers, logs, and what came of it all."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import html
import http.cookiejar
import http.server
import io
import json
import logging
import re
import secrets
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import structlog
import uvicorn
from requests.adapters import HTTPAdapter
from sqlalchemy import func, select

from bridge import observe
from bridge.connect import Egress, Http
from bridge.flows import setup
from bridge.flows.runtime import Runtime
from bridge.lti import keysets
from bridge.settings import Settings
from bridge.store import now, tables
from bridge.web.app import create_app
from tests.ports import free_port

#: What a refusal must not leave behind.
EFFECTS = (
    tables.SignInSession,
    tables.Person,
    tables.Event,
    tables.Launch,
    tables.Outcome,
    tables.Score,
    tables.LineItem,
    tables.Asset,
    tables.AccessToken,
    tables.ContextMember,
    tables.Connection,
    tables.LmsLink,
    tables.LmsMember,
)


@contextlib.contextmanager
def serving(app: Any, port: int) -> Iterator[None]:
    """The app, served as ``flowbridge web`` does it, by a thread of this process."""
    config = uvicorn.Config(app, port=port, log_config=None, log_level="warning", access_log=False, ws="none")
    config.timeout_keep_alive = 600
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


Reply = Callable[[http.server.BaseHTTPRequestHandler], None]


class Peers:
    """One HTTP server for all that peers publish: each path answers as it is told to."""

    def __init__(self) -> None:
        self._replies: dict[str, Reply] = {}
        self.asked: Counter[str] = Counter()
        self.received: dict[str, list[tuple[Mapping[str, str], bytes]]] = {}
        peers = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                length = int(self.headers.get("content-length") or 0)
                sent = ({name.lower(): value for name, value in self.headers.items()}, self.rfile.read(length))
                peers.asked[path] += 1
                peers.received.setdefault(path, []).append(sent)
                with contextlib.suppress(OSError):  # whoever asked may have gone
                    peers._replies.get(path, answer(b"", status=404))(self)

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def publish(self, path: str, reply: Reply) -> str:
        self._replies[path] = reply
        return self.url + path

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def answer(content: Any, *, status: int = 200, kind: str = "application/json", **headers: str) -> Reply:
    """A plain answer; what is no bytes is sent as JSON."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()

    def reply(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return reply


def dripping(content: bytes, seconds: float = 1.0) -> Reply:
    """An answer of one byte at a time."""

    def reply(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        for byte in content:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(seconds)

    return reply


def after(seconds: float, then: Reply) -> Reply:
    """An answer that comes late."""

    def reply(handler: http.server.BaseHTTPRequestHandler) -> None:
        time.sleep(seconds)
        then(handler)

    return reply


class World:
    """The app over HTTP with a database of its own; cases share it, and each makes its own rows in it."""

    def __init__(self, home: Path) -> None:
        self.home, self.port = home, free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self.runtime = Runtime.start(self.settings())
        self.runtime.http = self.impatient(seconds=10)
        setup.prepare(self.runtime)
        self.peers, self.later = Peers(), 0.0
        self.log = io.StringIO()
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        self.http.mount("http://", HTTPAdapter(pool_maxsize=50))
        with self.runtime.db.write() as session:
            for name in ("desk", "crm"):
                session.add(tables.Connection(name=name, connector="webhook", config={}))
            session.add(tables.Rule(name="quiz", event_type="desk.opportunity.created", definition={}))

    def reset(self) -> None:
        """As it was before a case changed it."""
        self.runtime.settings, self.later = self.settings(), 0.0
        self.runtime.http = self.impatient(seconds=10)

    def settings(self, **changes: Any) -> Settings:
        """Nothing of the environment counts: an attack stays in here."""
        fields = {name: field.default for name, field in Settings.model_fields.items()}
        return Settings.load(**fields | {"home": self.home, "base_url": self.issuer} | changes)

    def impatient(self, *, seconds: float) -> Http:
        """A way out that waits for no one longer than that, and asks once."""
        return Http(egress=Egress(allow_private=True), timeout=(seconds, seconds), total=seconds, attempts=1)

    def count(self) -> Counter[str]:
        """How many rows there are of everything that is an effect."""
        with self.runtime.db.read() as session:
            return Counter(
                {table.__tablename__: session.scalar(select(func.count()).select_from(table)) or 0 for table in EFFECTS}
            )


@contextlib.contextmanager
def world() -> Iterator[World]:
    """A world for some cases; logging and the key sets' clock are put back afterwards."""
    root, known = logging.getLogger(), keysets._KEY_SETS
    held, level, structured = root.handlers[:], root.level, structlog.get_config()
    with tempfile.TemporaryDirectory() as folder:
        made = World(Path(folder))
        keysets._KEY_SETS = keysets.KeySets(lambda: time.monotonic() + made.later)
        root.handlers[:] = []  # or they would be closed
        with contextlib.redirect_stderr(made.log):
            observe.configure(level="DEBUG", form="json")
        ours = root.handlers[:]
        root.handlers[:] = held + ours
        try:
            with serving(create_app(made.runtime), made.port):
                yield made
        finally:
            made.peers.close()
            made.http.close()
            made.runtime.db.close()
            keysets._KEY_SETS = known
            for handler in ours:
                root.removeHandler(handler)
            root.setLevel(level)
            structlog.configure(**structured)


@dataclasses.dataclass(frozen=True, slots=True)
class Came:
    """What came of an attempt: accepted or refused, with the refusal's code, and what was wrong about either."""

    accepted: bool
    code: str = ""
    problems: tuple[str, ...] = ()

    def but(self, *problems: str) -> Came:
        return dataclasses.replace(self, problems=self.problems + tuple(filter(None, problems)))

    def __str__(self) -> str:
        word = "accepted" if self.accepted else f"refused ({self.code})" if self.code else "refused"
        return "; ".join((word, *self.problems))


class Stage:
    """What one attempt works with: names of its own, the peers' server, and a memory of what must not be logged."""

    def __init__(self, world: World) -> None:
        self.world, self.runtime, self.issuer = world, world.runtime, world.issuer
        self.tag = secrets.token_hex(4)
        self.secrets: set[str] = set()
        self.statuses: list[int] = []
        self._before: Counter[str] | None = None
        self._log_from = world.log.tell()

    def secret(self, value: str) -> str:
        """Remember what no log may hold: a token is known by its claims and by its signature, too."""
        self.secrets.update(piece for piece in (value, *value.split(".")[1:]) if len(piece) >= 16)
        return value

    def add(self, row: Any) -> Any:
        with self.runtime.db.write() as session:
            session.add(row)
        return row

    def rows(self, table: Any, **equal: Any) -> list[Any]:
        with self.runtime.db.read() as session:
            return list(session.scalars(select(table).filter_by(**equal)))

    def count(self, table: Any) -> int:
        with self.runtime.db.read() as session:
            return session.scalar(select(func.count()).select_from(table)) or 0

    def mark(self) -> None:
        """From here on nothing may happen, if this is refused."""
        self._before = self.world.count()

    def unmark(self) -> None:
        """What happens is judged by the attempt itself."""
        self._before = None

    def grown(self) -> dict[str, int]:
        """What there is more, or less, of since the mark."""
        assert self._before is not None
        after = self.world.count()
        return {name: after[name] - self._before[name] for name in after if after[name] != self._before[name]}

    def judged(self, came: Came) -> Came:
        """The outcome, with what must never be: a fault of ours, a refusal with an effect, a secret in the logs."""
        problems = [f"answered {status}" for status in sorted(set(self.statuses)) if status >= 500]
        if not came.accepted:
            if not came.code or came.code == "internal":
                problems.append("no stable code says why")
            if self._before is not None and (grown := self.grown()):
                problems.append(f"refused, and yet there is more: {grown}")
        self.world.log.seek(self._log_from)
        logged = self.world.log.read()
        if any(secret in logged for secret in self.secrets):
            problems.append("the logs hold a token or a part of one")
        return came.but(*problems)


@dataclasses.dataclass
class Browser:
    """A browser without scripts: it keeps cookies, and stays where it was sent."""

    stage: Stage
    cookies: dict[str, str] = dataclasses.field(default_factory=dict)
    blocks_cookies: bool = False

    def get(self, url: str, **options: Any) -> requests.Response:
        return self.send("GET", url, **options)

    def post(self, url: str, fields: Any = None, **options: Any) -> requests.Response:
        return self.send("POST", url, data=fields, **options)

    def send(self, method: str, url: str, **options: Any) -> requests.Response:
        headers = {"Accept": "text/html", **options.pop("headers", {})}
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        response = call(self.stage, method, url, headers=headers, **options)
        for line in response.raw.headers.getlist("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            if not self.blocks_cookies:
                self.cookies[name.strip()] = value.strip()
        return response

    def follow(self, response: requests.Response) -> requests.Response:
        """Where a redirect leads, as long as it stays here."""
        for _ in range(5):
            if not response.is_redirect or not own(self.stage, response.headers["location"]):
                break
            response = self.get(response.headers["location"])
        return response


def age(row: Any, by: int | None) -> None:
    """Let a row be older by so many seconds, or past its lifetime."""
    row.expires_at = row.expires_at - dt.timedelta(seconds=by) if by is not None else now() - dt.timedelta(seconds=1)


def own(stage: Stage, url: str) -> bool:
    return not urlsplit(url).netloc or url.startswith(stage.issuer + "/")


def call(stage: Stage, method: str, url: str, **options: Any) -> requests.Response:
    """One request to the app, redirects not followed."""
    target = url if urlsplit(url).netloc else stage.issuer + url
    response = stage.world.http.request(method, target, allow_redirects=False, timeout=60, **options)
    stage.statuses.append(response.status_code)
    return response


def at_once(number: int, action: Callable[[int], Any]) -> list[Any]:
    """The same by so many threads at the same moment."""
    gate = threading.Barrier(number)

    def run(index: int) -> Any:
        gate.wait(timeout=30)
        return action(index)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))


_FORM = re.compile(r"<form\b[^>]*\baction=\"([^\"]*)\"[^>]*>(.*?)</form>", re.S)
_FIELD = re.compile(r"<input\b[^>]*\bname=\"([^\"]*)\"[^>]*\bvalue=\"([^\"]*)\"")


def form_of(response: requests.Response) -> tuple[str, dict[str, str]]:
    """Where the first form of a page goes, and its fields; "" without one."""
    found = _FORM.search(response.text)
    if found is None:
        return "", {}
    fields = {html.unescape(name): html.unescape(value) for name, value in _FIELD.findall(found[2])}
    return html.unescape(found[1]), fields


def code_of(response: requests.Response) -> str:
    """The stable code of a refusal, from a page or from JSON; "" without one."""
    if "html" in response.headers.get("content-type", ""):
        shown = re.search(r'class="tag warn">([^<]+)<', response.text)
        return shown[1].strip().replace(" ", "_") if shown else ""
    try:
        error = response.json()["error"]
        if isinstance(error, dict):
            return str(error["code"])
        return in_brackets(response.json().get("error_description", "")) or str(error)
    except (ValueError, KeyError, TypeError):
        return ""


def in_brackets(description: str) -> str:
    """The code at the end of an error's description."""
    found = re.search(r"\(([a-z0-9_]+)\)$", description)
    return found[1] if found else ""


def refused(response: requests.Response) -> Came:
    """A plain refusal: a status of 4xx that says why."""
    wrong = "" if 400 <= response.status_code < 500 else f"answered {response.status_code} where 4xx was due"
    return Came(accepted=False, code=code_of(response)).but(wrong)


def came_of(response: requests.Response) -> Came:
    """Accepted when it was answered with success, else refused."""
    return Came(accepted=True) if response.status_code < 400 else refused(response)


def one_wins(answers: list[Came]) -> Came:
    """The verdict over many at once: one is accepted, and that all others are refused is the refusal."""
    won = sum(one.accepted for one in answers)
    codes = {one.code for one in answers if not one.accepted}
    problems = {problem for one in answers for problem in one.problems}
    wrong = "" if won == 1 else f"{won} of {len(answers)} won"
    return Came(accepted=False, code=next(iter(sorted(codes)), "")).but(wrong, *sorted(problems))


def together(came: Sequence[Came]) -> Came:
    """The verdict over several ways to the same end: accepted when one is, and all that is wrong with any."""
    verdict = next((one for one in came if one.accepted), came[0])
    problems = dict.fromkeys(problem for one in came for problem in one.problems)
    return dataclasses.replace(verdict, problems=tuple(problems))
