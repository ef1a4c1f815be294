"""Any xAPI LRS: statements out in batches, byte by byte as they are given, and read back.

What is made of each answer follows xAPI 1.0.3 part three, section 2.1 (POST and GET statements), and how LRSs differ:
https://github.com/adlnet/xAPI-Spec/blob/1.0.3/xAPI-Communication.md#stmtres
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urljoin

from requests import Response

from bridge.connect import (
    ConfigError,
    Connector,
    ConnectorError,
    Examinable,
    Finding,
    Health,
    Http,
    Manifest,
    Rejected,
    Statement,
    StatementArchive,
    StatementSink,
    StoredPage,
    TooLarge,
    UnexpectedPayload,
)
from connectors.lrs import body, comparing, examination, reading
from connectors.lrs.config import LrsConfig

__all__ = ["Lrs", "LrsConfig"]

_REFUSALS = (400, 409, 413, 422)
_PAGE = 250
#: A walk has an end: that many pages hold more than any LRS gives in the life of its ``more`` links.
_MOST_PAGES = 1_000_000


class Lrs(Connector[LrsConfig], StatementSink, StatementArchive, Examinable):
    """One LRS by one credential."""

    manifest = Manifest(
        key="lrs",
        name="xAPI LRS",
        summary="Sends statements to any LRS that speaks xAPI 1.0.3 or 2.0.0, and reads them back.",
        api_docs="https://github.com/adlnet/xAPI-Spec/blob/1.0.3/xAPI-Communication.md",
        verified="live",
        proof="Sent to and read back from Learning Locker's statements service and Ralph: new, known and conflicting.",
    )
    config_class = LrsConfig

    def __init__(self, config: LrsConfig, http: Http) -> None:
        super().__init__(config, http)
        self._endpoint = config.address
        self._lrs = config.client(http)

    def check(self) -> Health:
        """Reading one statement proves address and credentials; nothing is written."""
        answer = self._call("GET", "statements", params={"limit": 1})
        self._object(answer)
        works = [f"{self._endpoint} answers as an LRS", "the credentials may read statements"]
        missing = []
        versions = self._versions()
        if versions and not any(version[:3] == self.config.version[:3] for version in versions):
            missing.append(f"it speaks xAPI {', '.join(versions)}: set `version` to one of these")
        elif versions:
            works.append(f"it speaks xAPI {', '.join(versions)}")
        if words := reading.wrong_clock(answer):
            missing.append(words)
        return Health(tuple(works), tuple(missing))

    def send(self, statements: Sequence[Statement]) -> None:
        """One POST of the given bytes; see StatementSink for what is raised."""
        if not statements:
            return
        data, content_type = body.of(statements)
        answer = self._call("POST", "statements", data=data, headers={"Content-Type": content_type}, ok=_REFUSALS)
        if answer.status_code == 409 and len(statements) == 1:
            self._settle(statements[0], answer)
        elif answer.status_code in _REFUSALS:
            raise self._refused(answer, len(statements))
        elif answer.status_code != 204:
            self._confirm(answer, statements)

    def stored(self, since: dt.datetime | None) -> Iterator[StoredPage]:
        """All statements by the time when they were stored (xAPI 1.0.3 part three, section 2.1.3), along ``more``."""
        params: dict[str, Any] = {"ascending": "true", "format": "exact", "attachments": "false", "limit": _PAGE}
        if since is not None:
            params["since"] = since.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        url, seen = "statements", set[str]()
        while url and url not in seen:
            if len(seen) == _MOST_PAGES:
                raise UnexpectedPayload(f"{self._lrs.system} gives more than {_MOST_PAGES} pages of statements")
            seen.add(url)
            answer = self._call("GET", url, params=params)
            page = self._object(answer)
            yield StoredPage(tuple(page["statements"]), reading.through(answer))
            more = str(page.get("more") or "")
            url, params = self._next(answer, more) if more else "", {}

    def _next(self, answer: Response, more: str) -> str:
        """Where ``more`` leads to: relative to the server's root, and no other server is asked (``Http.url``)."""
        try:
            return self._lrs.url(urljoin(answer.url, more))
        except ValueError:
            shown = self._lrs.redact(more)[:200]
            raise UnexpectedPayload(f"{self._lrs.system} names a next page that is no address: {shown}") from None

    def find(self, statement_id: str, *, voided: bool = False) -> Mapping[str, Any] | None:
        """One statement as it is stored there."""
        answer = self._look_up(statement_id, voided=voided)
        return None if answer.status_code == 404 else self._found(answer, statement_id)

    def examine(self, *, write: bool) -> Iterator[Finding]:
        """Endpoint, versions, rights, clock, size: see ``connectors.lrs.examination``."""
        return examination.examine(self.config, self.http, write=write)

    def _call(self, method: str, path: str, ok: Sequence[int] = (), **kwargs: Any) -> Response:
        """One request; an address where no LRS answers is for an admin to mend, and no statement's fault."""
        try:
            answer = self._lrs.request(method, path, ok=(*ok, 404, 405), **kwargs)
        except Rejected as error:
            raise ConfigError(str(error), detail=error.detail) from None
        if answer.status_code in (404, 405) and answer.status_code not in ok:
            raise ConfigError(
                f"{self._lrs.system} answered {answer.status_code} to {method} {self._lrs.url(path)}: check the"
                " endpoint, the address that /statements comes after (it often ends in /xapi, /xAPI or /data/xAPI)"
            )
        return answer

    def _look_up(self, statement_id: str, *, voided: bool, ok: Sequence[int] = ()) -> Response:
        parameter = "voidedStatementId" if voided else "statementId"
        params = {parameter: statement_id, "format": "exact", "attachments": "false"}
        return self._call("GET", "statements", params=params, ok=(404, *ok))

    def _found(self, answer: Response, statement_id: str) -> Mapping[str, Any] | None:
        """The statement that was asked for; some LRSs wrap it in a list, or answer an empty one where it is not."""
        found = reading.parsed(answer)
        if (page := reading.page(answer)) is not None:
            found = page["statements"][0] if page["statements"] else {"id": None}
        if not isinstance(found, dict) or "id" not in found:
            raise self._no_lrs("GET", answer)
        return found if str(found["id"]).lower() == statement_id.lower() else None

    def _object(self, answer: Response) -> dict[str, Any]:
        """A StatementResult; anything else is no LRS, a sign-in page or a proxy."""
        if (page := reading.page(answer)) is not None:
            return page
        raise self._no_lrs("GET", answer)

    def _no_lrs(self, method: str, answer: Response) -> ConfigError:
        kind = answer.headers.get("Content-Type", "something")
        return ConfigError(
            f"{self._lrs.system} answered {answer.status_code} to {method} {self._endpoint}/statements with {kind}, and"
            " not as an LRS does: check the endpoint, and that no sign-in page or proxy answers in its place",
            detail=self._said(answer),
        )

    def _said(self, answer: Response) -> str:
        return self._lrs.redact(reading.said(answer))[:500].strip()

    def _refused(self, answer: Response, count: int) -> Rejected:
        what = f"{count} statements" if count > 1 else "a statement"
        said = self._said(answer)
        words = f"{self._lrs.system} refused {what} with {answer.status_code}" + (f": {said}" if said else "")
        return (TooLarge if reading.is_too_large(answer) else Rejected)(words, detail=said)

    def _confirm(self, answer: Response, statements: Sequence[Statement]) -> None:
        """The ids in the answer must be of ours, as a set: an LRS may leave out those that it had already."""
        ids = reading.parsed(answer)
        if not isinstance(ids, list) or not all(isinstance(stored, str) for stored in ids):
            raise self._no_lrs("POST", answer)
        ours = {statement.id for statement in statements}
        if not ours.issuperset(ids) and {stored.lower() for stored in ids} - {known.lower() for known in ours}:
            raise UnexpectedPayload(
                f"{self._lrs.system} answered POST {self._endpoint}/statements with ids of other statements"
            )

    def _settle(self, statement: Statement, answer: Response) -> None:
        """A conflict on one statement: fine when the LRS has the same one, voided or not."""
        told = f"{self._lrs.system} has a conflict on the statement {statement.id}: it answered 409"
        for voided in (False, True):
            found = self._look_up(statement.id, voided=voided, ok=(400, 401, 403))
            if found.ok and (kept := self._found(found, statement.id)):
                break
        else:
            raise Rejected(
                f"{told}, and shows none under that id ({found.status_code}), so it could not be compared",
                detail=self._said(answer),
            )
        if not comparing.same(json.loads(statement.payload), kept):
            raise Rejected(f"{told}, and has another one under that id", detail=self._said(answer))

    def _versions(self) -> list[str]:
        try:
            return reading.versions(self._lrs.request("GET", "about"))
        except ConnectorError:
            return []
