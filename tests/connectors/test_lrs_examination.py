"""The examination of an LRS: each defect is found, told in words, and with the setting that mends it."""

from __future__ import annotations

import base64
import datetime as dt
import email.utils
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from bridge.connect import Finding, Http
from bridge.connect.testing import SIGN_IN_PAGE, Answer, system_played_by
from connectors.lrs import Lrs, LrsConfig

CONFIG = {"endpoint": "https://lrs.example/data/xAPI", "key": "bridge", "secret": "Sjøkreps-57-secret"}
BASIC = base64.b64encode("bridge:Sjøkreps-57-secret".encode()).decode()

RESOURCES = ("about", "statements", "activities/state")

Reply = Callable[[requests.PreparedRequest], Answer | None]


class Played:
    """An LRS in order, at one address, until ``defect`` answers in its place."""

    def __init__(self, defect: Reply = lambda request: None, *, versions: tuple[str, ...] = ("1.0.3",)) -> None:
        self.defect, self.versions = defect, versions
        self.stored: dict[str, dict[str, Any]] = {}
        self.headers: dict[str, str] = {"X-Experience-API-Consistent-Through": "2026-03-04T05:06:07Z"}
        self.headers["Date"] = email.utils.format_datetime(dt.datetime.now(dt.UTC), usegmt=True)

    def __call__(self, request: requests.PreparedRequest) -> Answer:
        if (wrong := self.defect(request)) is not None:
            return wrong
        where = urlsplit(request.url or "")
        resource = where.path.removeprefix("/data/xAPI/")
        if (where.scheme, where.netloc) != ("https", "lrs.example") or resource not in RESOURCES:
            return Answer(status=404, text="Cannot GET that")
        if resource == "about":
            return Answer(json={"version": list(self.versions)})
        return self.admitted(request) or (self.post(request) if request.method == "POST" else self.page())

    def admitted(self, request: requests.PreparedRequest) -> Answer | None:
        if request.headers["Authorization"] != f"Basic {BASIC}":
            return Answer(status=401)
        if request.headers["X-Experience-API-Version"][:3] not in {version[:3] for version in self.versions}:
            return Answer(status=400, text="that version is not spoken here")
        return Answer(status=204) if "/activities/state" in str(request.url) else None

    def page(self) -> Answer:
        return Answer(json={"statements": [], "more": ""}, headers=self.headers)

    def post(self, request: requests.PreparedRequest) -> Answer:
        batch = posted(request)
        self.stored |= {one["id"]: one for one in batch}
        return Answer(json=[one["id"] for one in batch], headers=self.headers)

    @property
    def left(self) -> set[str]:
        """What was stored and not voided."""
        voids = {name: one["object"]["id"] for name, one in self.stored.items() if one["verb"]["id"].endswith("voided")}
        return self.stored.keys() - voids.keys() - set(voids.values())


def posted(request: requests.PreparedRequest) -> list[dict[str, Any]]:
    body = bytes(request.body or b"")
    if "multipart" in str(request.headers["Content-Type"]):
        body = body.split(b"\r\n\r\n", 1)[1].split(b"\r\n--", 1)[0]
    batch: list[dict[str, Any]] = json.loads(body)
    return batch


def examined(played: Played, *, write: bool = False, **changes: Any) -> list[Finding]:
    config = LrsConfig.model_validate({**CONFIG, **changes})
    with system_played_by([played]):
        return list(Lrs(config, Http(system="xAPI LRS", pause=lambda seconds: None)).examine(write=write))


def wrong(findings: list[Finding]) -> str:
    return "\n".join(found.words for found in findings if not found.works)


def always(answer: Answer, *, at: str = "/statements", method: str = "") -> Reply:
    def reply(request: requests.PreparedRequest) -> Answer | None:
        fits = urlsplit(request.url or "").path.endswith(at) and request.method in (method, method or request.method)
        return answer if fits else None

    return reply


def test_an_lrs_in_order_is_told_so_and_left_clean() -> None:
    played = Played()
    findings = examined(played, write=True)
    assert not wrong(findings)
    text = "\n".join(found.words for found in findings)
    for words in (
        "answers as an LRS",
        "1.0.3",
        "clock",
        "store statements",
        "repeated",
        "batch",
        "attachments",
        "4,000,000",
    ):
        assert words in text
    assert len(played.stored) == 6 and not played.left


def test_nothing_is_stored_unless_it_is_asked_for() -> None:
    played = Played()
    assert not wrong(examined(played)) and not played.stored


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://lrs.example",
        "https://lrs.example/",
        "https://lrs.example/data",
        "https://lrs.example/data/xAPI/about",
        "http://lrs.example/data/xAPI",
    ],
)
def test_a_wrong_endpoint_is_told_with_the_right_one(endpoint: str) -> None:
    assert "set `endpoint` to that" in (words := wrong(examined(Played(), endpoint=endpoint)))
    assert "https://lrs.example/data/xAPI:" in words


