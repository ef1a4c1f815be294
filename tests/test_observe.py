"""No log line shows a secret, whoever writes it and however deep it lies."""

from __future__ import annotations

import json
import logging

import pytest

from bridge import observe

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzYW0ifQ.c2lnbmF0dXJl"
TICKET = "Zx3kQ9vLmN2pR7sT1uVwXyZaBcDeFgHi"


@pytest.mark.parametrize(
    "text",
    [
        "password=hunter2",
        "PASSWORD = hunter2",
        '{"password": "hunter2", "n": 1}',
        "{'client_secret': 'hunter2 with words'}",
        "secret_key: hunter2",
        '"secrets": ["hunter2", "hunter2"]',
        "api-key: hunter2",
        "GET /webservice?wstoken=hunter2&x=1",
        "Authorization: Basic hunter2==",
        "headers={'Authorization': 'Bearer hunter2.hunter2'}",
        "it sent Bearer hunter2hunter2hunter2",
        "Cookie: flowbridge_session=hunter2; theme=dark",
        "postgresql+psycopg://bridge:hunter2@db.example.com/bridge",
        "redis://:hunter2@broker:6379/0",
        "handoff=hunter2&ticket=hunter2",
    ],
)
def test_what_looks_like_a_secret_is_cut_out(text: str) -> None:
    shown = observe.redact(text)
    assert "hunter2" not in shown
    assert "[redacted]" in shown


@pytest.mark.parametrize("secret", [JWT, "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz", f"/go/{TICKET}"])
def test_tokens_and_tickets_are_cut_out_by_their_form(secret: str) -> None:
    assert secret not in observe.redact(f'"GET {secret} HTTP/1.1" 200')


@pytest.mark.parametrize(
    "text",
    [
        "the session ended at 5",
        "http://desk:8000/people?email=sam@example.com",
        "GET /go/ HTTP/1.1",
        "a token that expired",
        "connection 'moodle': the password is wrong",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert observe.redact(text) == text


@pytest.mark.usefixtures("logs")
@pytest.mark.parametrize("form", ["text", "json"])
def test_every_logger_is_redacted(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    observe.configure(form=form)
    observe.logger("web").info(
        "called", token="hunter2", headers={"authorization": "Basic hunter2"}, urls=[f"https://b.test/go/{TICKET}"]
    )
    logging.getLogger("sqlalchemy").warning("connecting to %s", "redis://u:hunter2@db/x")
    try:
        raise ValueError("password=hunter2")
    except ValueError:
        observe.logger("web").exception("failed")
        logging.getLogger("celery").exception("failed")
    shown = capsys.readouterr().err
    assert "hunter2" not in shown
    assert TICKET not in shown
    assert shown.count("[redacted]") >= 6
    assert shown.count("ValueError") >= 2


@pytest.mark.usefixtures("logs")
def test_json_logs_are_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    observe.configure(form="json")
    observe.logger("web").warning("one", path="/x")
    logging.getLogger("a.library").warning('two "quoted"\nlines')
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["event"], first["level"], first["path"]) == ("one", "warning", "/x")
    assert (second["event"], second["level"], second["logger"]) == ('two "quoted"\nlines', "warning", "a.library")
    assert first["timestamp"].endswith("Z")
    assert second["timestamp"].endswith("Z")


@pytest.mark.usefixtures("logs")
def test_the_level_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    observe.configure(level="WARNING")
    observe.logger("web").info("quiet")
    logging.getLogger("x").info("quiet")
    assert capsys.readouterr().err == ""
