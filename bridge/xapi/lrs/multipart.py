"""Bodies of several parts: statements with the contents of their attachments (xAPI-Communication 1.5.2)."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import itertools
import re
from collections.abc import Iterable
from email.message import Message
from email.parser import HeaderParser

from bridge.connect import Attached
from bridge.xapi.validation import InvalidStatement

_SECTION = "xAPI-Communication 1.5.2"
#: In characters, of a header and of the head of a part; and of parts. To read longer ones takes time in squares.
_LONGEST_HEADER, _LONGEST_HEAD, _MOST_PARTS = 300, 4_000, 10_000
#: A SHA-2 hash is known by the length of its hex form.
_HASHES = {56: hashlib.sha224, 64: hashlib.sha256, 96: hashlib.sha384, 128: hashlib.sha512}


@dataclasses.dataclass(frozen=True, slots=True)
class Body:
    """The JSON of a request, and the attachments that came with it, by their hash in lower case."""

    json: bytes
    attachments: dict[str, Attached] = dataclasses.field(default_factory=dict)


def opened(body: bytes, content_type: str) -> Body:
    """The parts of a request of statements; raises InvalidStatement where it has another form than the two allowed."""
    if len(content_type) > _LONGEST_HEADER:
        raise InvalidStatement("Content-Type", f"must have at most {_LONGEST_HEADER} characters")
    kind = _header(f"Content-Type: {content_type}")
    if kind.get_content_type() == "application/json" and content_type:
        return Body(body)
    if kind.get_content_type() != "multipart/mixed":
        raise InvalidStatement("Content-Type", "must be application/json or multipart/mixed (xAPI-Communication 1.5)")
    first, *others = _split(body, _boundary(kind))
    if _header(first[0]).get_content_type() != "application/json" or "content-type" not in _header(first[0]):
        raise InvalidStatement("parts[0]", f"must be of the Content-Type application/json ({_SECTION})")
    found = [_attachment(place, *part) for place, part in enumerate(others, start=1)]
    return Body(first[1], {one.sha2: one for one in found})


def _boundary(kind: Message) -> bytes:
    try:
        boundary = (kind.get_boundary() or "").encode()
    except (LookupError, UnicodeError):  # RFC 2231 lets it name a character set of its own
        boundary = b""
    if not boundary:
        raise InvalidStatement("Content-Type", f"must name the boundary of its parts ({_SECTION})")
    return boundary


def _split(body: bytes, boundary: bytes) -> list[tuple[str, bytes]]:
    """Head and content of each part (RFC 2046 5.1.1)."""
    # The first delimiter may stand at the very beginning; after the last one nothing counts.
    mark = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r?\n|\Z)")
    marks = list(itertools.islice(mark.finditer(body), _MOST_PARTS + 2))
    if len(marks) == _MOST_PARTS + 2:
        raise InvalidStatement("", f"the body must have at most {_MOST_PARTS} parts: send less at once")
    ends = [place for place, found in enumerate(marks) if found[1]]
    if not ends or ends[0] == 0:
        raise InvalidStatement("", f"the body must have parts between its boundaries, and end with one ({_SECTION})")
    parts: list[tuple[str, bytes]] = []
    for begin, end in itertools.pairwise(marks[: ends[0] + 1]):
        head, blank, content = re.sub(rb"\A\r?\n", b"", body[begin.end() : end.start()], count=1).partition(b"\r\n\r\n")
        if len(head) > _LONGEST_HEAD:
            raise InvalidStatement(f"parts[{len(parts)}]", f"must have a head of at most {_LONGEST_HEAD} bytes")
        if not blank:
            raise InvalidStatement(f"parts[{len(parts)}]", f"must have a head, an empty line, a content ({_SECTION})")
        parts.append((head.decode("latin-1"), content))
    return parts


def _attachment(place: int, head: str, content: bytes) -> Attached:
    headers, path = _header(head), f"parts[{place}]"
    if headers.get("Content-Transfer-Encoding", "").strip().lower() != "binary":
        raise InvalidStatement(f"{path}.Content-Transfer-Encoding", f"must be binary ({_SECTION})")
    sha2 = headers.get("X-Experience-API-Hash", "").strip().lower()
    if len(sha2) not in _HASHES:
        raise InvalidStatement(f"{path}.X-Experience-API-Hash", f"must be the SHA-2 hash of the part ({_SECTION})")
    if not hmac.compare_digest(_HASHES[len(sha2)](content).hexdigest().encode(), sha2.encode()):
        raise InvalidStatement(f"{path}.X-Experience-API-Hash", f"is not the hash of what the part holds ({_SECTION})")
    return Attached(sha2, headers.get("Content-Type", "application/octet-stream"), content)


def _header(text: str) -> Message:
    return HeaderParser().parsestr(text, headersonly=True)


def built(json: bytes, attachments: Iterable[Attached], boundary: str) -> bytes:
    """An answer of several parts."""
    pieces = [b"--%s\r\nContent-Type: application/json\r\n\r\n%s\r\n" % (boundary.encode(), json)]
    for one in attachments:
        head = (
            f"--{boundary}\r\nContent-Type: {one.content_type}\r\nContent-Transfer-Encoding: binary\r\n"
            f"X-Experience-API-Hash: {one.sha2}\r\n\r\n"
        )
        pieces += [head.encode(), one.content, b"\r\n"]
    return b"".join([*pieces, b"--%s--\r\n" % boundary.encode()])
