"""The contract suites: a connector's test subclasses one for each of its capabilities, with data only.

    class TestAcme(CatalogContract, WriteBackContract):
        connector_class = Acme
        config: ClassVar = {"base_url": "https://acme.example", "token": "token-for-tests"}
        answers = (Answer("GET", "/courses", json=COURSES), Answer("PUT", "/completions", status=204))
        golden_assets = HERE / "acme" / "assets.json"
        outcome = an_outcome(asset_external_id="4", account_id="17")

The system is played by :class:`Answer` values (recorded replies) or by functions that make one from the request; a
request that none of them fits fails the test, and so does a request without a timeout. Golden files hold a JSON list of
what :func:`plain` makes of each value; a missing one fails with the text that it would hold.

Needs pytest and responses, which flowbridge itself does not depend on at run time.
"""

from __future__ import annotations

import pytest

_MODULES = ("connector", "golden", "played", "statements", "triggers", "walks", "writes")
pytest.register_assert_rewrite(*(f"bridge.connect.testing.{module}" for module in _MODULES))

from bridge.connect.testing.connector import ENTRY_POINTS, FAILURES, ConnectorContract, covered_capabilities  # noqa: E402
from bridge.connect.testing.golden import assert_golden, plain  # noqa: E402
from bridge.connect.testing.played import (  # noqa: E402
    SIGN_IN_PAGE,
    Answer,
    Answers,
    Fake,
    everything,
    said_on_the_wire,
    sent,
    system_played_by,
    unreachable,
)
from bridge.connect.testing.statements import (  # noqa: E402
    ExaminableContract,
    StatementArchiveContract,
    StatementSinkContract,
)
from bridge.connect.testing.triggers import TriggerContract  # noqa: E402
from bridge.connect.testing.walks import CatalogContract, PollContract, RosterContract  # noqa: E402
from bridge.connect.testing.writes import PROMPT, ChannelContract, WriteBackContract, an_outcome  # noqa: E402

__all__ = [
    "ENTRY_POINTS",
    "FAILURES",
    "PROMPT",
    "SIGN_IN_PAGE",
    "Answer",
    "Answers",
    "CatalogContract",
    "ChannelContract",
    "ConnectorContract",
    "ExaminableContract",
    "Fake",
    "PollContract",
    "RosterContract",
    "StatementArchiveContract",
    "StatementSinkContract",
    "TriggerContract",
    "WriteBackContract",
    "an_outcome",
    "assert_golden",
    "covered_capabilities",
    "everything",
    "plain",
    "said_on_the_wire",
    "sent",
    "system_played_by",
    "unreachable",
]
