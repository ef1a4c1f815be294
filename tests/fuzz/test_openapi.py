"""Every address of the OpenAPI description, with what it describes and what it does not: never a fault of ours."""

from __future__ import annotations

from typing import Any

import requests
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode

from bridge.flows import identity
from bridge.flows.runtime import Runtime
from tests.fuzz.answers import EXAMPLES, some

BASE = "http://bridge.test"


def test_no_request_makes_the_app_fail(server: TestClient, bridge: Runtime) -> None:
    credential = identity.create_credential(bridge, "fuzz", list(identity.SCOPES))
    described = server.get("/openapi.json").json()
    assert "/api/v1/events" in described["paths"]
    for made in schemathesis.openapi.from_dict(described).get_all_operations():
        _try(server, made.ok(), credential)


def _try(server: TestClient, operation: APIOperation[Any, Any, Any, Any], credential: tuple[str, str]) -> None:
    @settings(some, max_examples=max(2, EXAMPLES // 12))
    @given(case=_cases(operation), known=st.booleans())
    def never_fails(case: Case, known: bool) -> None:
        asked = requests.Request(
            **case.as_transport_kwargs(base_url=BASE), auth=credential if known else None
        ).prepare()
        answer = server.request(
            asked.method or "", asked.url or "", content=asked.body, headers=dict(asked.headers), follow_redirects=False
        )
        assert answer.status_code < 500, (operation.label, answer.status_code, answer.text)

    never_fails()


def _cases(operation: APIOperation[Any, Any, Any, Any]) -> st.SearchStrategy[Case]:
    fits, fits_not = (operation.as_strategy(mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE))
    return st.one_of(fits, fits_not)
