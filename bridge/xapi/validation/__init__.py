"""Is this a valid xAPI statement? For 1.0.3 and 2.0 (IEEE 9274.1.1-2023), from the bytes of a request on.

Only what a statement says by itself is judged: syntax, types, properties and the rules between them. What needs the
store (is the id known, may this sender void) or the rest of the request (attachment bodies, JWS signatures, the
``statementId`` of a PUT) is for the LRS resources. Nothing here changes what it is given.
"""

import enum

from bridge.xapi.validation.loading import loads
from bridge.xapi.validation.shapes import InvalidStatement, Json
from bridge.xapi.validation.statement import STATEMENT_1_0_3, STATEMENT_2_0_0

__all__ = ["InvalidStatement", "Version", "loads", "validate", "validate_batch"]


class Version(enum.StrEnum):
    """The rules to apply, as the header X-Experience-API-Version negotiated them; equal to its string."""

    V1_0_3 = "1.0.3"
    V2_0_0 = "2.0.0"


_STATEMENT = {Version.V1_0_3: STATEMENT_1_0_3, Version.V2_0_0: STATEMENT_2_0_0}


def validate(statement: object, version: Version) -> None:
    """Raises `InvalidStatement` with the first rule that the statement, as decoded from JSON, breaks."""
    if not isinstance(statement, dict):
        raise InvalidStatement("", "a statement must be a JSON object (xAPI-Data 2.2)")
    _STATEMENT[version](statement)


def validate_batch(body: object, version: Version) -> list[Json]:
    """The statements of a POST body, which is one statement or a list of at least one, all valid.

    Raises `InvalidStatement` for the first that is not (paths start with its place in the list, as ``[3].verb.id``),
    and where two share one id: the whole request is to be refused then (xAPI-Communication 2.1.2).
    """
    if isinstance(body, dict):
        validate(body, version)
        return [body]
    if not isinstance(body, list) or not body:
        raise InvalidStatement("", "the body must be a statement or a list of at least one (xAPI-Communication 2.1.2)")
    ids: set[str] = set()
    for index, statement in enumerate(body):
        try:
            validate(statement, version)
        except InvalidStatement as fault:
            raise fault.inside(f"[{index}]") from None
        own = statement.get("id", str(index)).lower()
        if own in ids:
            rule = "is also the id of an earlier statement of this batch (xAPI-Communication 2.1.2)"
            raise InvalidStatement(f"[{index}].id", rule)
        ids.add(own)
    return body
