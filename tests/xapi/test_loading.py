"""From bytes to values: JSON that two readers could understand differently is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.xapi.validation import InvalidStatement, loads
from tests.xapi.validating import BASE


def test_loads_json() -> None:
    assert loads(json.dumps(BASE).encode()) == BASE
    assert loads('[{"a": 1, "b": {"a": 1}}, {"a": "\\ud83d\\ude00 é \\\\ud800"}]'.encode()) == [
        {"a": 1, "b": {"a": 1}},
        {"a": "😀 é \\ud800"},
    ]


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        (b'{"a": 1, "a": 1}', "^a: stands twice"),
        (b'[{"x": {"deep": [{"k": 1, "\\u006b": null}]}}]', "^k: stands twice"),
        (b"[NaN]", "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b"[1e999]", "range"),
        (b"[-1e999]", "range"),
        (b"[1" + b"0" * 309 + b"]", "range"),
        (b"-" + b"1" * 10_000, "range"),
        (b'"\xff"', "UTF-8, byte 1"),
        (b'"\xed\xa0\x80"', "UTF-8"),
        (b'\xff\xfe"\x00a\x00"\x00', "UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "JSON"),
        (b'["\\ud800"]', "surrogate"),
        (b'{"\\uDC00": 1}', "surrogate"),
        (b"", "JSON"),
        (b"{'a': 1}", "JSON"),
        (b"[1,]", "JSON"),
        (b"[1] [2]", "JSON"),
        (b'"a\nb"', "JSON"),
        (b"[" + b"1," * 2_000_000 + b"1]", "more than 2000000 values"),
        (b"[" * 101 + b"]" * 101, "deeper than 100"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "deeper than 100"),
        (b"[" * 1_000_000, "deeper than 100"),
        (b"[" * 1_000_000 + b"]" * 1_000_000, "deeper than 100"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_loads_refuses(raw: bytes, rule: str) -> None:
    with pytest.raises(InvalidStatement, match=rule):
        loads(raw)


def test_loads_takes_integers_as_large_as_floats() -> None:
    assert loads(b"[1" + b"0" * 308 + b"]") == [10**308]


def test_loads_takes_what_is_just_deep_enough() -> None:
    raw = b"[" * 100 + b"]" * 100
    assert json.dumps(loads(raw)).encode() == raw


def test_loads_never_shows_the_body() -> None:
    for raw in (b'{"a": s3cr3t}', b'"s3cr3t', b'{"a": "s3cr3t", "a": "s3cr3t"}', b'["s3cr3t\xff"]'):
        with pytest.raises(InvalidStatement) as caught:
            loads(raw)
        assert "s3cr3t" not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"


@settings(max_examples=300, deadline=None)
@given(raw=st.one_of(st.binary(max_size=60), st.text('[]{}",:\\u0019dD.eE+-ntrufalsN \n', max_size=40).map(str.encode)))
def test_any_bytes_load_as_the_standard_reader_would_or_are_refused(raw: bytes) -> None:
    try:
        value = loads(raw)
    except InvalidStatement:
        return
    assert value == json.loads(raw.decode())
