"""Any xAPI LRS: statements out in batches, byte by byte as they are stored here, and read back.

What is made of each answer follows xAPI 1.0.3 part three, section 2.1 (POST and GET statements), and how LRSs differ:
https://github.com/adlnet/xAPI-Spec/blob/1.0.3/xAPI-Communication.md#stmtres
"""

from __future__ import annotations

import base64
import datetime as dt
import email.utils
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Self
from urllib.parse import urljoin

from pydantic import Field, field_validator, model_validator
from requests import Response

from bridge.connect import (
    Config,
    ConfigError,
    Connector,
    ConnectorError,
    Health,
    Http,
    HttpUrl,
    Manifest,
    Rejected,
    SecretStr,
    StatementSink,
    UnexpectedPayload,
)

#: A clock that is further off than this puts statements in a wrong order.
SKEW = 60
_REFUSALS = (400, 409, 413, 422)
_SET_BY_THE_LRS = ("stored", "authority", "version")
_CONTEXT = ("parent", "grouping", "category", "other")
_ACTIVITIES = ("object", *_CONTEXT)
_IN_ANY_ORDER = ("member", "attachments", *_CONTEXT)


class LrsConfig(Config):
    endpoint: HttpUrl = Field(description="With or without a slash or `/statements` at its end.")
    key: str = Field(default="", description="Basic credentials, with `secret`.")
    secret: SecretStr | None = Field(default=None, min_length=1)
    token: SecretStr | None = Field(default=None, min_length=1, description="A bearer token instead of both.")
    version: Literal["1.0.3", "2.0.0"] = Field(default="1.0.3", description="The xAPI version that is spoken there.")

    @field_validator("endpoint")
    @classmethod
    def _endpoint_is_bare(cls, endpoint: HttpUrl) -> HttpUrl:
        if endpoint.username or endpoint.password or endpoint.query or endpoint.fragment:
            raise ValueError("the endpoint is an address without credentials or a query")
        return endpoint

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        if bool(self.key and self.secret) == bool(self.token) or bool(self.key) != bool(self.secret):
            raise ValueError("set `key` and `secret` (Basic), or `token` (Bearer)")
        return self

    def credential(self) -> str:
        """The Authorization header."""
        if self.token:
            return f"Bearer {self.token.get_secret_value()}"
        secret = self.secret.get_secret_value() if self.secret else ""
        return "Basic " + base64.b64encode(f"{self.key}:{secret}".encode()).decode()


