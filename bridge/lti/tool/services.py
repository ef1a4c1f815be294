"""The services of an LMS, asked with a token: who is in the course (NRPS 2.0), and the gradebook (AGS 2.0).

A client of its own over :class:`bridge.connect.Http`. Of pylti1p3's service classes nothing could stay as it is: they
lower-case page links, keep tokens without an end, have no timeouts, and load the key for every signature.

Where the LMS refuses, what comes next decides the error: ConfigError (the registration is at fault), LinkRefused (this
one link is), Rejected (this one score is), Retryable.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

import orjson
import requests

from bridge.connect import Rejected, Retryable, UnexpectedPayload
from bridge.connect.http import origin, retry_after_seconds
from bridge.lti.host import Host
from bridge.lti.tool import service_tokens
from bridge.lti.tool.launches import full_role
from bridge.lti.tool.platforms import Platform
from bridge.lti.vocabulary import LINE_ITEM, MEMBERS_READ, PRODUCT, RESULT_READ, SCORE

MEMBERS_TYPE = "application/vnd.ims.lti-nrps.v2.membershipcontainer+json"
ITEMS_TYPE = "application/vnd.ims.lis.v2.lineitemcontainer+json"
ITEM_TYPE = "application/vnd.ims.lis.v2.lineitem+json"
SCORE_TYPE = "application/vnd.ims.lis.v1.score+json"
RESULTS_TYPE = "application/vnd.ims.lis.v2.resultcontainer+json"
#: The maximum of every score that is sent, and of the line items that are made.
MAXIMUM = 100.0
#: How many members are asked for at once; how many pages a list has at most.
PAGE, PAGES = 200, 1000
_LONGEST_SUBJECT, _LONGEST_WORDS = 255, 200
_ANY_STATUS = tuple(range(300, 600))
_RELATION = re.compile(r"<([^>]*)>([^<]*)")
_NEXT = re.compile(r"rel\s*=\s*[\"'“”]?[^\"'“”;,]*\bnext\b", re.IGNORECASE)


class LinkRefused(Rejected):
    """The LMS takes nothing at this address any more: the link or the right is gone there."""


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """Somebody in a course; ``roles`` are full names, and ``active`` is False for the statuses Inactive and Deleted."""

    subject: str
    roles: tuple[str, ...]
    active: bool
    #: name, given_name, family_name, email, sourcedid: what the LMS tells of them.
    told: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What the gradebook has: a share from 0 to 1, and since when where the LMS says so."""

    share: float
    at: dt.datetime | None


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """A final score: ``points`` of :data:`MAXIMUM`. Others are never sent: Moodle erases the grade at one."""

    subject: str
    points: float
    completed: bool

    def to_json(self, at: dt.datetime) -> dict[str, Any]:
        """AGS 2.0 section 3.4.1. ``at`` is when it is sent: an LMS compares it with its own last write."""
        return {
            "userId": self.subject,
            "scoreGiven": self.points,
            "scoreMaximum": MAXIMUM,
            "activityProgress": "Completed" if self.completed else "InProgress",
            "gradingProgress": "FullyGraded",
            "timestamp": at.isoformat(timespec="milliseconds"),
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Services:
    """The services of one platform. Every method raises a ConnectorError that says what comes next."""

    host: Host
    platform: Platform

    def members(self, address: str) -> Iterator[list[Member]]:
        """The members of the context at its memberships address, page by page to the end."""
        url: str | None = _with(address, limit=str(PAGE))
        seen: set[str] = set()
        while url is not None:
            if url in seen or len(seen) == PAGES or origin(url) != origin(address):
                raise UnexpectedPayload(f"{self._name} lists members without an end, or elsewhere", field="Link")
            seen.add(url)
            response = self._ask("GET", url, (MEMBERS_READ,), accept=MEMBERS_TYPE)
            yield _members(self._object(response))
            url = next_page(response)

    def put_score(self, line_item: str, score: Score, at: dt.datetime) -> bool:
        """Send a score; False says that the LMS has a later one (409)."""
        body = orjson.dumps(score.to_json(at))
        url = _below(line_item, "/scores")
        return self._ask("POST", url, (SCORE,), sent=SCORE_TYPE, body=body, ok=(409,)).status_code != 409

    def result_of(self, line_item: str, subject: str) -> Result | None:
        """What the gradebook has for somebody, None where that is nothing."""
        # Never with a limit: Moodle answers one with a page of HTML.
        url = _with(_below(line_item, "/results"), user_id=subject)
        answer = self._list(self._ask("GET", url, (RESULT_READ,), accept=RESULTS_TYPE))
        return next((_result(row) for row in answer if row.get("userId") == subject and _graded(row)), None)

    def line_item(self, line_items: str, resource_link: str, label: str, resource_id: str) -> str:
        """The address of the link's own line item in a container: found, or made where there is none."""
        own = {"resource_id": resource_id, "tag": PRODUCT}
        for wanted in ({"resource_link_id": resource_link}, own):
            response = self._ask("GET", _with(line_items, **wanted), (LINE_ITEM,), accept=ITEMS_TYPE)
            fits = [row for row in self._list(response) if _fits(row, resource_link, own)]
            if fits:
                return _id(min(fits, key=lambda row: row.get("tag") != PRODUCT))
        item = {
            "label": label,
            "scoreMaximum": MAXIMUM,
            "resourceLinkId": resource_link,
            "resourceId": resource_id,
            "tag": PRODUCT,
        }
        body = orjson.dumps(item)
        return _id(
            self._object(self._ask("POST", line_items, (LINE_ITEM,), sent=ITEM_TYPE, accept=ITEM_TYPE, body=body))
        )

    @property
    def _name(self) -> str:
        return f"the LMS '{self.platform.name}'"

    def _ask(
        self,
        method: str,
        url: str,
        scopes: tuple[str, ...],
        *,
        accept: str = "application/json",
        sent: str = "",
        body: bytes | None = None,
        ok: tuple[int, ...] = (),
    ) -> requests.Response:
        """Send a request with a token; a refused token is dropped and asked for again, once."""
        client = service_tokens.client(self.host, self.platform, url)
        headers = {"Accept": accept, **({"Content-Type": sent} if sent else {})}
        for token in service_tokens.tokens(self.host, self.platform, scopes):
            response = client.request(
                method, url, ok=_ANY_STATUS, data=body, headers={**headers, "Authorization": f"Bearer {token}"}
            )
            if response.status_code != 401:
                break
        if response.status_code < 300 or response.status_code in ok:
            return response
        raise self._refusal(method, response)

    def _refusal(self, method: str, response: requests.Response) -> Retryable | Rejected:
        status, words = response.status_code, reason(response)
        said = f"{self._name} answered {status} to {method} {urlsplit(response.url).path}"
        said += f": {words}" if words else ""
        if status in (408, 425, 429) or status >= 500:
            return Retryable(said, retry_after=retry_after_seconds(response.headers.get("Retry-After")))
        if status in (401, 403, 404, 405, 410):
            return LinkRefused(f"{said}; open the content from the course once more, or place it there again")
        return Rejected(said)

    def _object(self, response: requests.Response) -> dict[str, Any]:
        value = self._json(response)
        if not isinstance(value, dict):
            raise UnexpectedPayload(f"{self._name} answered {urlsplit(response.url).path} with no JSON object")
        return value

    def _list(self, response: requests.Response) -> list[dict[str, Any]]:
        value = self._json(response)
        if not isinstance(value, list):
            raise UnexpectedPayload(f"{self._name} answered {urlsplit(response.url).path} with no JSON list")
        return [row for row in value if isinstance(row, dict)]

    def _json(self, response: requests.Response) -> Any:
        try:
            return orjson.loads(response.content)
        except orjson.JSONDecodeError:
            raise UnexpectedPayload(f"{self._name} answered {urlsplit(response.url).path} with no JSON") from None


def next_page(response: requests.Response) -> str | None:
    """The address of the next page (RFC 8288), as Moodle writes it too: curly quotes, ``&amp;``, many relations."""
    header = response.headers.get("Link", "")
    text = header.encode("latin-1", "replace").decode("utf-8", "replace")  # headers are read as latin-1
    for address, parameters in _RELATION.findall(text):
        if _NEXT.search(parameters):
            return str(urljoin(response.url, address.replace("&amp;", "&")))
    return None


def reason(response: requests.Response) -> str:
    """The LMS's own words: Moodle says them in the reason phrase alone, and echoes the whole request after them."""
    phrase = response.reason or ""
    text = phrase.decode("utf-8", "replace") if isinstance(phrase, bytes) else phrase
    return re.split(r"[{\[]", text, maxsplit=1)[0].strip()[:_LONGEST_WORDS]


def _below(address: str, path: str) -> str:
    """An address below another one: the path goes on, the query stays."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + path))


def _with(address: str, **parameters: str) -> str:
    parts = urlsplit(address)
    kept = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in parameters]
    return urlunsplit(parts._replace(query=urlencode([*kept, *parameters.items()])))


def _members(container: Mapping[str, Any]) -> list[Member]:
    listed = container.get("members")
    if not isinstance(listed, list):
        raise UnexpectedPayload("a list of members has no members", field="members")
    return [_member(row) for row in listed if isinstance(row, dict) and _is_subject(row.get("user_id"))]


def _is_subject(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_SUBJECT and "\x00" not in value


def _member(row: Mapping[str, Any]) -> Member:
    names = {
        "name": "name",
        "given_name": "given_name",
        "family_name": "family_name",
        "email": "email",
        "sourcedid": "lis_person_sourcedid",
    }
    roles = row.get("roles")
    texts = [role for role in roles if isinstance(role, str) and "\x00" not in role] if isinstance(roles, list) else []
    return Member(
        subject=row["user_id"],
        roles=tuple(sorted({full_role(role) for role in texts})),
        active=row.get("status", "Active") == "Active",
        told={ours: row[theirs] for ours, theirs in names.items() if isinstance(row.get(theirs), str)},
    )


def _graded(row: Mapping[str, Any]) -> bool:
    numbers = (row.get("resultScore"), row.get("resultMaximum", 1))
    return all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers)


def _result(row: Mapping[str, Any]) -> Result:
    maximum = row.get("resultMaximum", 1) or 1
    try:
        at = dt.datetime.fromisoformat(row.get("timestamp", ""))
    except (ValueError, TypeError):
        at = None
    return Result(row["resultScore"] / maximum, at if at is not None and at.tzinfo else None)


def _fits(row: Mapping[str, Any], resource_link: str, own: Mapping[str, str]) -> bool:
    """Is it the link's? Filters are only a wish: some LMSs list everything."""
    if not isinstance(row.get("id"), str):
        return False
    return row.get("resourceLinkId") == resource_link or (
        not row.get("resourceLinkId") and (row.get("resourceId"), row.get("tag")) == (own["resource_id"], own["tag"])
    )


def _id(row: Mapping[str, Any]) -> str:
    address = row.get("id")
    if not isinstance(address, str) or not address.startswith(("https://", "http://")):
        raise UnexpectedPayload("a line item has no address", field="id")
    return address
