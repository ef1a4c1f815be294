"""One HTTP client for every outside call.

A timeout on each call, a bounded retry with full jitter where repeating is safe, the status mapped to an error that
says what to do, secrets cut out of every message, and an egress guard: a client talks to its own origin and nothing
else, and the address of a name is checked on the connected socket, so that a changed DNS answer can't slip past.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import email.utils
import ipaddress
import json
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self, TypeVar
from urllib.parse import quote, quote_plus, urljoin, urlsplit

import requests
import urllib3
from pydantic import TypeAdapter, ValidationError
from requests.adapters import HTTPAdapter

from bridge.connect.errors import ConfigError, ConnectorError, Rejected, Retryable, UnexpectedPayload

T = TypeVar("T")
USER_AGENT = "flowbridge"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
MAX_BODY = 32 * 1024 * 1024
_NEVER = tuple(ipaddress.ip_network(net) for net in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "0.0.0.0/32"))


class EgressRefused(ConfigError):
    """The bridge does not send requests to that address."""


@dataclasses.dataclass(frozen=True, slots=True)
class Egress:
    """Which addresses may be called.

    ``allow_private`` admits loopback and private networks: right for a base URL that an admin typed in, wrong for an
    address that somebody else sent. Link-local addresses (cloud metadata) are refused always.
    """

    allow_private: bool = True

    def check(self, address: str) -> None:
        ip = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if any(ip in net for net in _NEVER if net.version == ip.version) or ip.is_multicast:
            raise EgressRefused(f"the address {ip} is never called by the bridge (link-local or unspecified)")
        if not self.allow_private and not ip.is_global:
            raise EgressRefused(
                f"the address {ip} is on a private network; if that is meant, set FLOWBRIDGE_ALLOW_PRIVATE_PEERS=true"
            )


def _guarded(base: type[Any], egress: Egress) -> type[Any]:
    class Guarded(base):  # type: ignore[misc]  # the base is chosen at run time
        def _new_conn(self) -> Any:
            sock = super()._new_conn()
            try:
                egress.check(sock.getpeername()[0])
            except EgressRefused:
                sock.close()
                raise
            return sock

    return Guarded


class _GuardedAdapter(HTTPAdapter):
    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        super().__init__(pool_connections=4, pool_maxsize=16)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        http, https = urllib3.HTTPConnectionPool, urllib3.HTTPSConnectionPool
        pools = {
            "http": type("Http", (http,), {"ConnectionCls": _guarded(http.ConnectionCls, self._egress)}),
            "https": type("Https", (https,), {"ConnectionCls": _guarded(https.ConnectionCls, self._egress)}),
        }
        self.poolmanager.pool_classes_by_scheme = pools


def retry_after_seconds(value: str | None, *, now: dt.datetime | None = None) -> float | None:
    """Read a Retry-After header in either form (RFC 9110 section 10.2.3): seconds from now, or None."""
    if not value:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", value.strip()):
        return float(value)
    try:
        at = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    at = at.replace(tzinfo=at.tzinfo or dt.UTC)  # HTTP's times are UTC, also where they do not say so
    return max(0.0, (at - (now or dt.datetime.now(dt.UTC))).total_seconds())


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL, as RFC 6454 compares them."""
    parts = urlsplit(url)
    return parts.scheme.lower(), (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


class Http:
    """A client for one system. ``Http.root(...)`` is injected; a connector derives its own with ``to()``."""

    def __init__(
        self,
        base_url: str = "",
        *,
        system: str = "",
        egress: Egress | None = None,
        timeout: tuple[float, float] = (5.0, 30.0),
        total: float = 60.0,
        attempts: int = 3,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.system = system or urlsplit(base_url).netloc
        self._egress, self._timeout, self._total = egress or Egress(), timeout, total
        self._attempts, self._pause = attempts, pause
        self._secrets: tuple[str, ...] = ()
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["User-Agent"] = USER_AGENT
        adapter = _GuardedAdapter(self._egress)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def to(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        secrets: tuple[str, ...] = (),
    ) -> Self:
        """The same policy, pointed at ``base_url``; ``secrets`` are cut out of every message."""
        client = type(self)(
            str(base_url),
            system=self.system,
            egress=self._egress,
            timeout=self._timeout,
            total=self._total,
            attempts=self._attempts,
            pause=self._pause,
        )
        client._session.headers.update(headers or {})
        client._session.auth = auth
        basic = base64.b64encode(":".join(auth).encode("latin1", "replace")).decode() if auth else ""
        client._secrets = tuple(secret for secret in (*secrets, *(auth or ())[1:], basic) if secret)
        return client

    def url(self, path: str) -> str:
        """The absolute URL of a path below the base; an absolute URL must be of the same origin."""
        url = path if urlsplit(path).scheme else f"{self.base_url}/{path.lstrip('/')}" if path else self.base_url
        if origin(url) != origin(self.base_url):
            raise EgressRefused(f"{self.system} sent the bridge to another host: {self.redact(url)[:200]}")
        return url

    def request(
        self, method: str, path: str, *, idempotency_key: str = "", ok: tuple[int, ...] = (), **kwargs: Any
    ) -> requests.Response:
        """Send one request; statuses in ``ok`` are returned besides 2xx, every other one raises.

        Repeats safe methods, and others that carry an ``idempotency_key``, on network failure, 429 and 5xx, up to the
        bound. Raises ConfigError, Retryable or Rejected.
        """
        headers = {**kwargs.pop("headers", {})}
        if idempotency_key:
            headers.setdefault("Idempotency-Key", idempotency_key)
        attempts = self._attempts if method in SAFE_METHODS or idempotency_key else 1
        for attempt in range(1, attempts + 1):
            try:
                return self._once(method, self.url(path), ok, headers=headers, **kwargs)
            except Retryable as error:
                wait = error.retry_after if error.retry_after is not None else random.uniform(0, 0.2 * 2**attempt)  # noqa: S311
                if attempt == attempts or wait > 5:
                    raise
                self._pause(wait)
        raise AssertionError("unreachable")

    def json(self, method: str, path: str, **kwargs: Any) -> Any:
        """Send one request and read its JSON; an answer that is not JSON raises UnexpectedPayload naming the call."""
        response = self.request(method, path, **kwargs)
        if not response.content:
            return None
        try:
            return json.loads(response.content)
        except ValueError:
            kind = response.headers.get("Content-Type", "no content type")
            raise UnexpectedPayload(
                f"{self.system} answered {method} {self._shown(response.url)} with {kind} instead of JSON;"
                " check the base URL, and that no sign-in page or proxy answers in its place",
                detail=self._said(response),
            ) from None

    def read(self, shape: TypeAdapter[T], method: str, path: str, **kwargs: Any) -> T:
        """Send one request and read its JSON as ``shape``; see :meth:`shaped`."""
        return self.shaped(shape, self.json(method, path, **kwargs), f"{method} {self._shown(self.url(path))}")

    def shaped(self, shape: TypeAdapter[T], data: Any, call: str) -> T:
        """Read what ``call`` answered as ``shape``; raises UnexpectedPayload naming the field that is otherwise."""
        try:
            return shape.validate_python(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise UnexpectedPayload(
                f"{self.system} answered {call} with something else than its interface says:"
                f" {field or 'the answer'}: {first['msg']}",
                field=field,
            ) from None

    def pages(self, path: str, **kwargs: Any) -> Iterator[requests.Response]:
        """Follow ``Link: <...>; rel="next"`` from ``path`` (RFC 8288), within the same origin."""
        url: str | None = path
        while url:
            response = self.request("GET", url, **kwargs)
            yield response
            url = response.links.get("next", {}).get("url")
            url = urljoin(response.url, url) if url else None
            kwargs.pop("params", None)

    def redact(self, text: str) -> str:
        """``text`` without this client's secrets, also as they look in a URL."""
        for secret in self._secrets:
            for form in {secret, quote(secret, safe=""), quote_plus(secret)}:
                text = text.replace(form, "[redacted]")
        return text

    def _shown(self, url: str | None) -> str:
        return self.redact((url or "").split("?")[0])

    def _said(self, response: requests.Response) -> str:
        """The beginning of an answer; redacted before it is cut, which could leave half a secret."""
        return self.redact(response.content[:10_000].decode(errors="replace"))[:300]

    def _once(self, method: str, url: str, ok: tuple[int, ...], **kwargs: Any) -> requests.Response:
        kwargs.setdefault("timeout", self._timeout)
        try:
            response = self._session.request(method, url, allow_redirects=False, stream=True, **kwargs)
            self._read(response, f"{method} {self._shown(url)}")
        except ConnectorError:
            raise
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise Retryable(
                f"{self.system} did not answer {method} {self._shown(url)} ({type(error).__name__})",
                detail=self.redact(str(error)),
            ) from None
        if (response.ok and not response.is_redirect) or response.status_code in ok:
            return response
        raise self._error(method, url, response)

    def _read(self, response: requests.Response, call: str) -> None:
        """Read the body within bounds of size and total time: a peer that drips bytes must not hold a worker."""
        chunks, size, deadline = [], 0, time.monotonic() + self._total
        while chunk := response.raw.read1(65536, decode_content=True):
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_BODY or time.monotonic() > deadline:
                response.close()
                if size > MAX_BODY:
                    raise UnexpectedPayload(f"{self.system} answered {call} with more than {MAX_BODY} bytes")
                raise Retryable(f"{self.system} took more than {self._total:g} s to answer {call}")
        response._content = b"".join(chunks)

    def _error(self, method: str, url: str, response: requests.Response) -> ConnectorError:
        status, said = response.status_code, self._said(response)
        call = f"{self.system} answered {status} to {method} {self._shown(url)}"
        if status in (401, 403):
            return ConfigError(f"{call}: check the credentials and rights of this connection", detail=said)
        if status in (408, 425, 429) or status >= 500:
            return Retryable(call, retry_after=retry_after_seconds(response.headers.get("Retry-After")), detail=said)
        if 300 <= status < 400:
            moved = self.redact(response.headers.get("Location", "nowhere"))
            return ConfigError(f"{call}: it moved to {moved}; use that address")
        if status in (404, 405):
            return Rejected(f"{call}: there is nothing at that address; check the base URL or the id", detail=said)
        return Rejected(f"{call}: {said}" if said else call, detail=said)
