"""A strict LRS that misbehaves: ``python -m tests.chaos.sink PORT FOLDER SEED SILENCES``, a process of its own.

It takes a batch whole or not at all, keeps what it took under its id for ever, and never forgives a known id that comes
with other bytes. What it did is in ``FOLDER/taken.jsonl`` before it is answered: one JSON object a line.
"""

from __future__ import annotations

import collections
import datetime as dt
import email.utils
import hashlib
import json
import os
import random
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from tests.chaos.plan import POISON

#: The share of requests that are answered so, and not as they should be.
UNAVAILABLE, SILENT, TOO_MANY = 0.10, 0.02, 0.02
LOG = "taken.jsonl"
#: Longer than any client waits for an answer, in seconds.
SILENCE = 45.0
_DECODER = json.JSONDecoder()
_GAP = re.compile(r"[\s,]*")


class Answer(NamedTuple):
    """What is said, and what goes into the log."""

    status: int
    body: str
    log: Sequence[Mapping[str, str]] = ()
    headers: Mapping[str, str] = MappingProxyType({})


def words(statement_id: str) -> str:
    """What the sink says of a statement that it refuses."""
    return f"the answer in statement {statement_id} is not one of the choices"


def digest(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()


class Lrs:
    """The store, and the moods."""

    def __init__(self, log: Path, seed: int, silences: int) -> None:
        self.stored: dict[str, str] = {}
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._random = random.Random(seed)
        self._silences = silences
        self._lock = threading.Lock()

    def post(self, body: bytes) -> tuple[Answer, float | None]:
        """The answer, and for how many seconds to be silent instead of giving it."""
        with self._lock:
            mood = self._random.random()
            if mood < UNAVAILABLE:
                answer = Answer(503, "down for a moment", [{"answered": "503"}])
            elif mood < UNAVAILABLE + TOO_MANY:
                answer = self._too_many()
            else:
                answer = self._take(body)
            silence = self._silence() if 1 - mood < SILENT else None
            told = () if silence is None else ({"answered": "nothing" if silence else "cut"},)
            os.write(self._log, b"".join(json.dumps(line).encode() + b"\n" for line in (*answer.log, *told)))
        return answer, silence

    def _silence(self) -> float:
        self._silences -= 1
        return SILENCE if self._silences >= 0 else 0.0

    def _too_many(self) -> Answer:
        """Both forms of Retry-After (RFC 9110 section 10.2.3)."""
        if self._random.random() < 0.5:
            return Answer(429, "slowly", [{"answered": "429 seconds"}], {"Retry-After": "1"})
        at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2)
        date = email.utils.format_datetime(at, usegmt=True)
        return Answer(429, "slowly", [{"answered": "429 date"}], {"Retry-After": date})

    def _take(self, body: bytes) -> Answer:
        try:
            statements = _parts(body.decode())
        except ValueError as error:
            return Answer(400, f"not a list of statements: {error}", [{"broken": str(error)}])
        ids = [statement["id"] for statement, _ in statements]
        if twice := [known for known, times in collections.Counter(ids).items() if times > 1]:
            return Answer(400, f"{twice[0]} is in the batch twice", [{"broken": f"{twice[0]} twice in a batch"}])
        for statement, _ in statements:
            if statement["result"]["response"] == POISON:
                alone = [{"refused": statement["id"]}] if len(ids) == 1 else [{"answered": "400 batch"}]
                return Answer(400, words(statement["id"]), alone)
        return self._store({statement["id"]: text for statement, text in statements})

    def _store(self, texts: dict[str, str]) -> Answer:
        other = [known for known, text in texts.items() if self.stored.get(known, text) != text]
        if other:
            log = [{"conflict": known, "sha256": digest(texts[known].encode())} for known in other]
            return Answer(409, f"{other[0]} is known here for another statement", log)
        log = [
            {"again": known} if known in self.stored else {"stored": known, "sha256": digest(text.encode())}
            for known, text in texts.items()
        ]
        self.stored.update(texts)
        return Answer(200, json.dumps(list(texts)), log)


def _parts(text: str) -> list[tuple[Any, str]]:
    """The statements of a batch, each with its own characters."""
    if not isinstance(json.loads(text), list):
        raise ValueError("it is no list")
    parts, end = [], text.index("[") + 1
    while text[begin := _end_of_gap(text, end)] != "]":
        statement, end = _DECODER.raw_decode(text, begin)
        parts.append((statement, text[begin:end]))
    return parts


def _end_of_gap(text: str, at: int) -> int:
    gap = _GAP.match(text, at)
    return gap.end() if gap else at


def handler(lrs: Lrs) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            announced = int(self.headers["Content-Length"])
            body = self.rfile.read(announced)
            if len(body) < announced:  # its sender was killed: no server hands on half a request
                self.close_connection = True
                return
            if not self.headers.get("X-Experience-API-Version") or not self.headers.get("Authorization"):
                self._say(Answer(400, "name the version and yourself"))
                return
            answer, silence = lrs.post(body)
            if silence is None:
                self._say(answer)
            else:
                threading.Event().wait(silence)
                self.close_connection = True

        def do_GET(self) -> None:
            asked = parse_qs(urlsplit(self.path).query).get("statementId", [""])
            found = lrs.stored.get(asked[0])
            self._say(Answer(200, found) if found else Answer(404, "there is no such statement"))

        def _say(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(answer.body.encode()))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body.encode())

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    return Handler


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error of the sink's."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def main(arguments: list[str]) -> None:
    port, folder, seed, silences = arguments
    lrs = Lrs(Path(folder) / LOG, int(seed), int(silences))
    Server(("127.0.0.1", int(port)), handler(lrs)).serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