class Lrs(Connector[LrsConfig], StatementSink):
    """One LRS by one credential."""

    manifest = Manifest(
        key="lrs",
        name="xAPI LRS",
        summary="Sends statements to any LRS that speaks xAPI 1.0.3 or 2.0.0, and reads them back.",
        api_docs="https://github.com/adlnet/xAPI-Spec/blob/1.0.3/xAPI-Communication.md",
        verified="live",
        proof="Sent to and read back from Learning Locker's statements service: new, known, conflicting, invalid ones.",
    )
    config_class = LrsConfig

    def __init__(self, config: LrsConfig, http: Http) -> None:
        super().__init__(config, http)
        self._endpoint = str(config.endpoint).rstrip("/").removesuffix("/statements").rstrip("/")
        credential = config.credential()
        secrets = [held.get_secret_value() for held in (config.secret, config.token) if held]
        self._lrs = http.to(
            self._endpoint,
            headers={"Authorization": credential, "X-Experience-API-Version": config.version},
            secrets=(*secrets, credential.split(" ", maxsplit=1)[1]),
        )

    def check(self) -> Health:
        """Reading one statement proves address and credentials; nothing is written."""
        answer = self._call("GET", "statements", params={"limit": 1})
        self._object(answer)
        works = [f"{self._endpoint} answers as an LRS", "the credentials may read statements"]
        missing = []
        versions = self._versions()
        if versions and not any(version[:4] == self.config.version[:4] for version in versions):
            missing.append(f"it speaks xAPI {', '.join(versions)}: set `version` to one of these")
        elif versions:
            works.append(f"it speaks xAPI {', '.join(versions)}")
        if (skew := _skew(answer)) and abs(skew) > SKEW:
            ahead = "ahead of" if skew > 0 else "behind"
            missing.append(f"its clock is {abs(skew):.0f} s {ahead} this one: set both by NTP, or times will not agree")
        return Health(tuple(works), tuple(missing))

    def send(self, statements: list[bytes]) -> None:
        """One POST of the given bytes; see StatementSink for what is raised."""
        if not statements:
            return
        body = b"[" + b",".join(statements) + b"]"
        answer = self._call("POST", "statements", data=body, headers={"Content-Type": "application/json"}, ok=_REFUSALS)
        if answer.status_code == 409 and len(statements) == 1:
            self._settle(json.loads(statements[0]), answer)
        elif answer.status_code in _REFUSALS:
            raise self._refused(answer, len(statements))
        elif answer.status_code != 204:
            self._confirm(answer, statements)

    def statements(self, **query: str) -> Iterator[dict[str, Any]]:
        """The statements that a query finds (xAPI 1.0.3 part three, section 2.1.3), page by page along ``more``."""
        url, params, seen = "statements", query, set()
        while url and url not in seen:
            seen.add(url)
            answer = self._call("GET", url, params=params)
            page = self._object(answer)
            yield from page["statements"]
            more = str(page.get("more") or "")
            url, params = urljoin(answer.url, more) if more else "", {}  # relative to the server's root

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

    def _object(self, answer: Response) -> dict[str, Any]:
        """A StatementResult; anything else is no LRS, a sign-in page or a proxy."""
        page = _parsed(answer)
        if isinstance(page, dict) and isinstance(page.get("statements"), list):
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
        return self._lrs.redact(answer.text)[:500].strip()

    def _refused(self, answer: Response, count: int) -> Rejected:
        what = f"{count} statements" if count > 1 else "a statement"
        said = self._said(answer)
        return Rejected(
            f"{self._lrs.system} refused {what} with {answer.status_code}" + (f": {said}" if said else ""), detail=said
        )

    def _confirm(self, answer: Response, statements: Sequence[bytes]) -> None:
        """The ids in the answer must be of ours, as a set: an LRS may leave out those that it had already."""
        ids = _parsed(answer)
        if not isinstance(ids, list) or not all(isinstance(stored, str) for stored in ids):
            raise self._no_lrs("POST", answer)
        ours = {str(json.loads(statement).get("id")).lower() for statement in statements}
        if {stored.lower() for stored in ids} - ours:
            raise UnexpectedPayload(
                f"{self._lrs.system} answered POST {self._endpoint}/statements with ids of other statements"
            )

    def _settle(self, statement: Mapping[str, Any], answer: Response) -> None:
        """A conflict on one statement: fine when the LRS has the same one, voided or not."""
        told = f"{self._lrs.system} has a conflict on the statement {statement.get('id')}: it answered 409"
        for parameter in ("statementId", "voidedStatementId"):
            params = {parameter: str(statement.get("id"))}
            found = self._lrs.request("GET", "statements", params=params, ok=(400, 401, 403, 404))
            if found.ok:
                break
        else:
            raise Rejected(
                f"{told}, and shows none under that id ({found.status_code}), so it could not be compared",
                detail=self._said(answer),
            )
        if _comparable(_parsed(found)) != _comparable(statement):
            raise Rejected(f"{told}, and has another one under that id", detail=self._said(answer))

    def _versions(self) -> list[str]:
        """What /about lists; nothing where the LRS does not tell."""
        try:
            about = _parsed(self._lrs.request("GET", "about"))
        except ConnectorError:
            return []
        versions = about.get("version") if isinstance(about, dict) else None
        return [str(version) for version in versions] if isinstance(versions, list) else []


def _parsed(answer: Response) -> Any:
    try:
        return json.loads(answer.content)
    except ValueError:
        return None


def _skew(answer: Response) -> float:
    """Seconds that the LRS's clock is ahead; 0 where it sends no date."""
    try:
        theirs = email.utils.parsedate_to_datetime(answer.headers.get("Date", ""))
    except ValueError:
        return 0.0
    return (theirs - dt.datetime.now(dt.UTC)).total_seconds()


def _comparable(value: Any, key: str = "") -> Any:
    """A statement without what an LRS may set or change (xAPI 1.0.3 part two, section 2.3.1).

    That is stored, authority, version, the form of timestamps, a verb's display, an activity's definition, the order of
    group members and of attachments, defaults that are written out, and one context activity for a list of one.
    """
    if isinstance(value, dict):
        held = {
            name: _comparable(item if name not in _IN_ANY_ORDER or isinstance(item, list) else [item], name)
            for name, item in value.items()
            if name not in _SET_BY_THE_LRS and name != "definition" and (key, name) != ("verb", "display")
        }
        if held.get("objectType") == ("Activity" if key in _ACTIVITIES else "Agent"):
            del held["objectType"]
        return held
    if isinstance(value, list):
        items = [_comparable(item, key) for item in value]
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True)) if key in _IN_ANY_ORDER else items
    if key == "timestamp" and isinstance(value, str):
        return _moment(value)
    return value


def _moment(timestamp: str) -> str:
    try:
        moment = dt.datetime.fromisoformat(timestamp)
        return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds") if moment.tzinfo else timestamp
    except (ValueError, OverflowError):
        return timestamp