def test_no_other_host_hears_the_credentials() -> None:
    with system_played_by([Played(always(Answer(status=404), at=""))]) as calls:
        config = LrsConfig.model_validate(CONFIG)
        found = list(Lrs(config, Http(system="xAPI LRS", pause=lambda seconds: None)).examine(write=False))
    assert "documentation names the xAPI endpoint" in wrong(found)
    assert {urlsplit(str(call.url))[:2] for call in calls} == {("https", "lrs.example")} and len(calls) < 40


@pytest.mark.parametrize(
    ("defect", "changes", "words"),
    [
        (always(Answer(text=SIGN_IN_PAGE, headers={"Content-Type": "text/html"})), {}, ["text/html", "sign-in page"]),
        (
            always(Answer(status=302, headers={"Location": "https://sso.example/login"})),
            {},
            ["https://sso.example/login", "302", "`endpoint`"],
        ),
        (always(Answer(status=503, text="down for the night")), {}, ["503", "down for the night", "later"]),
        (always(Answer(status=403)), {}, ["may not read", "statements/read"]),
        (lambda request: None, {"secret": "another"}, ["401", "`key` and `secret`"]),
        (lambda request: None, {"version": "2.0.0"}, ["set `version: 1.0.3`"]),
    ],
)
def test_a_defect_is_told_with_what_mends_it(defect: Reply, changes: Mapping[str, Any], words: list[str]) -> None:
    said = wrong(examined(Played(defect), **changes))
    assert all(word in said for word in words), said


def test_a_certificate_that_is_not_accepted_is_told_with_the_reason() -> None:
    def refused(request: requests.PreparedRequest) -> Answer:
        raise requests.exceptions.SSLError(
            "HTTPSConnectionPool(host='lrs.example', port=443): Max retries exceeded with url: /data/xAPI/statements"
            " (Caused by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify"
            " failed: certificate has expired (_ssl.c:992)')))"
        )

    assert "its certificate is not accepted (certificate has expired)" in wrong(examined(Played(refused)))


def test_the_secret_is_in_no_finding() -> None:
    echo = Answer(status=418, text=f"you sent Basic {BASIC}")
    findings = examined(Played(always(echo)), write=True)
    assert BASIC not in "".join(found.words for found in findings)


@pytest.mark.parametrize(("minutes", "words"), [(10, "ahead of"), (-10, "behind")])
def test_a_wrong_clock_is_found(minutes: int, words: str) -> None:
    played = Played()
    theirs = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=minutes)
    played.headers["Date"] = email.utils.format_datetime(theirs, usegmt=True)
    assert words in (said := wrong(examined(played))) and "NTP" in said


def test_versions_are_tried_where_about_does_not_tell() -> None:
    nothing = always(Answer(status=404), at="/about")
    assert not wrong(examined(Played(nothing, versions=("1.0.3", "2.0.0"))))


def test_a_version_that_is_taken_and_not_listed_is_told() -> None:
    played = Played(always(Answer(json={"version": ["1.0.3"]}), at="/about"), versions=("1.0.3", "2.0.0"))
    assert "`version` is 2.0.0" in wrong(examined(played, version="2.0.0"))


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_may_not_write(status: int) -> None:
    said = wrong(examined(Played(always(Answer(status=status), method="POST")), write=True))
    assert "may not store" in said and "statements/write" in said


@pytest.mark.parametrize(("most", "setting"), [(100_000, "batch_bytes to 64000"), (20_000, "batch_bytes to 10000")])
@pytest.mark.parametrize("status", [413, 400])
def test_a_limit_of_size_is_found(most: int, setting: str, status: int) -> None:
    def limit(request: requests.PreparedRequest) -> Answer | None:
        too_much = len(bytes(request.body or b"")) > most
        return Answer(status=status, text="Request body exceeded the limit") if too_much else None

    played = Played(limit)
    assert setting in wrong(examined(played, write=True)) and not played.left


def test_an_lrs_that_takes_no_batches_is_told() -> None:
    def singly(request: requests.PreparedRequest) -> Answer | None:
        is_batch = request.method == "POST" and len({one["id"] for one in posted(request)}) > 1
        return Answer(status=400, text="one at a time") if is_batch else None

    played = Played(singly)
    assert "options.statements.batch to 1" in wrong(examined(played, write=True)) and not played.left


def test_a_batch_with_a_known_statement_may_be_refused_whole() -> None:
    def strict(request: requests.PreparedRequest) -> Answer | None:
        known = request.method == "POST" and any(one["id"] in played.stored for one in posted(request))
        return Answer(status=409, text="exists") if known else None

    played = Played(strict)
    findings = examined(played, write=True)
    assert not wrong(findings) and any("halves" in found.words for found in findings) and not played.left


def test_probes_that_can_not_be_voided_are_named() -> None:
    def stubborn(request: requests.PreparedRequest) -> Answer | None:
        return Answer(status=403) if request.method == "POST" and b"/voided" in bytes(request.body or b"") else None

    played = Played(stubborn)
    said = wrong(examined(played, write=True))
    assert played.left and all(name in said for name in played.left)


def test_probes_name_nobody() -> None:
    played = Played()
    examined(played, write=True)
    assert {one["actor"]["account"]["name"] for one in played.stored.values()} == {"connection-doctor"}
