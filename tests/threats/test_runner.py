"""The runner of cases: what it understands, what it says it does not, and that it notices what is wrong."""

from __future__ import annotations

import dataclasses
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from bridge.lti.platform import authorize, tokens
from bridge.lti.tool import id_tokens
from bridge.observe import logger
from tests.threats import __main__ as program
from tests.threats.cases import OURS, TEXT, Case, load
from tests.threats.phrases import Unknown
from tests.threats.report import Tried, attempt, build, details, summary
from tests.threats.running import Came, World

CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"


def case(text: str, must: str = "refuse", side: str = "tool", change: Any = None) -> Case:
    return Case(uuid.uuid4().hex, text, must, side, "test", change)


def test_names_say_nothing() -> None:
    for one in load(OURS):
        renamed = dataclasses.replace(one, name=uuid.uuid4().hex, source="elsewhere")
        assert [a.label for a in build(renamed)] == [a.label for a in build(one)]


@pytest.mark.parametrize(
    ("side", "must", "text", "change"),
    [
        ("tool", "refuse", "alg RS512, and the key in the key set says RS512", {"header": {"alg": "RS512"}}),
        ("tool", "refuse", "alg ES384, an EC key in the key set under that kid", {"header": {"alg": "ES384"}}),
        ("tool", "refuse", "alg EdDSA", {"header": {"alg": "EdDSA"}}),
        ("tool", "refuse", "alg HS512, signed with the public key", {"header": {"alg": "HS512"}}),
        ("tool", "refuse", "kid leads elsewhere", {"header": {"kid": "../../etc/passwd"}}),
        ("tool", "accept", "kid changed, that key is in the key set too", {"header": {"kid": "another"}}),
        ("tool", "refuse", "iat ten years ago", {"claims": {"iat": "@now-315360000", "exp": "@now+300"}}),
        ("tool", "accept", "nine minutes old", {"claims": {"iat": "@now-540"}}),
        ("tool", "accept", "empty roles", {"claims": {f"{CLAIM}roles": []}}),
        ("tool", "refuse", "sub is the number 7; also true, a list", {"claims": {"sub": 7}}),
        ("tool", "refuse", "nothing of LTI is left", {"keep_only": ["iss", "aud", "sub", "exp", "iat", "nonce"]}),
        ("tool", "refuse", "key set of 5 MB", None),
        ("tool", "refuse", "the key in the key set has no kid", None),
        ("tool", "accept", "the key in the key set has no alg", None),
        ("tool", "refuse", "the platform's key has only 1024 bits", None),
        ("tool", "refuse", "openid_configuration answers HTML; redirects to another host", None),
        ("tool", "refuse", "the key in the key set has 1024 bits", None),
        ("tool", "refuse", "claims nested 2,000 levels; claims of 2 MB", None),
        ("tool", "refuse", "registration ticket 5 times at once: exactly one wins", None),
        ("tool", "refuse", "client_id absent, two registrations for the iss", None),
        ("platform", "refuse", "redirect_uri with user info: plain error page", None),
        ("platform", "refuse", "response_type token; none", None),
        ("platform", "accept", "state missing", None),
        ("platform", "refuse", "score token on a line item DELETE", None),
        ("platform", "accept", "asks for the lineitem scope only: exactly that is granted", None),
        ("platform", "refuse", "timestamp two days in the future", None),
        ("platform", "accept", "scoreGiven '40.00000' (Moodle sends that)", None),
        ("platform", "refuse", "kid unknown", {"header": {"kid": "nobody"}}),
        ("platform", "accept", "exp 59 s ago", {"claims": {"exp": "@now-59", "iat": "@now-100"}}),
        ("platform", "refuse", "item url //evil", None),
        ("tool", "accept", "state 9 minutes old", None),
        ("tool", "refuse", "state older than 10 minutes", None),
        ("tool", "refuse", "nonce with one character changed; iss with a slash added", None),
        ("tool", "refuse", "key set does not answer", None),
        ("platform", "accept", "access token 59 minutes old", None),
        ("platform", "refuse", "registration_token older than an hour", None),
        ("platform", "accept", "registration_token 59 minutes old", None),
        ("platform", "refuse", "lti_message_hint with one character changed", None),
        ("platform", "accept", "state with one character changed", None),
    ],
)
def test_other_values_of_the_same_kinds_are_tried(
    running: World, side: str, must: str, text: str, change: dict[str, Any] | None
) -> None:
    result = attempt(running, case(text, must, side, change))
    assert (result.unknown, result.wrong) == ("", [])


@pytest.mark.parametrize(
    "text",
    [
        "redirect_uri with another letter case and a new moon",
        "redirect_uri with another port: it is followed",
        "the same id_token and state from a browser without any cookie and with a session",
        "nonce",
        "timestamp missing, or there twice",
        "lti_message_hint not used before",
        "a state that was given out",
        "exp is the string 'soon'; also a song",
        "key set answers in verse",
    ],
)
@pytest.mark.parametrize("side", ["tool", "platform"])
def test_other_words_are_not_understood(side: str, text: str) -> None:
    with pytest.raises(Unknown):
        build(case(text, side=side))
    with pytest.raises(Unknown):
        build(case("something", side=side, change={"query": {"x": 1}}))


