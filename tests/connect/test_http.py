"""The client that connectors call systems with."""

from __future__ import annotations

import datetime as dt

import pytest

from bridge.connect.http import retry_after_seconds

NOW = dt.datetime(1994, 11, 6, 8, 49, 7, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("30", 30.0),
        ("0.5", 0.5),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 30.0),
        ("Sun, 06 Nov 1994 08:49:37 -0000", 30.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 30.0),
        ("Sun Nov  6 08:49:37 1994", 30.0),
        ("Sat, 05 Nov 1994 08:49:37 GMT", 0.0),
        ("", None),
        ("-5", None),
        ("soon", None),
        (f"Sun, 06 Nov {'9' * 20} 08:49:37 GMT", None),
    ],
)
def test_a_system_may_say_in_each_form_of_http_when_to_come_back(said: str, seconds: float | None) -> None:
    assert retry_after_seconds(said, now=NOW) == seconds
