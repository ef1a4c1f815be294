"""An LRS that statements are sent to, and that shows what it has."""

from __future__ import annotations

import datetime as dt
import email
import email.policy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import urljoin, urlsplit

import pytest
import requests

from bridge.connect import (
    Attached,
    ConfigError,
    ConnectorError,
    Finding,
    Rejected,
    Retryable,
    Statement,
    StoredPage,
    TooLarge,
)
from bridge.connect.testing.connector import FAILURES, ConnectorContract
from bridge.connect.testing.played import (
    SIGN_IN_PAGE,
    Answer,
    Answers,
    everything,
    sent,
    system_played_by,
    unreachable,
)

_PAYLOAD = (
    '{{"id": "{id}", "actor": {{"account": {{"homePage": "https://hr.example", "name": "E{number}"}}}},'
    ' "verb": {{"id": "http://adlnet.gov/expapi/verbs/completed"}}, "object": {{"id": "https://lms.example/a"}},'
    ' "result": {{"duration": "PT1M30S", "score": {{"scaled": 0.50}}}}, "timestamp": "2026-03-04T05:06:07.000Z"}}'
)


def _statement(number: int) -> Statement:
    name = f"{number}b9f7f6e-3a52-5d0e-9a39-6f0f6a3c1d1{number}"
    return Statement(name, _PAYLOAD.format(id=name, number=number).encode())


def _body(call: requests.PreparedRequest) -> bytes:
    return call.body if isinstance(call.body, bytes) else str(call.body or "").encode()


def _stored(statement: Statement, **changes: Any) -> dict[str, Any]:
    """A statement as an LRS shows it."""
    authority = {"objectType": "Agent", "mbox": "mailto:lrs@x.example"}
    return {**json.loads(statement.payload), "stored": "2026-03-04T05:06:08Z", "authority": authority, **changes}


class StatementSinkContract(ConnectorContract):
    """An LRS. The suite plays it, ``answers`` serve ``check``. Give besides:

    - ``takes_attachments``: False where it can't take the contents of attachments: such a statement is then rejected.
    """

    capability: ClassVar[str] = "statements"
    takes_attachments: ClassVar[bool] = True
    STATEMENTS: ClassVar[tuple[Statement, ...]] = tuple(_statement(number) for number in (1, 2, 3))

    def actions(self) -> dict[str, Callable[[Any], object]]:
        return {**super().actions(), "statements": lambda connector: connector.send(self.STATEMENTS)}

    def ids(self) -> list[str]:
        return [statement.id for statement in self.STATEMENTS]

    def test_the_exact_bytes_are_sent(self) -> None:
        with system_played_by(everything(200, json=self.ids())) as calls:
            self.connector().send(self.STATEMENTS)
        bodies = [_body(call) for call in calls]
        assert all(any(statement.payload in body for body in bodies) for statement in self.STATEMENTS)
        assert json.loads(bodies[-1]) == [json.loads(statement.payload) for statement in self.STATEMENTS]

    def test_what_is_attached_is_sent_once_with_its_hash(self) -> None:
        """multipart/mixed, the statements first (xAPI-Communication 1.5.2)."""
        content = b"\x89PNG\r\n--not a boundary\r\n\x00"
        held = Attached(hashlib.sha256(content).hexdigest(), "image/png", content)
        batch = [Statement(one.id, one.payload, (held,)) for one in self.STATEMENTS]
        with system_played_by(everything(200, json=self.ids())) as calls:
            if not self.takes_attachments:
                with pytest.raises(Rejected):
                    self.connector().send(batch)
                return
            self.connector().send(batch)
        head = f"Content-Type: {calls[-1].headers['Content-Type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + _body(calls[-1]), policy=email.policy.HTTP)
        first, *others = message.iter_parts()
        assert message.get_content_type() == "multipart/mixed" and first.get_content_type() == "application/json"
        assert b"[" + b",".join(one.payload for one in batch) + b"]" in _body(calls[-1])
        [[kind, encoding, sha2]] = [
            (one.get_content_type(), one["Content-Transfer-Encoding"], one["X-Experience-API-Hash"]) for one in others
        ]
        assert (kind, encoding, sha2) == ("image/png", "binary", held.sha2)
        assert b"\r\n\r\n" + content + b"\r\n--" in _body(calls[-1])

    @pytest.mark.parametrize("version", ["1.0.3", "2.0.0"])
    def test_the_version_header_is_sent(self, version: str) -> None:
        with system_played_by(everything(200, json=self.ids(), headers={"X-Experience-API-Version": version})) as calls:
            self.connector().send(self.STATEMENTS)
        assert all(call.headers.get("X-Experience-API-Version", "")[:2] in ("1.", "2.") for call in calls)

    def test_all_is_stored_when_the_answer_says_so(self) -> None:
        for answer in (everything(200, json=self.ids()), everything(200, json=self.ids()[1:]), everything(204)):
            with system_played_by(answer) as calls:
                self.connector().send(self.STATEMENTS)
            assert calls

    @pytest.mark.parametrize("status", [400, 409, 413, 422])
    def test_a_refused_batch_is_rejected(self, status: int) -> None:
        with system_played_by(everything(status, text="one of them is at fault")):
            error = self.fails("statements", Rejected)
        assert isinstance(error, TooLarge) == (status == 413), "only 413 speaks of the size by itself"

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

        def lrs(request: requests.PreparedRequest) -> Answer:
            if request.method != "GET":
                return Answer(status=409, text="a statement with this id exists")
            return Answer(status=404) if kept is None else Answer(json=_stored(one, **kept))

        with system_played_by([lrs]):
            if same:
                self.connector().send([one])
                return
            with pytest.raises(Rejected):
                self.connector().send([one])


