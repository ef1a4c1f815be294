"""What the LTI endpoints share: how requests are read, refusals said, and forms sent on by a page."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import parse_qsl

import jinja2
from fastapi import Depends, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.routing import APIRoute
from markupsafe import Markup

from bridge.lti.errors import LtiError, OAuthError
from bridge.lti.platform import tokens
from bridge.lti.platform.registrations import origin
from bridge.lti.platform.tokens import Access
from bridge.observe import logger
from bridge.web.auth import TheRuntime

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
#: Says in a repeated request that the browser was asked for its session once already.
REPOSTED = "flowbridge_reposted"
_MAX_FIELDS = 100

_SEND = "document.forms[0].submit()"
_STYLE = """
body { margin: 0; min-height: 100vh; display: grid; place-items: center; color: #0f172a; background: #f8fafc;
  font: 16px/1.5 system-ui, sans-serif }
main { max-width: 32rem; margin: 16px; padding: 32px; background: #fff; border: 1px solid #e2e8f0; border-radius: 10px;
  box-shadow: 0 1px 2px rgb(15 23 42/.06) }
h1 { font-size: 1.25rem; margin: 0 }
p { margin: 12px 0 0; color: #64748b }
button { margin-top: 16px; min-height: 44px; padding: 0 20px; border: 0; border-radius: 8px; cursor: pointer;
  font: inherit; font-weight: 600; color: #fff; background: #4f46e5 }
button:hover { background: #4338ca }
button:focus-visible { outline: 3px solid rgb(79 70 229/.35); outline-offset: 2px }
@media (prefers-color-scheme: dark) {
  body { color: #f8fafc; background: #0f172a }
  main { background: #1e293b; border-color: #334155 }
  p { color: #cbd5e1 }
}
"""
_PAGE = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{{ title }}</title><style>{{ style }}</style></head>
<body><main><h1>{{ title }}</h1>
{% if url %}<form method="post" action="{{ url }}">
{% for name, value in fields.items() %}<input type="hidden" name="{{ name }}" value="{{ value }}">
{% endfor %}<noscript><p>Your browser does not run scripts here, so the last step is yours.</p>
<button>Continue</button></noscript></form>
<script{% if script %} src="{{ script }}"{% endif %}>{{ send if not script }}</script>{% endif %}
{% for line in lines %}<p>{{ line }}</p>{% endfor %}</main></body></html>
"""
)


class Route(APIRoute):
    """Answers a refused service request in the form that OAuth and LTI services share."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                return await handle(request)
            except LtiError as error:
                return refusal(error)

        return guarded


async def _raw(request: Request) -> bytes:
    return await request.body()


Body = Annotated[bytes, Depends(_raw)]


def _bearer(request: Request, runtime: TheRuntime) -> Access:
    with runtime.db.read() as session:
        return tokens.check(session, request.headers.get("authorization"))


Bearer = Annotated[Access, Depends(_bearer)]


def refusal(error: LtiError) -> Response:
    logger("lti").info("request refused", code=error.code, status=error.status)
    headers = dict(NO_STORE)
    if isinstance(error, OAuthError):
        return JSONResponse({"error": error.error, "error_description": error.description}, error.status, headers)
    if error.status in (401, 403):
        word = {401: "invalid_token", 403: "insufficient_scope"}[error.status]
        headers["WWW-Authenticate"] = f'Bearer realm="lti", error="{word}"'
    return JSONResponse({"error": error.code, "error_description": str(error)}, error.status, headers)


def pairs_of(text: str) -> dict[str, str]:
    """Parameters by name; a repeated one is refused (RFC 6749 section 3.1)."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError:
        raise OAuthError("invalid_request", "parameters_malformed", "the parameters can't be read") from None
    if len(dict(pairs)) != len(pairs):
        raise OAuthError("invalid_request", "parameter_repeated", "a parameter is sent twice")
    return dict(pairs)


def form_of(request: Request, body: bytes) -> dict[str, str]:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise OAuthError("invalid_request", "not_a_form", "send application/x-www-form-urlencoded")
    return pairs_of(body.decode("latin-1"))


def _digest(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


_POLICY = (
    f"default-src 'none'; style-src {_digest(_STYLE)}; base-uri 'none'; frame-ancestors 'self';"
    " script-src %s; form-action %s"
)


def onward(url: str) -> str:
    """Where a form to a peer may lead. Browsers apply that to redirects too, and a vendor may have several hosts."""
    return f"{origin(url)} https:"


def form_page(
    title: str, url: str, fields: Mapping[str, str], *, form_action: str, lines: Sequence[str] = (), script: str = ""
) -> Response:
    """A page that sends its form by itself, once, to one place; nobody keeps it or learns where it came from.

    ``script`` is the address of one of ours that sends it instead, when it has what the form still lacks.
    """
    told = {"title": title, "url": url, "fields": fields, "lines": lines, "script": script}
    html = _PAGE.render(**told, style=Markup(_STYLE), send=Markup(_SEND))  # noqa: S704
    policy = _POLICY % ("'self'" if script else _digest(_SEND), form_action)
    return HTMLResponse(html, headers={**NO_STORE, "Referrer-Policy": "no-referrer", "Content-Security-Policy": policy})