def test_what_is_said_besides_and_not_understood_is_said(running: World) -> None:
    result = attempt(running, case("exp is 'soon'; also null, missing, a song", change={"claims": {"exp": "soon"}}))
    assert [label for label, _ in result.came] == [result.case.text, "exp null", "exp missing"]
    assert (result.wrong, result.untried) == ([], ("'also a song'",))
    assert details([result]) == [f"NOTE {result.case.name}: not tried: 'also a song'"]


def test_a_hole_is_seen(running: World, monkeypatch: pytest.MonkeyPatch) -> None:
    late = case("iat 11 minutes ago", change={"claims": {"iat": "@now-660"}})
    assert not attempt(running, late).wrong
    monkeypatch.setattr(id_tokens, "OLDEST", 6000)
    assert attempt(running, late).wrong == ["iat 11 minutes ago: accepted"]
    short = case("exp one day ahead", side="platform", change={"claims": {"jti": "x", "exp": "@now+86400"}})
    monkeypatch.setattr(tokens, "ASSERTION_SECONDS", 10**6)
    assert attempt(running, short).wrong == ["client assertion: exp one day ahead: accepted"]


def test_a_good_launch_that_is_refused_is_seen(running: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_tokens, "LEEWAY", 10)
    skewed = case("iat 59 s ahead", "accept", change={"claims": {"iat": "@now+59", "exp": "@now+300"}})
    assert attempt(running, skewed).wrong == ["iat 59 s ahead: refused (token_not_yet_valid)"]


def test_a_token_in_the_logs_is_seen(running: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def tell(token: str) -> str:
        logger("lti").info("came", what=token.rpartition(".")[2])
        return "lms-1"

    monkeypatch.setattr(id_tokens, "kid_of", tell)
    assert attempt(running, case("one byte of the signature changed")).wrong == [
        "one byte of the signature changed: refused (signature_wrong); the logs hold a token or a part of one"
    ]


def test_an_effect_of_what_is_refused_is_seen(running: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authorize, "_check", lambda _request: None)
    assert attempt(running, case("prompt login", side="platform")).wrong == ["prompt login: accepted"]


def test_must_decides_and_a_contradiction_is_noted() -> None:
    said = Tried(case("state with markup: accepted", "refuse", "platform"), (("x", Came(accepted=True)),))
    assert said.wrong == ["x: accepted"]
    assert said.note == "its text speaks of 'accept', its 'must' is 'refuse'"


def test_what_is_said_at_the_end() -> None:
    tried = [
        Tried(Case("a", "one", "refuse", "tool"), (("one", Came(accepted=False, code="x")),)),
        Tried(Case("b", "two", "accept", "platform"), (("two", Came(accepted=False, code="x")),)),
        Tried(Case("c", "three", "accept", "platform"), unknown="the text is in no phrase"),
    ]
    assert summary(tried) == [
        "threats: 3 cases, 2 built, 1 as they must be",
        "  platform, accept: 0 of 2",
        "  tool, refuse: 1 of 1",
    ]
    assert details(tried) == [
        "FAILED b (platform: two): must accept; came:",
        "    two: refused (x)",
        "1 cases were not tried, as it is not known how:",
        "    c (platform): three [the text is in no phrase]",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("{}", "holds no list of cases"),
        ("[1]", "entry 1 is not an object"),
        ('[{"case": "a"}]', f"'{TEXT}' must be a text"),
        (json.dumps([{"case": "a", TEXT: "b", "must": "perhaps", "side": "tool"}]), "must be one of refuse, accept"),
        (json.dumps([{"case": "a", TEXT: "b", "must": "refuse", "side": "left"}]), "must be one of tool, platform"),
        (
            json.dumps([{"case": "a", TEXT: "b", "must": "refuse", "side": "tool", "change": {"header": 1}}]),
            "an object",
        ),
    ],
)
def test_a_malformed_file_is_said_to_be_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, said: str
) -> None:
    path = tmp_path / "cases.json"
    path.write_text(content)
    assert program.main([str(path)]) == 2
    assert said in capsys.readouterr().err
    assert program.main([str(tmp_path / "none.json")]) == 2


def test_the_program_tries_another_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cases.json"
    cases = [{"case": "a", TEXT: "iss not registered", "must": "refuse", "side": "tool"}]
    path.write_text(json.dumps(cases))
    assert program.main([str(path)]) == 0
    path.write_text(json.dumps([*cases, {"case": "b", TEXT: "a riddle", "must": "refuse", "side": "platform"}]))
    assert program.main([str(path)]) == 3
    path.write_text(
        json.dumps([cases[0] | {"must": "accept"}, {"case": "b", TEXT: "?", "must": "refuse", "side": "tool"}])
    )
    assert program.main([str(path)]) == 1
    assert "threats: 2 cases, 1 built, 0 as they must be" in capsys.readouterr().out
