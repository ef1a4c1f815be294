"""The system under test's other half, played from recorded replies; nothing reaches the network."""

from __future__ import annotations

import contextlib
import dataclasses
import html
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlsplit

import requests
import responses

SIGN_IN_PAGE = "<!doctype html><html><title>Sign in</title><form>Sign in to go on</form></html>"


@dataclasses.dataclass(frozen=True)
class Answer:
    """A recorded reply, and the request that it answers.

    ``path`` is how the URL's path ends ("" for any), ``sends`` what the query, form or JSON body must hold besides
    whatever else (nested objects likewise; numbers and their text are equal). The first answer that fits is given.
    """

    method: str = "GET"
    path: str = ""
    sends: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    status: int = 200
    json: Any = None
    text: str | bytes = ""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def fits(self, request: requests.PreparedRequest) -> bool:
        path = urlsplit(request.url or "").path
        return request.method == self.method and path.endswith(self.path) and holds(sent(request), self.sends)


#: A system that has to think: makes the answer from the request, or None when the request is not for it.
Fake = Callable[[requests.PreparedRequest], Answer | None]
Answers = Sequence[Answer | Fake]


def everything(
    status: int, *, json: Any = None, text: str = "", headers: Mapping[str, str] | None = None
) -> tuple[Fake]:
    """Answers that give the same reply to every request."""
    return (lambda request: Answer(status=status, json=json, text=text, headers=headers or {}),)


def unreachable(error: Exception) -> tuple[Fake]:
    """Answers that never come: every request ends in ``error``."""

    def nothing(request: requests.PreparedRequest) -> Answer:
        raise error

    return (nothing,)


def sent(request: requests.PreparedRequest) -> dict[str, Any]:
    """What a request says: its query, and its form or JSON object, in one mapping (a JSON array under "")."""
    body = request.body or b""
    raw = body.encode() if isinstance(body, str) else bytes(body) if isinstance(body, bytes | bytearray) else b""
    said: dict[str, Any] = dict(parse_qsl(urlsplit(request.url or "").query, keep_blank_values=True))
    if "form-urlencoded" in (request.headers.get("Content-Type") or ""):
        return {**said, **dict(parse_qsl(raw.decode(), keep_blank_values=True))}
    with contextlib.suppress(ValueError):
        parsed = json.loads(raw)
        said |= parsed if isinstance(parsed, dict) else {"": parsed}
    return said


def holds(given: Any, wanted: Any) -> bool:
    """Does ``given`` hold ``wanted``: of mappings every wanted key, of the rest the same value, or the same text?"""
    if isinstance(wanted, Mapping):
        return isinstance(given, Mapping) and all(key in given and holds(given[key], wanted[key]) for key in wanted)
    return bool(given == wanted) or (not isinstance(given, dict | list) and str(given) == str(wanted))


def texts(value: Any) -> Iterator[str]:
    """Every leaf of a JSON value as text."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    else:
        yield str(value)


def said_on_the_wire(request: requests.PreparedRequest) -> str:
    """Every text of a request as its reader would see it: address, form and JSON values, markup unescaped."""
    body = request.body or b""
    raw = body if isinstance(body, str) else bytes(body).decode(errors="replace")
    return html.unescape("\n".join([unquote_plus(request.url or ""), *texts(sent(request)), raw]))


def _answer_to(request: requests.PreparedRequest, answers: Answers) -> Answer:
    for answer in answers:
        if isinstance(answer, Answer) and answer.fits(request):
            return answer
        if not isinstance(answer, Answer) and (made := answer(request)) is not None:
            return made
    raise AssertionError(f"no recorded answer fits {request.method} {request.url} with {sent(request)}")


@contextlib.contextmanager
def system_played_by(answers: Answers) -> Iterator[list[requests.PreparedRequest]]:
    """Play the system: gives the list of the calls as they come in. Nothing reaches the network."""
    calls: list[requests.PreparedRequest] = []

    def reply(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str | bytes]:
        timeout = getattr(request, "req_kwargs", {}).get("timeout")
        assert timeout, f"{request.method} {request.url} was sent without a timeout"
        calls.append(request)
        answer = _answer_to(request, answers)
        if answer.json is None:
            return answer.status, dict(answer.headers), answer.text
        return answer.status, {"Content-Type": "application/json", **answer.headers}, json.dumps(answer.json)

    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        for method in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"):
            mock.add_callback(method, re.compile(".*"), callback=reply, content_type=None)
        yield calls
