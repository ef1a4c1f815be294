"""What is put into a statement is there afterwards, and all that was there is as it was, byte for byte."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.xapi.enrich import put_in

ADDITION = {
    "context": {
        "registration": "r",
        "contextActivities": {"category": [{"id": "urn:a"}], "grouping": [{"id": "urn:b"}, {"id": "urn:c"}]},
        "extensions": {"urn:x": {"deep": 1}, "urn:y": "words"},
    }
}
activity = st.fixed_dictionaries({"id": st.sampled_from(["urn:a", "urn:b", "urn:z"])})
context = st.fixed_dictionaries(
    {},
    optional={
        "registration": st.just("mine"),
        "platform": st.text(),
        "contextActivities": st.fixed_dictionaries(
            {},
            optional={kind: activity | st.lists(activity, max_size=2) for kind in ("category", "grouping", "other")},
        ),
        "extensions": st.dictionaries(st.sampled_from(["urn:x", 'urn:é"\\', "urn:z"]), st.integers() | st.text()),
    },
)
statement = st.fixed_dictionaries({"id": st.text()}, optional={"context": context, "result": st.floats(0, 1)})


def merged(there: Any, addition: Any) -> Any:
    """What must come out, said plainly."""
    if isinstance(addition, dict) and isinstance(there, dict):
        kept = {name: merged(value, addition.get(name)) for name, value in there.items()}
        return kept | {name: value for name, value in addition.items() if name not in there}
    if isinstance(addition, list):
        known = there if isinstance(there, list) else [there]
        lacking = [item for item in addition if item["id"] not in [one["id"] for one in known]]
        return [*known, *lacking] if lacking else there
    return there


@given(statement, st.sampled_from([None, 1, "\t"]), st.booleans(), st.sampled_from([(",", ":"), (" , ", " : ")]))
def test_it_is_put_in_and_everything_else_stays(
    said: dict[str, Any], indent: Any, ascii_only: bool, separators: tuple[str, str]
) -> None:
    sent = json.dumps(said, indent=indent, ensure_ascii=ascii_only, separators=separators)
    kept = put_in(sent.encode(), ADDITION)
    assert json.loads(kept) == merged(said, ADDITION)
    left = iter(kept.decode())
    assert all(character in left for character in sent), "what was sent is there, in its order"
    assert put_in(kept, ADDITION) == kept


@pytest.mark.parametrize(
    "sent", ['{"score":1.50,"context":{}}', '{"score":1E2 ,"context" :\n{ }\n}', '{"context":{"platform":"\\u00e9"}}']
)
def test_numbers_and_escapes_are_not_rewritten(sent: str) -> None:
    kept = put_in(sent.encode(), {"context": {"registration": "r"}}).decode()
    at = sent.index("}", sent.index("platform") if "platform" in sent else 0)
    assert kept.startswith(sent[:at]) and kept.endswith(sent[at:])
