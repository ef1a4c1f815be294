"""What the built-in LRS makes of requests and rows, for xAPI 1.0.3 and 2.0 alike: no HTTP, no transactions.

Received statements are kept as the bytes they came in. What an LRS adds (``id``, ``timestamp``, ``stored``,
``authority``, ``version``) is put beside those bytes, so that no number or text is ever written anew.
"""

from bridge.xapi.ledger import instant
from bridge.xapi.lrs.comparing import same
from bridge.xapi.lrs.negotiating import languages, negotiated
from bridge.xapi.lrs.query import EVERYTHING, MOST, Query, Readable, statement_id
from bridge.xapi.lrs.reading import TooMany, read_batch, read_one
from bridge.xapi.lrs.showing import Form, Kept, listed, multipart, shown

__all__ = [
    "EVERYTHING",
    "MOST",
    "Form",
    "Kept",
    "Query",
    "Readable",
    "TooMany",
    "instant",
    "languages",
    "listed",
    "multipart",
    "negotiated",
    "read_batch",
    "read_one",
    "same",
    "shown",
    "statement_id",
]