class StatementArchiveContract(ConnectorContract):
    """An LRS that shows what it has. Needs no data of its own: the suite plays the LRS."""

    capability: ClassVar[str] = "archive"
    KEPT: ClassVar[tuple[dict[str, Any], ...]] = tuple(
        _stored(_statement(number), stored=f"2026-03-04T05:06:0{number}Z") for number in (1, 2, 3)
    )
    VOIDED: ClassVar[dict[str, Any]] = _stored(_statement(4))
    THROUGH: ClassVar[dt.datetime] = dt.datetime(2026, 3, 4, 6, tzinfo=dt.UTC)

    def actions(self) -> dict[str, Callable[[Any], object]]:
        return {**super().actions(), "archive": lambda connector: list(connector.stored(None))}

    def lrs(self, request: requests.PreparedRequest) -> Answer:
        """One statement a page, each naming the next; single ones by either parameter."""
        asked, headers = sent(request), {"X-Experience-API-Consistent-Through": self.THROUGH.isoformat()}
        for parameter, among in (("statementId", self.KEPT), ("voidedStatementId", (self.VOIDED,))):
            if parameter in asked:
                found = [one for one in among if one["id"] == asked[parameter]]
                return Answer(json=found[0], headers=headers) if found else Answer(status=404, text="not found")
        assert "page" in asked or asked.get("ascending") == "true", "pages are asked for from the oldest on"
        since = str(asked.get("since", "")).replace(".000", "")
        left = [one for one in self.KEPT if one["stored"] > since][int(asked.get("page", 0)) :]
        more = f"/the/server's/own?page={int(asked.get('page', 0)) + 1}&since={since}" if len(left) > 1 else ""
        return Answer(json={"statements": left[:1], "more": more}, headers=headers)

    def walked(self, answers: Answers, since: dt.datetime | None = None) -> list[StoredPage]:
        with system_played_by(answers):
            return list(self.connector().stored(since))

    def found(self, statement_id: str, *, voided: bool) -> Mapping[str, Any] | None:
        with system_played_by([self.lrs]):
            kept: Mapping[str, Any] | None = self.connector().find(statement_id, voided=voided)
        return kept

    def test_all_that_is_stored_is_shown_along_more(self) -> None:
        pages = self.walked([self.lrs])
        assert [one for page in pages for one in page.statements] == list(self.KEPT)
        assert {page.through for page in pages} == {self.THROUGH}

    def test_only_what_was_stored_since_is_shown(self) -> None:
        since = dt.datetime(2026, 3, 4, 7, 6, 1, tzinfo=dt.timezone(dt.timedelta(hours=2)))
        pages = self.walked([self.lrs], since)
        assert [one for page in pages for one in page.statements] == list(self.KEPT[1:])

    @pytest.mark.parametrize("told", ["", "soon"])
    def test_an_lrs_that_promises_nothing_is_believed_nothing(self, told: str) -> None:
        headers = {"X-Experience-API-Consistent-Through": told} if told else {}
        [page] = self.walked(everything(200, json={"statements": [], "more": ""}, headers=headers))
        assert page.through is None

    def test_more_leads_to_no_other_server(self) -> None:
        answers = everything(200, json={"statements": [], "more": "https://evil.example/steal"})
        with system_played_by(answers) as calls, pytest.raises(ConfigError):
            list(self.connector().stored(None))
        assert all("evil.example" not in str(call.url) for call in calls)

    def test_more_that_goes_in_circles_ends(self) -> None:
        with system_played_by([self._circle]) as calls:
            list(self.connector().stored(None))
        assert len(calls) <= 3

    @staticmethod
    def _circle(request: requests.PreparedRequest) -> Answer:
        here = urlsplit(urljoin(str(request.url), "?again=1"))
        return Answer(json={"statements": [], "more": f"{here.path}?{here.query}"})

    def test_one_statement_is_found_voided_or_not(self) -> None:
        kept, voided = self.KEPT[0], self.VOIDED
        assert self.found(kept["id"], voided=False) == kept and self.found(kept["id"], voided=True) is None
        assert self.found(voided["id"], voided=True) == voided and self.found(voided["id"], voided=False) is None


class ExaminableContract(ConnectorContract):
    """A system that can be examined. ``answers`` are those of a system in order, to an examination that only reads."""

    capability: ClassVar[str] = "examination"

    def examined(self, answers: Answers, *, write: bool = False) -> list[Finding]:
        with system_played_by(answers):
            return list(self.connector().examine(write=write))

    def failures(self) -> Iterator[Sequence[Any]]:
        yield from (everything(status, text="refused") for status in (*FAILURES, 302, 400, 404, 405))
        yield everything(200, text=SIGN_IN_PAGE, headers={"Content-Type": "text/html"})
        yield unreachable(requests.ConnectionError("the network is gone"))

    def test_what_is_in_order_is_said_so_and_nothing_is_written(self) -> None:
        with system_played_by(self.answers) as calls:
            findings = list(self.connector().examine(write=False))
        assert findings and all(found.works for found in findings), [one.words for one in findings if not one.works]
        assert all(" " in found.words for found in findings), "findings are told in words"
        assert {call.method for call in calls} <= {"GET", "HEAD", "OPTIONS"}, "it may only read"

    @pytest.mark.parametrize("write", [False, True])
    def test_what_is_wrong_is_found_and_never_raised(self, write: bool) -> None:
        for answers in self.failures():
            try:
                findings = self.examined(answers, write=write)
            except ConnectorError as error:
                raise AssertionError(f"an examination tells what it finds, it does not raise {error!r}") from error
            wrong = [found.words for found in findings if not found.works]
            assert wrong and all(" " in words for words in wrong)
