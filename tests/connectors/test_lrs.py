"""Any LRS: what is made of each answer; replies as Learning Locker 7.8, Ralph 5.1 and the ADL LRS give them."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import email.utils
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import requests
from pydantic import ValidationError

from bridge.connect import (
    ConfigError,
    ConnectorError,
    Http,
    Rejected,
    Retryable,
    Statement,
    TooLarge,
    UnexpectedPayload,
)
from bridge.connect.testing import (
    SIGN_IN_PAGE,
    Answer,
    ExaminableContract,
    StatementArchiveContract,
    StatementSinkContract,
    everything,
    sent,
    system_played_by,
)
from connectors.lrs import Lrs, LrsConfig

CONFIG = {"endpoint": "https://lrs.example/xapi", "key": "bridge", "secret": "Sjøkreps-57-secret"}
ABOUT = Answer(path="/xapi/about", json={"version": ["1.0.3"]})
NOTHING = Answer(path="/xapi/statements", sends={"limit": 1}, json={"statements": [], "more": ""})
ID = "0b9f7f6e-3a52-5d0e-9a39-6f0f6a3c1d11"
STATEMENT: dict[str, Any] = {
    "id": ID,
    "actor": {"account": {"homePage": "https://hr.example", "name": "E1"}},
    "verb": {"id": "http://adlnet.gov/expapi/verbs/completed", "display": {"en": "completed"}},
    "object": {"id": "https://lms.example/a", "definition": {"name": {"en": "A"}}},
    "context": {"contextActivities": {"parent": {"id": "https://lms.example/course"}}},
    "result": {"duration": "PT1M30S", "score": {"scaled": 1.0}},
    "timestamp": "2026-03-04T05:06:07Z",
}
#: The same statement as an LRS shows it: completed, normalised, with the activity as others have described it since.
KEPT: dict[str, Any] = {
    **STATEMENT,
    "actor": {"objectType": "Agent", "account": {"homePage": "https://hr.example", "name": "E1"}},
    "verb": {"id": "http://adlnet.gov/expapi/verbs/completed"},
    "object": {"objectType": "Activity", "id": "https://lms.example/a", "definition": {"name": {"en": "B"}}},
    "context": {"contextActivities": {"parent": [{"objectType": "Activity", "id": "https://lms.example/course"}]}},
    "result": {"duration": "PT1M30S", "score": {"scaled": 1}},
    "timestamp": "2026-03-04T05:06:07.000+00:00",
    "stored": "2026-03-04T05:06:08.000Z",
    "authority": {"objectType": "Agent", "mbox": "mailto:lrs@example.com"},
    "version": "1.0.0",
}


def lrs(**changes: Any) -> Lrs:
    settings = LrsConfig.model_validate({**CONFIG, **changes})
    return Lrs(settings, Http(system="xAPI LRS", pause=lambda seconds: None))


def raw(statement: Mapping[str, Any]) -> Statement:
    return Statement(statement["id"], json.dumps(statement).encode())


class TestLrs(StatementSinkContract, StatementArchiveContract, ExaminableContract):
    connector_class = Lrs
    config: ClassVar[Mapping[str, Any]] = CONFIG
    answers = (ABOUT, NOTHING)


class TestLrsWithAToken(TestLrs):
    config: ClassVar[Mapping[str, Any]] = {
        "endpoint": "https://lrs.example/xapi/statements/",
        "token": "bearer-token-57",
        "version": "2.0.0",
    }
    answers = (Answer(path="/xapi/about", json={"version": ["2.0.0", "1.0.3"]}), NOTHING)


@pytest.mark.parametrize("tail", ["", "/", "/statements", "/statements/"])
def test_each_form_of_the_endpoint_is_understood(tail: str) -> None:
    with system_played_by([Answer("POST", json=[ID])]) as calls:
        lrs(endpoint=f"https://lrs.example/xapi{tail}").send([raw(STATEMENT)])
    assert calls[0].url == "https://lrs.example/xapi/statements"
    assert calls[0].body == b"[" + raw(STATEMENT).payload + b"]"
    assert calls[0].headers["X-Experience-API-Version"] == "1.0.3"


def test_credentials_are_sent_as_utf8() -> None:
    with system_played_by([Answer("POST", json=[ID])]) as calls:
        lrs().send([raw(STATEMENT)])
        lrs(key="", secret=None, token="abc").send([raw(STATEMENT)])
    basic, bearer = (str(call.headers["Authorization"]) for call in calls)
    assert base64.b64decode(basic.removeprefix("Basic ")).decode() == "bridge:Sjøkreps-57-secret"
    assert bearer == "Bearer abc"


@pytest.mark.parametrize(
    "changes",
    [
        {"secret": None},
        {"key": ""},
        {"token": "abc"},
        {"key": "", "secret": None, "token": "abc\n"},
        {"key": "", "secret": None, "token": "nøkkel"},
        {"key": "", "secret": None},
        {"endpoint": "https://me:pass@lrs.example/xapi"},
        {"endpoint": "https://lrs.example/xapi?key=1"},
        {"version": "0.95"},
    ],
)
def test_settings_that_can_not_work_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LrsConfig.model_validate({**CONFIG, **changes})


def test_nothing_is_sent_for_no_statement() -> None:
    with system_played_by(()):
        lrs().send([])


def test_one_batch_is_one_request() -> None:
    """Whether a POST that was not answered was stored is unknown; the outbox repeats it, not the client."""
    with system_played_by(everything(503)) as calls, pytest.raises(Retryable):
        lrs().send([raw(STATEMENT)])
    assert len(calls) == 1


def test_ids_of_other_statements_are_no_receipt() -> None:
    with system_played_by([Answer("POST", json=[ID.upper()])]):
        lrs().send([raw(STATEMENT)])
    foreign = Answer("POST", json=["9b9f7f6e-3a52-5d0e-9a39-6f0f6a3c1d11"])
    with system_played_by([foreign]), pytest.raises(UnexpectedPayload, match="other statements"):
        lrs().send([raw(STATEMENT)])


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (400, "Request body exceeded settings.DATA_UPLOAD_MAX_MEMORY_SIZE."),
        (413, "Request Entity Too Large"),
        (422, '{"detail": [{"msg": "invalid actor"}]}'),
        (409, "a statement with this id exists"),
    ],
)
def test_what_the_lrs_says_of_a_refusal_is_kept(status: int, text: str) -> None:
    with system_played_by(everything(status, text=text)), pytest.raises(Rejected) as caught:
        lrs().send([raw(STATEMENT), raw({**STATEMENT, "id": "1b9f7f6e-3a52-5d0e-9a39-6f0f6a3c1d11"})])
    assert text in str(caught.value) and str(status) in str(caught.value) and "2 statements" in str(caught.value)


@pytest.mark.parametrize(
    ("status", "text", "too_large"),
    [
        (413, "", True),
        (400, "Request body exceeded settings.DATA_UPLOAD_MAX_MEMORY_SIZE.", True),
        (400, "Maximum request length exceeded.", True),
        (400, "PayloadTooLargeError: request entity too large", True),
        (400, "result.score.scaled: 7 is too large", False),
        (422, "Request body exceeded something", False),
        (409, "request entity too large", False),
    ],
)
def test_too_many_bytes_are_told_apart(status: int, text: str, too_large: bool) -> None:
    with system_played_by(everything(status, text=text)), pytest.raises(Rejected) as caught:
        lrs().send([raw(STATEMENT), raw({**STATEMENT, "id": "1b9f7f6e-3a52-5d0e-9a39-6f0f6a3c1d11"})])
    assert isinstance(caught.value, TooLarge) == too_large


@pytest.mark.parametrize(
    "answer",
    [
        Answer("POST", status=404),
        Answer("POST", status=405),
        Answer("POST", status=302, headers={"Location": "https://sso.example/"}),
        Answer("POST", status=406),
        Answer("POST", text=SIGN_IN_PAGE, headers={"Content-Type": "text/html"}),
        Answer("POST", text=""),
        Answer("POST", json={"ok": True}),
        Answer("POST", json=[1]),
    ],
)
def test_an_address_that_is_no_lrs_is_told_with_the_url(answer: Answer) -> None:
    with system_played_by([answer]), pytest.raises(ConfigError, match=r"https://lrs\.example/xapi/statements"):
        lrs().send([raw(STATEMENT)])


def conflict(kept: Mapping[str, Any] | None, *, parameter: str = "statementId", status: int = 404) -> list[Any]:
    """An LRS that answers 409 and shows what it has, under the parameter for statements or for voided ones."""

    def answer(request: requests.PreparedRequest) -> Answer:
        if request.method == "POST":
            return Answer(status=409, text="conflict")
        if kept is not None and sent(request).get(parameter) == ID:
            return Answer(json=kept)
        return Answer(status=status)

    return [answer]


@pytest.mark.parametrize("parameter", ["statementId", "voidedStatementId"])
def test_a_statement_that_the_lrs_has_already_is_delivered(parameter: str) -> None:
    with system_played_by(conflict(KEPT, parameter=parameter)):
        lrs().send([raw(STATEMENT)])


def test_the_order_of_members_and_attachments_makes_no_conflict() -> None:
    def made(order: int) -> dict[str, Any]:
        members = [{"mbox": "mailto:a@x.example"}, {"mbox": "mailto:b@x.example"}][::order]
        attachments = [{"sha2": "1"}, {"sha2": "2"}][::order]
        return {**STATEMENT, "actor": {"objectType": "Group", "member": members}, "attachments": attachments}

    with system_played_by(conflict(made(-1))):
        lrs().send([raw(made(1))])


def test_what_an_lrs_writes_otherwise_makes_no_conflict() -> None:
    """UUIDs in small letters, as databases give them back, and hundredths of a second (xAPI-Data 4.6)."""
    registration = "3F2504E0-4F89-41D3-9A0C-0305E82C3301"
    ours = {
        **STATEMENT,
        "id": ID.upper(),
        "context": {"registration": registration},
        "result": {"duration": "PT1.239S"},
    }
    kept = {**ours, "id": ID, "context": {"registration": registration.lower()}, "result": {"duration": "PT1.23S"}}
    with system_played_by(conflict(kept)):
        lrs().send([Statement(ID, json.dumps(ours).encode())])


@pytest.mark.parametrize(("kept", "same"), [(12345678901234567000, True), (12345678901234570000, False), (5, False)])
def test_a_number_may_be_kept_as_a_binary64(kept: int, same: bool) -> None:
    """Learning Locker is JavaScript: it rounds."""

    def made(number: int) -> dict[str, Any]:
        return {**STATEMENT, "context": {"extensions": {"https://x.example/n": number}}}

    with system_played_by(conflict(made(kept))):
        if same:
            lrs().send([raw(made(12345678901234567890))])
            return
        with pytest.raises(Rejected, match="another one"):
            lrs().send([raw(made(12345678901234567890))])


@pytest.mark.parametrize(
    "difference",
    [
        {"actor": {"account": {"homePage": "https://hr.example", "name": "E2"}}},
        {"verb": {"id": "http://adlnet.gov/expapi/verbs/passed"}},
        {"object": {"id": "https://lms.example/b"}},
        {"object": {"objectType": "Agent", "id": "https://lms.example/a"}},
        {"result": {"duration": "PT90S", "score": {"scaled": 1}}},
        {"timestamp": "2026-03-04T05:06:07.001Z"},
        {"context": {}},
    ],
)
def test_another_statement_under_the_same_id_is_a_conflict(difference: dict[str, Any]) -> None:
    with system_played_by(conflict({**KEPT, **difference})), pytest.raises(Rejected, match=r"conflict.*another one"):
        lrs().send([raw(STATEMENT)])


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_conflict_that_can_not_be_read_is_one(status: int) -> None:
    """Credentials that may only write must not stop the connection for one statement."""
    with system_played_by(conflict(None, status=status)), pytest.raises(Rejected, match=r"conflict.*compared"):
        lrs().send([raw(STATEMENT)])


def test_a_conflict_of_a_batch_is_left_to_the_caller() -> None:
    """It never means that all are there."""
    with system_played_by(conflict(KEPT)) as calls, pytest.raises(Rejected, match="409"):
        lrs().send([raw(STATEMENT), raw({**STATEMENT, "id": "1b9f7f6e-3a52-5d0e-9a39-6f0f6a3c1d11"})])
    assert len(calls) == 1


def test_the_check_tells_versions() -> None:
    with system_played_by([ABOUT, NOTHING]):
        assert "it speaks xAPI 1.0.3" in lrs().check().works
        [missing] = lrs(version="2.0.0").check().missing
    assert "1.0.3" in missing and "`version`" in missing


@pytest.mark.parametrize("about", [Answer(path="/about", status=404), Answer(path="/about", text="hello")])
def test_an_lrs_that_does_not_tell_its_versions_is_fine(about: Answer) -> None:
    with system_played_by([about, NOTHING]):
        assert lrs().check().ok


@pytest.mark.parametrize(("minutes", "words"), [(10, "ahead of"), (-10, "behind")])
def test_the_check_tells_a_wrong_clock(minutes: int, words: str) -> None:
    theirs = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=minutes)
    dated = Answer(json={"statements": []}, headers={"Date": email.utils.format_datetime(theirs, usegmt=True)})
    with system_played_by([ABOUT, dated]):
        [missing] = lrs().check().missing
    assert words in missing and "s" in missing


@pytest.mark.parametrize("date", ["Sun Nov  6 08:49:37 1994", "Sun, 06 Nov 1994 08:49:37 -0000"])
def test_a_date_without_a_zone_is_utc(date: str) -> None:
    """Also the form of C's asctime is a date (RFC 9110 5.6.7)."""
    with system_played_by([dataclasses.replace(NOTHING, headers={"Date": date}), ABOUT]):
        assert "behind" in lrs().check().missing[0]


