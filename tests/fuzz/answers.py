"""What every answer must be, whatever was asked; and what of the database a refusal must leave as it is."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from sqlalchemy import func, select

from bridge.flows.runtime import Runtime
from bridge.store import tables

#: The usual run is short and always the same; FUZZ_EXAMPLES=5000 looks further, at random.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "25"))
some = settings(
    max_examples=EXAMPLES,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


#: Of an answer that has no body to say something in.
NO_WORDS = object()


def check(status: int, said: object) -> None:
    """No fault of ours, and a refusal in words: ``said`` is the decoded body of a refusal."""
    assert status < 500, (status, said)
    if status >= 400 and said is not NO_WORDS:
        assert isinstance(said, dict), said
        assert said["error"]["code"] and said["error"]["message"], said


def kept(runtime: Runtime) -> tuple[object, ...]:
    """What is stored, as few numbers."""
    statements = select(func.count(tables.Statement.seq), func.count(tables.Statement.voided_by))
    documents = select(func.count(tables.Document.id), func.max(tables.Document.updated_at))
    others = select(func.count(tables.StatementMention.mention)), select(func.count(tables.Attachment.sha2))
    with runtime.db.read() as session:
        return tuple(tuple(session.execute(query).one()) for query in (statements, documents, *others))
