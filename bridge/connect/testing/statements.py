"""An LRS that statements are sent to."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import requests

from bridge.connect import ConfigError, Rejected, Retryable
from bridge.connect.testing.connector import ConnectorContract
from bridge.connect.testing.played import SIGN_IN_PAGE, Answer, everything, system_played_by


class StatementSinkContract(ConnectorContract):
    """An LRS. Needs no data of its own: the suite plays the LRS, ``answers`` serve ``check``."""

    capability: ClassVar[str] = "statements"
    STATEMENTS: ClassVar[tuple[bytes, ...]] = tuple(
        f'{{"id": "{number}b9f7f6e-3a52-5d0e-9a39-6f0f6a3c1d1{number}", "actor": {{"account": {{"homePage":'
        f' "https://hr.example", "name": "E{number}"}}}}, "verb": {{"id": "http://adlnet.gov/expapi/verbs/completed"}},'
        ' "object": {"id": "https://lms.example/a"}, "result": {"duration": "PT1M30S", "score": {"scaled": 0.50}},'
        ' "timestamp": "2026-03-04T05:06:07.000Z"}'.encode()
        for number in (1, 2, 3)
    )

    def actions(self) -> dict[str, Callable[[Any], object]]:
        return {**super().actions(), "statements": lambda connector: connector.send(list(self.STATEMENTS))}

    def ids(self) -> list[str]:
        return [json.loads(statement)["id"] for statement in self.STATEMENTS]

    def test_the_exact_bytes_are_sent(self) -> None:
        with system_played_by(everything(200, json=self.ids())) as calls:
            self.connector().send(list(self.STATEMENTS))
        bodies = [call.body if isinstance(call.body, bytes) else str(call.body or "").encode() for call in calls]
        assert all(any(statement in body for body in bodies) for statement in self.STATEMENTS)
        assert json.loads(bodies[-1]) == [json.loads(statement) for statement in self.STATEMENTS]

    @pytest.mark.parametrize("version", ["1.0.3", "2.0.0"])
    def test_the_version_header_is_sent(self, version: str) -> None:
        with system_played_by(everything(200, json=self.ids(), headers={"X-Experience-API-Version": version})) as calls:
            self.connector().send(list(self.STATEMENTS))
        assert all(call.headers.get("X-Experience-API-Version", "")[:2] in ("1.", "2.") for call in calls)

    def test_all_is_stored_when_the_answer_says_so(self) -> None:
        for answer in (everything(200, json=self.ids()), everything(200, json=self.ids()[1:]), everything(204)):
            with system_played_by(answer) as calls:
                self.connector().send(list(self.STATEMENTS))
            assert calls

    @pytest.mark.parametrize("status", [400, 409, 413, 422])
    def test_a_refused_batch_is_rejected(self, status: int) -> None:
        with system_played_by(everything(status, text="one of them is at fault")):
            self.fails("statements", Rejected)

    def test_a_busy_lrs_says_when_to_come_back(self) -> None:
        with system_played_by(everything(429, headers={"Retry-After": "17"})):
            error = self.fails("statements", Retryable)
        assert isinstance(error, Retryable) and error.retry_after == 17

    @pytest.mark.parametrize("status", [302, 404, 405])
    def test_a_wrong_address_stops_the_connection(self, status: int) -> None:
        """Rejected would have the caller halve the batch and give up every statement of it."""
        with system_played_by(everything(status, headers={"Location": "https://elsewhere.example/"})):
            self.fails("statements", ConfigError)

    def test_a_page_instead_of_an_answer_gives_up_no_statement(self) -> None:
        with system_played_by(everything(200, text=SIGN_IN_PAGE, headers={"Content-Type": "text/html"})):
            self.fails("statements", (ConfigError, Retryable))

    @pytest.mark.parametrize(("kept", "same"), [({}, True), ({"result": {"completion": False}}, False), (None, False)])
    def test_one_conflict_is_settled_by_reading_it(self, kept: dict[str, Any] | None, same: bool) -> None:
        """A 409 on a single statement: the LRS has it (fine), or has another one under its id (never overwritten)."""
        one = self.STATEMENTS[0]
        stamped = {**json.loads(one), "stored": "2026-03-04T05:06:08Z", "authority": {"mbox": "mailto:lrs@x.example"}}

        def lrs(request: requests.PreparedRequest) -> Answer:
            if request.method != "GET":
                return Answer(status=409, text="a statement with this id exists")
            return Answer(status=404) if kept is None else Answer(json={**stamped, **kept})

        with system_played_by([lrs]):
            if same:
                self.connector().send([one])
                return
            with pytest.raises(Rejected):
                self.connector().send([one])