def test_a_date_that_is_none_is_no_wrong_clock() -> None:
    with system_played_by([ABOUT, Answer(json={"statements": []}, headers={"Date": "soon"})]):
        assert lrs().check().ok


def test_a_check_at_a_wrong_address_says_what_an_endpoint_is() -> None:
    with system_played_by(everything(404)), pytest.raises(ConfigError, match="often ends in /xapi"):
        lrs().check()


def test_a_single_statement_in_a_list_is_understood() -> None:
    """Ralph answers so to `statementId`, and with an empty list where it has none."""
    with system_played_by([Answer(json={"statements": [KEPT]})]):
        assert lrs().find(ID.upper()) == KEPT
    for nothing in ([], [{**KEPT, "id": "1b9f7f6e-3a52-5d0e-9a39-6f0f6a3c1d11"}]):
        with system_played_by([Answer(json={"statements": nothing})]):
            assert lrs().find(ID) is None


@pytest.mark.parametrize("page", [{"statements": [1]}, {"statements": {}}, {"more": ""}, []])
def test_a_page_that_is_none_is_no_end(page: Any) -> None:
    with system_played_by([Answer(json=page)]), pytest.raises(ConfigError):
        list(lrs().stored(None))


@pytest.mark.parametrize("more", ["https://lrs.example:port/more", "https://[::1/more", "https://evil.example/more"])
def test_the_next_page_is_of_the_same_server_or_none(more: str) -> None:
    page = dataclasses.replace(NOTHING, sends={}, json={"statements": [], "more": more})
    with system_played_by([page]) as calls, pytest.raises(ConnectorError, match=r"page|another host"):
        list(lrs().stored(None))
    assert len(calls) == 1


@pytest.mark.parametrize("through", ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z", "soon", ""])
def test_a_clock_at_zero_promises_nothing(through: str) -> None:
    """So .NET and Unix write that there is no time: nothing would ever be looked for."""
    told = {"X-Experience-API-Consistent-Through": through}
    with system_played_by([dataclasses.replace(NOTHING, sends={}, headers=told)]):
        [page] = lrs().stored(None)
    assert page.through is None


@pytest.mark.parametrize("kind", ["application/json", "text/plain; charset=idna", "text/html; charset=no-such"])
def test_the_words_of_a_refusal_are_read_as_utf8(kind: str) -> None:
    answer = Answer("POST", status=400, text="Feltet må være gyldig", headers={"Content-Type": kind})
    with system_played_by([answer]), pytest.raises(Rejected, match="må være"):
        lrs().send([raw(STATEMENT)])


def test_an_answer_without_an_end_of_brackets_is_no_lrs() -> None:
    with system_played_by([Answer("POST", text="[" * 100_000)]), pytest.raises(ConfigError, match="not as an LRS"):
        lrs().send([raw(STATEMENT)])
