"""What can be wrong with a connection to an LRS, tried one by one, and told with the setting to change."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from requests import Response

from bridge.connect import ConnectorError, Finding, Http, Statement
from connectors.lrs import body, probes, reading
from connectors.lrs.config import LrsConfig

#: Every answer is looked at here, none is raised.
_EVERY = tuple(range(300, 600))
#: Where LRSs commonly are, below their host or below what was entered.
_PLACES = ("xapi", "xAPI", "data/xAPI", "lrs", "api/xapi", "lrs/xapi")
_VERSIONS = ("1.0.3", "2.0.0")
#: One statement that takes longer than this, in seconds, makes batches run into the time limit.
_SLOW = 5.0
#: How OpenSSL says what is wrong with a certificate.
_CERTIFICATE = re.compile(r"certificate verify failed: ([^(\n]+)")
_SIZES = (64_000, 250_000, 1_000_000, 4_000_000)


def examine(config: LrsConfig, http: Http, *, write: bool) -> Iterator[Finding]:
    """Try everything in the order in which it has to work; ends where nothing further can be found."""
    try:
        yield from _Examination(config, http).findings(write=write)
    except ConnectorError as error:
        yield _wrong(f"{error}: {_remedy(error)}")


def _remedy(error: ConnectorError) -> str:
    """What mends that no answer came."""
    if found := _CERTIFICATE.search(error.detail):
        return f"its certificate is not accepted ({found[1].strip()}): whoever runs it must mend that"
    return "check the host, the port and the scheme of `endpoint`, and that a firewall lets it pass"


def _fine(words: str) -> Finding:
    return Finding(works=True, words=words)


def _wrong(words: str) -> Finding:
    return Finding(works=False, words=words)


class _Examination:
    def __init__(self, config: LrsConfig, http: Http) -> None:
        self._config, self._http = config, http
        self._lrs = config.client(http)
        self._seconds = 0.0

    def findings(self, *, write: bool) -> Iterator[Finding]:
        answer = self._read(self._lrs)
        if answer.status_code == 403:
            yield _wrong(
                "the credentials may not read statements (403): grant them statements/read, or conflicts can't"
                " be settled and nothing can be reconciled"
            )
        elif reading.page(answer) is None:
            yield _wrong(self._fault(answer))
            yield from self._elsewhere(answer)
            return
        else:
            yield _fine(f"{self._config.address} answers as an LRS, and the credentials may read statements")
        yield from self._versions()
        yield from self._manner(answer)
        if write:
            yield from self._writing()

    def _read(self, client: Http) -> Response:
        started = time.monotonic()
        answer = client.request("GET", "statements", params={"limit": 1}, ok=_EVERY)
        self._seconds = time.monotonic() - started
        return answer

    def _fault(self, answer: Response) -> str:
        """What an answer that is no StatementResult means."""
        status, where = answer.status_code, f"{self._config.address}/statements"
        said = self._lrs.redact(reading.said(answer))[:200].strip()
        if status == 401:
            return f"{where} refuses the credentials (401): check `key` and `secret`, or `token`"
        if status in (404, 405):
            return f"there is no LRS at {where} ({status}): check `endpoint`"
        if 300 <= status < 400:
            to = self._lrs.redact(answer.headers.get("Location", "nowhere"))
            return f"{where} leads on to {to} ({status}): set `endpoint` to the address that it ends at"
        if status == 429 or status >= 500:
            return (
                f"{where} answers {status}, so it is out of order or overloaded now: try again later. It says: {said}"
            )
        if status < 300:
            kind = answer.headers.get("Content-Type", "something")
            return (
                f"{where} answers with {kind} and not as an LRS does: a sign-in page or a proxy answers in its place,"
                " or `endpoint` is wrong"
            )
        return f"{where} answers {status}: {said}"

    def _elsewhere(self, answer: Response) -> Iterator[Finding]:
        """Where, or by which version, an LRS does answer; asks no other host."""
        if answer.status_code in (401, 429) or answer.status_code >= 500:
            return
        for version in _VERSIONS:
            if version != self._config.version and self._answers(self._config.address, version=version):
                yield _wrong(f"it answers to xAPI {version}: set `version: {version}`")
                return
        for address in _other_addresses(self._config.address):
            if self._answers(address):
                yield _wrong(f"an LRS answers at {address}: set `endpoint` to that")
                return
        yield _wrong(
            "no LRS was found at the usual addresses of that host: its documentation names the xAPI endpoint, the"
            " address that /statements comes after"
        )

    def _answers(self, address: str, *, version: str = "") -> bool:
        try:
            return reading.page(self._read(self._config.client(self._http, address, version=version))) is not None
        except ConnectorError:
            return False

    def _versions(self) -> Iterator[Finding]:
        """What /about lists; where it does not tell, what is answered to each version."""
        told = reading.versions(self._lrs.request("GET", "about", ok=_EVERY))
        spoken = told or [version for version in _VERSIONS if self._answers(self._config.address, version=version)]
        listed = ", ".join(spoken)
        if any(version[:3] == self._config.version[:3] for version in spoken):
            yield _fine(
                f"it speaks xAPI {listed}" if told else f"it answers to xAPI {listed}; its /about tells nothing"
            )
        elif spoken:
            yield _wrong(f"it speaks xAPI {listed}, and `version` is {self._config.version}: set it to one of these")

    def _manner(self, answer: Response) -> Iterator[Finding]:
        if words := reading.wrong_clock(answer):
            yield _wrong(words)
        elif "Date" in answer.headers:
            yield _fine("its clock and this one agree")
        if self._seconds > _SLOW:
            yield _wrong(f"it takes {self._seconds:.1f} s to read one statement: lower options.statements.batch")
        else:
            yield _fine(f"it reads one statement in {self._seconds * 1000:.0f} ms")
        if urlsplit(self._config.address).scheme == "http" and not _is_loopback(self._config.address):
            yield _wrong("credentials and statements go there unencrypted: set `endpoint` to its https address")
        if answer.ok and reading.through(answer) is None:
            yield _fine(
                "it does not tell up to when its answers are complete (Consistent-Through): a statement that it"
                " has just stored may be reported as missing"
            )

    def _writing(self) -> Iterator[Finding]:
        """Store probes, see how repeats, batches, attachments and size are taken, and void what was stored."""
        first, second = probes.statement(), probes.statement()
        answer = self._post([first])
        if not answer.ok:
            yield _wrong(self._not_written(answer))
            return
        yield _fine("the credentials may store statements")
        stored = [first]
        try:
            yield self._repeated(first)
            batch = self._post([first, second])
            if batch.ok:
                stored.append(second)
            yield _batch(batch)
            yield from self._attached(stored)
            yield self._size(first)
            yield from self._state()
        finally:
            left = [one.id for one in stored if not self._post([probes.voiding(one)]).ok]
        if left:
            yield _wrong(f"not every probe could be voided, void these there by hand: {', '.join(left)}")
        else:
            yield _fine(f"the {len(stored)} probes are voided again")

    def _post(self, statements: Sequence[Statement], *, padding: int = 0) -> Response:
        data, content_type = body.of(statements)
        if padding:  # JSON may have blanks around it: bytes that are counted and not kept
            data = b" " * padding + data
        return self._lrs.request("POST", "statements", data=data, headers={"Content-Type": content_type}, ok=_EVERY)

    def _not_written(self, answer: Response) -> str:
        if answer.status_code in (401, 403):
            return f"the credentials may not store statements ({answer.status_code}): grant them statements/write"
        said = self._lrs.redact(reading.said(answer))[:200].strip()
        return f"it does not store a statement ({answer.status_code}): {said}"

    def _repeated(self, one: Statement) -> Finding:
        status = self._post([one]).status_code
        if status in (200, 204, 409):
            return _fine(f"it knows a repeated statement by its id ({status})")
        return _wrong(f"it answers {status} to a repeated statement: what was sent twice may be refused")

    def _attached(self, stored: list[Statement]) -> Iterator[Finding]:
        with_file = probes.statement(attached=True)
        answer = self._post([with_file])
        if answer.ok:
            stored.append(with_file)
            yield _fine("it takes attachments")
        else:
            yield _fine(f"it takes no attachments ({answer.status_code}): statements that have some will be refused")

    def _size(self, known: Statement) -> Finding:
        taken = 0
        for size in _SIZES:
            answer = self._post([known], padding=size)
            if reading.is_too_large(answer):
                return _too_small(taken, size, answer.status_code)
            taken = size
        return _fine(f"it takes requests of {taken:,} bytes")

    def _state(self) -> Iterator[Finding]:
        """A document is stored and deleted again; forwarding needs none."""
        at: dict[str, Any] = {"params": probes.STATE, "ok": _EVERY}
        answer = self._lrs.request("PUT", "activities/state", data=b"{}", headers=_NEW_DOCUMENT, **at)
        if answer.ok:
            self._lrs.request("DELETE", "activities/state", headers={"If-Match": "*"}, **at)
            yield _fine("it keeps state documents")
        else:
            yield _fine(
                f"it keeps no state documents for these credentials ({answer.status_code}); forwarding needs none"
            )


_NEW_DOCUMENT: Mapping[str, str] = {"Content-Type": "application/json", "If-None-Match": "*"}


def _batch(answer: Response) -> Finding:
    if answer.ok:
        return _fine("it takes a batch with a known statement in it")
    if answer.status_code == 409:
        return _fine("it refuses a batch with a known statement in it (409): such a batch is sent again in halves")
    return _wrong(f"it answers {answer.status_code} to a batch of two: set options.statements.batch to 1")


def _too_small(taken: int, size: int, status: int) -> Finding:
    if size > 1_000_000:
        return _fine(f"it takes requests of {taken:,} bytes, and none of {size:,} ({status})")
    most = f"{taken:,}" if taken else "a few thousand"
    return _wrong(
        f"it takes requests of {most} bytes, and none of {size:,} ({status}): set options.statements.batch_bytes to"
        f" {taken or 10_000}, or raise the limit there (of its proxy, mostly)"
    )


def _other_addresses(address: str) -> list[str]:
    """Where the LRS may be instead: the usual places below what was entered, below what is above it, and by https."""
    parts = urlsplit(address)
    steps = [step for step in parts.path.split("/") if step]
    above = ["/".join(steps[:count]) for count in range(len(steps), -1, -1)]
    paths = [path for base in above for path in (base, *(f"{base}/{place}".strip("/") for place in _PLACES))]
    origin = f"{parts.scheme}://{parts.netloc}"
    found = [f"{origin}/{path}".rstrip("/") for path in paths]
    if parts.scheme == "http" and parts.port is None:
        found.insert(0, address.replace("http://", "https://", 1))
    return list(dict.fromkeys(one for one in found if one != address))


def _is_loopback(address: str) -> bool:
    return (urlsplit(address).hostname or "") in ("localhost", "127.0.0.1", "::1")
