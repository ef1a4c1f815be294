"""A score of an LTI tool becomes an outcome of the launch: both in one transaction, or neither."""

from __future__ import annotations

import dataclasses

from bridge.flows import record_outcome
from bridge.flows.runtime import Runtime
from bridge.lti.platform import scores, tokens
from bridge.lti.platform.line_items import Gradebook


def receive(runtime: Runtime, authorization: str | None, context: str, item: str, body: bytes) -> None:
    """Take an AGS score (see :mod:`bridge.lti.platform.scores`) from the bearer of a service token; raises LtiError.

    ``context`` and ``item`` are the ids in the line item's address, ``body`` the request's bytes.
    """
    with runtime.db.read() as session:
        access = tokens.check(session, authorization)
    score = scores.parse(body)
    with runtime.db.write() as session:
        verdict = scores.put(Gradebook(runtime, session, access, context), item, score)
        if verdict is not None:
            told = {field.name: getattr(verdict, field.name) for field in dataclasses.fields(verdict)}
            record_outcome.record_in(runtime, session, told.pop("launch"), source="ags", **told)
    if verdict is not None:
        for queue in record_outcome.TOLD_BY:
            runtime.nudge(queue)
