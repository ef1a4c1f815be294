"""Events by webhook."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bridge.connect import InboundRequest, SignatureInvalid, UnexpectedPayload
from bridge.connect.testing.connector import ConnectorContract
from bridge.connect.testing.golden import assert_declared, assert_sound, plain


class TriggerContract(ConnectorContract):
    """Events by webhook. Give besides:

    - ``fixtures``: a folder of recorded requests, one JSON file each: ``headers`` (lower-case names), ``body`` (text)
      or ``body_base64``, ``query`` and ``method`` where they matter, ``now`` (unix seconds at which it was received,
      where the scheme has a timestamp), and ``expect``, the golden events.
    - ``replay_window``: seconds beyond which a signature is too old; None where the scheme signs no time.
    - ``body_is_signed``: False where the sender only shows a token.
    """

    capability: ClassVar[str] = "trigger"
    fixtures: ClassVar[Path]
    replay_window: ClassVar[float | None] = 300
    body_is_signed: ClassVar[bool] = True

    def recorded(self, monkeypatch: pytest.MonkeyPatch, *, later: float = 0) -> Iterator[tuple[InboundRequest, Any]]:
        """The recorded requests, each with the clock set to ``later`` seconds after it came."""
        files = sorted(self.fixtures.glob("*.json"))
        assert files, f"there is no recorded request in {self.fixtures}"
        for file in files:
            case = json.loads(file.read_text(encoding="utf-8"))
            body = case["body"].encode() if "body" in case else base64.b64decode(case["body_base64"])
            now = case.get("now", time.time()) + later
            with monkeypatch.context() as clock:
                clock.setattr(time, "time", lambda now=now: now)
                query, method = case.get("query", {}), case.get("method", "POST")
                yield InboundRequest(headers=case["headers"], body=body, query=query, method=method), case["expect"]

    def refused(self, request: InboundRequest, why: str) -> None:
        try:
            self.connector().verify(request)
        except SignatureInvalid as error:
            assert str(error)
            return
        pytest.fail(f"a request was accepted {why}")

    def test_recorded_requests_become_the_recorded_events(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for request, expected in self.recorded(monkeypatch):
            connector = self.connector()
            connector.verify(request)
            events = connector.parse(request)
            assert [plain(event) for event in events] == expected
            assert_sound(events)

    def test_a_repeated_request_makes_the_same_events(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for request, _ in self.recorded(monkeypatch):
            assert self.connector().parse(request) == self.connector().parse(request)

    def test_each_declared_event_type_has_a_fixture(self, monkeypatch: pytest.MonkeyPatch) -> None:
        types = {event.type for request, _ in self.recorded(monkeypatch) for event in self.connector().parse(request)}
        assert_declared(types, self.connector_class)

    def test_a_changed_byte_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for request, _ in self.recorded(monkeypatch):
            if not self.body_is_signed:
                self.connector().verify(dataclasses.replace(request, body=request.body + b" "))
                continue
            for at in {0, len(request.body) // 2, len(request.body) - 1}:
                flipped = bytes(byte ^ (at == place) for place, byte in enumerate(request.body))
                self.refused(dataclasses.replace(request, body=flipped), f"with byte {at} of its body changed")
            self.refused(dataclasses.replace(request, body=request.body + b" "), "with a byte added")

    def test_a_request_without_a_signature_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for request, _ in self.recorded(monkeypatch):
            self.refused(dataclasses.replace(request, headers={}, query={}), "without any header")
            empty = dict.fromkeys(request.headers, "")
            self.refused(dataclasses.replace(request, headers=empty, query={}), "with empty headers")
            strange = dict.fromkeys(request.headers, "v1,é=")
            self.refused(dataclasses.replace(request, headers=strange, query={}), "with strange headers")

    def test_a_stale_request_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for sign in (1, -1):
            for request, _ in self.recorded(monkeypatch, later=sign * ((self.replay_window or 300) + 60)):
                if self.replay_window is None:
                    self.connector().verify(request)
                else:
                    self.refused(request, f"{sign * (self.replay_window + 60)} seconds after it was signed")

    @pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"null", b"[]", b"[1]", b"{}", b'"text"', b"7"])
    def test_a_body_that_is_no_event_is_told_apart(self, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
        for request, _ in self.recorded(monkeypatch):
            with contextlib.suppress(UnexpectedPayload):
                assert self.connector().parse(dataclasses.replace(request, body=body)) == []
