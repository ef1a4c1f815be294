"""The formats of single values: IRIs, language tags, durations, times, addresses, also of hostile length."""

from __future__ import annotations

import pytest

from bridge.xapi.validation import Version, validate
from tests.xapi.validating import BOTH, SUB, V1, V2, changed, refusal


@pytest.mark.parametrize(
    "iri",
    [
        "http://a",
        "https://user:pw@example.com:8443/a/b;c?d=e&f=%C3%A9#g",
        "https://例え.example/パス?クエリ",
        "http://[2001:db8::1]:80/x",
        "urn:uuid:8f87ccde-bb56-4c2e-ab83-44982ef22df0",
        "tag:example.com,2026:a",
        "mailto:ann@example.com",
    ],
)
def test_accepts_iri(iri: str) -> None:
    validate(changed("object/id", iri), V1)


@pytest.mark.parametrize(
    "iri",
    [
        *("", "course/7", "//example.com/x", "ab=c://x", "1a:b", ":x", "é:b"),
        *("http://a b", "http://a/%2", "http://a/%zz", "http://a/[x]", "http://a/?b[]=1", "http://a/<x>", 'http://a/"'),
        *("http://a/\\b", "http://a/{x}", "http://a|b", "http://a/^", "http://a/x\n", "http://a/\x00", "http://a#b#c"),
        *("http://a:port/", "http://[zz]/", "http://a/\ue000", "http://a/\ud800"),
    ],
)
def test_refuses_iri(iri: str) -> None:
    assert str(refusal(changed("object/id", iri))) == "object.id: must be an IRI with a scheme (xAPI-Data 2.4.4.1)"


@pytest.mark.parametrize(
    "tag",
    [
        *("en", "EN-us", "cmn", "zh-cmn-Hans-CN", "sr-Latn-RS", "es-419", "sl-rozaj-biske", "de-CH-1901", "und"),
        *("de-CH-x-phonebk", "en-US-u-islamcal", "zh-CN-a-myext-x-private", "x-whatever", "i-klingon", "en-GB-oed"),
    ],
)
def test_accepts_language_tag(tag: str) -> None:
    validate(changed("verb/display", {tag: "x"}), V1)
    validate(changed("context/language", tag), V1)


@pytest.mark.parametrize(
    "tag",
    [
        *("", "e", "english-", "something", "a12345678", "en_US", "en--US", "en-something-AU", "s-something", "-en"),
        *("en-US-", "de-419-DE", "a-DE", "en-x", "ar-a", "x", "en ", "en-US\n", "én", "i-unknown"),
    ],
)
def test_refuses_language_tag(tag: str) -> None:
    assert refusal(changed("context/language", tag)).path == "context.language"
    assert refusal(changed("verb/display", {"en": "x", tag: "y"})).path.startswith("verb.display")


@pytest.mark.parametrize(
    "duration",
    ["P3Y", "P4W", "P0.5Y", "PT0S", "P1DT12H36M0.12567S", "P3Y1M29DT4H35M59,14S", "PT16559.14S", "P1M", "PT1M"],
)
def test_accepts_duration(duration: str) -> None:
    validate(changed("result/duration", duration), V1)


@pytest.mark.parametrize(
    "duration",
    [
        *("", "P", "PT", "P1", "1D", "P1DT", "P4W1D", "P1D4W", "-PT1S", "PT-1S", "P1S", "PT1D", "P1D1Y", "pt1s"),
        *("PT1.5H3M", "P1.D", "PT.5S", "P0003-06-04T12:30:05", "PT1S\n", "PT\u0661S", 60, None),
    ],
)
def test_refuses_duration(duration: object) -> None:
    assert refusal(changed("result/duration", duration)).path == "result.duration"


@BOTH
@pytest.mark.parametrize("name", ["timestamp", "stored"])
@pytest.mark.parametrize(
    "stamp", ["2026-03-02T09:41:27Z", "2024-02-29T23:59:59.123456789+05:30", "2026-03-02T09:41:27-01:00"]
)
def test_accepts_timestamp(stamp: str, name: str, version: Version) -> None:
    validate(changed(name, stamp), version)


@pytest.mark.parametrize(
    "stamp",
    [
        *("2026-03-02T09:41:27", "2026-03-02T09:41Z", "2026-03-02T09Z", "20260302T094127Z", "2026-03-02T09:41:27+0000"),
        *("2026-03-02T09:41:27+00", "2026-03-02T09:41:27,5Z", "2026-W10-1T09:41:27Z"),
    ],
)
def test_2_0_wants_rfc_3339_where_1_0_3_takes_iso_8601(stamp: str) -> None:
    validate(changed("timestamp", stamp), V1)
    assert refusal(changed("timestamp", stamp), V2).path == "timestamp"


@BOTH
@pytest.mark.parametrize(
    "stamp",
    [
        *(
            "",
            "yesterday",
            "2026-03-02",
            "09:41:27Z",
            "2026-03-02 09:41:27Z",
            "2026-03-02t09:41:27z",
            "02.03.2026T09:41",
        ),
        *("2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-03-02T25:00:00Z", "2026-03-02T09:60:00Z"),
        *("2026-03-02T09:41:27-00:00", "2026-03-02T09:41:27-0000", "2026-03-02T09:41:27-00"),
        *("2026-03-02T09:41:27.Z", "2026-03-02T09:41:27+25:00", "2026-03-02T09:41:27Z\n", "\u0662026-03-02T09:41:27Z"),
        *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-01:00"),
        *(1772444487, None),
    ],
)
def test_refuses_timestamp(stamp: object, version: Version) -> None:
    assert refusal(changed("timestamp", stamp), version).path == "timestamp"
    assert refusal(changed("object/timestamp", stamp, SUB), version).path == "object.timestamp"


@pytest.mark.parametrize(
    "mbox",
    [
        *(
            "",
            "ann@example.com",
            "mailto:",
            "mailto:ann",
            "mailto:@example.com",
            "mailto:ann@",
            "MAILTO:ann@example.com",
        ),
        *("mailto:ann@b@c.example", "mailto:ann@example.com,bo@example.com", "mailto:ann@example.com?subject=x"),
        *("mailto:an n@example.com", "mailto:<ann@example.com>", "mailto:ann@example..com", "mailto:ann@example.com\n"),
        *("http://ann@example.com", "mailto://ann@example.com/", 7),
    ],
)
def test_refuses_mbox(mbox: object) -> None:
    assert refusal(changed("actor", {"mbox": mbox})).path == "actor.mbox"


@pytest.mark.parametrize(
    ("path", "hostile"),
    [
        ("object/id", "http://" + "a:" * 50_000 + " "),
        ("object/id", "http:" + "%20" * 50_000 + "%"),
        ("context/language", "en" + "-abcde" * 50_000 + "-"),
        ("context/language", "en" + "-a-bb" * 50_000 + "-"),
        ("result/duration", "PT" + "1" * 100_000),
        ("actor", {"mbox": "mailto:" + "a." * 50_000 + "@" + "b." * 50_000}),
        ("attachments/0/contentType", "a/b" + "; a=b" * 50_000 + ";"),
        ("timestamp", "2026-03-02T09:41:27." + "1" * 100_000),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 else "",
)
def test_long_malformed_strings_are_refused_without_backtracking(path: str, hostile: object) -> None:
    assert len(str(refusal(changed(path, hostile), V2))) < 200
