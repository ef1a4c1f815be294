"""LTI 1.3 over HTTP, as a platform: configuration, keys, authentication, tokens, assignments and grades."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import parse_qsl

import jinja2
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.routing import APIRoute
from markupsafe import Markup

from bridge.flows import identity, receive_score
from bridge.flows.runtime import Runtime
from bridge.lti import keys, line_items, platform, scores, tokens
from bridge.lti.errors import LtiError, OAuthError
from bridge.lti.line_items import Gradebook
from bridge.lti.platform import FormPost
from bridge.lti.registrations import origin
from bridge.lti.tokens import Access
from bridge.observe import logger
from bridge.store.tables import Launch
from bridge.web import pages
from bridge.web.auth import SESSION_COOKIE, TheRuntime, Visitor

_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
#: Says in the repeated request that the browser was asked for its session once already.
_REPOSTED = "flowbridge_reposted"
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
<script>{{ send }}</script>{% endif %}
{% for line in lines %}<p>{{ line }}</p>{% endfor %}</main></body></html>
"""
)


class _Route(APIRoute):
    """Answers a refused service request in the form that OAuth and LTI services share."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                return await handle(request)
            except LtiError as error:
                return _refusal(error)

        return guarded


router = APIRouter(tags=["lti"], route_class=_Route)


async def _raw(request: Request) -> bytes:
    return await request.body()


Body = Annotated[bytes, Depends(_raw)]


def _bearer(request: Request, runtime: TheRuntime) -> Access:
    with runtime.db.read() as session:
        return tokens.check(session, request.headers.get("authorization"))


Bearer = Annotated[Access, Depends(_bearer)]


def _refusal(error: LtiError) -> Response:
    logger("lti").info("request refused", code=error.code, status=error.status)
    headers = dict(_NO_STORE)
    if isinstance(error, OAuthError):
        return JSONResponse({"error": error.error, "error_description": error.description}, error.status, headers)
    if error.status in (401, 403):
        word = {401: "invalid_token", 403: "insufficient_scope"}[error.status]
        headers["WWW-Authenticate"] = f'Bearer realm="lti", error="{word}"'
    return JSONResponse({"error": error.code, "error_description": str(error)}, error.status, headers)


def _pairs(text: str) -> dict[str, str]:
    """Parameters by name; a repeated one is refused (RFC 6749 section 3.1)."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError:
        raise OAuthError("invalid_request", "parameters_malformed", "the parameters can't be read") from None
    if len(dict(pairs)) != len(pairs):
        raise OAuthError("invalid_request", "parameter_repeated", "a parameter is sent twice")
    return dict(pairs)


def _form(request: Request, body: bytes) -> dict[str, str]:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise OAuthError("invalid_request", "not_a_form", "send application/x-www-form-urlencoded")
    return _pairs(body.decode("latin-1"))


@router.get("/.well-known/openid-configuration")
def configuration(runtime: TheRuntime) -> dict[str, Any]:
    """What a tool has to know of this platform."""
    return platform.configuration(runtime)


@router.get("/lti/jwks")
def jwks(runtime: TheRuntime) -> Response:
    """The public keys, the next one among them."""
    return JSONResponse(keys.key_set(runtime), headers={"Cache-Control": f"public, max-age={keys.CACHE_SECONDS}"})


def begin(request: Request, runtime: Runtime, launch_id: uuid.UUID, token: str) -> Response:
    """Send a person's browser on its way to the tool; ``token`` is that of the session they are signed in with."""
    try:
        with runtime.db.write() as session:
            launch = session.get_one(Launch, launch_id)
            title = launch.asset.title
            start = platform.begin(runtime, session, launch, launch.person, identity.token_hash(token))
    except LtiError as error:
        return pages.problem(request, error.status, error.code, str(error))
    # The tool answers with a redirect back to this platform, and browsers apply the form's policy to that as well.
    return _page(f"Opening {title}", start.url, start.fields, form_action=f"{origin(start.url)} 'self'")


@router.get("/lti/authorize", operation_id="lti_authorize")
def authorize(request: Request, runtime: TheRuntime, visitor: Visitor) -> Response:
    """The authentication request of a tool, by redirect."""
    return _authorized(request, runtime, visitor, request.url.query, is_form=False)


@router.post("/lti/authorize", operation_id="lti_authorize_by_post")
def authorize_by_post(request: Request, runtime: TheRuntime, visitor: Visitor, body: Body) -> Response:
    """The authentication request of a tool, by form."""
    return _authorized(request, runtime, visitor, body.decode("latin-1"), is_form=True)


def _authorized(
    request: Request, runtime: Runtime, visitor: identity.SignedIn | None, text: str, *, is_form: bool
) -> Response:
    session_hash = identity.token_hash(request.cookies[SESSION_COOKIE]) if visitor is not None else None
    try:
        params = _pairs(text)
        reposted = params.pop(_REPOSTED, "") != "" and is_form
        answer = platform.authorize(runtime, params, session_hash=session_hash, reposted=reposted)
    except LtiError as error:
        logger("lti").info("launch refused", code=error.code)
        return pages.problem(request, error.status, error.code, str(error))
    if isinstance(answer, FormPost):
        return _page("Opening your content", answer.url, answer.fields, form_action=origin(answer.url))
    fields = {**answer.fields, _REPOSTED: "1"}
    return _page("Checking your sign-in", "/lti/authorize", fields, form_action="'self'")


@router.get("/lti/return/{launch_id}", operation_id="lti_return")
def back(
    launch_id: uuid.UUID,
    message: Annotated[str, Query(alias="lti_msg", max_length=500)] = "",
    problem: Annotated[str, Query(alias="lti_errormsg", max_length=500)] = "",
) -> Response:
    """Where a tool sends a person who is done (LTI Core 1.3 section 5.4.4, launch presentation)."""
    logger("lti").info("back from the tool", launch=str(launch_id), problem=problem)
    said = [text for text in (problem, message) if text]
    title = "The content reported a problem" if problem else "You are back"
    return _page(title, "", {}, form_action="'none'", lines=[*said, "You can close this tab and go on with your work."])


@router.post("/lti/token", operation_id="lti_token")
def token(request: Request, runtime: TheRuntime, body: Body) -> Response:
    """A service token for a tool: client credentials, proved by a signed assertion."""
    return JSONResponse(tokens.grant(runtime, _form(request, body)).to_json(), headers=_NO_STORE)


_ITEMS = "/lti/ags/{context}/lineitems"
_ITEM = _ITEMS + "/{item}"


def _reader(context: str, runtime: TheRuntime, access: Bearer) -> Iterator[Gradebook]:
    with runtime.db.read() as session:
        yield Gradebook(runtime, session, access, context)


Reader = Annotated[Gradebook, Depends(_reader)]


@contextlib.contextmanager
def _writer(runtime: Runtime, access: Access, context: str) -> Iterator[Gradebook]:
    """Not a dependency: those end after the answer was sent, and nobody may be told of what was not committed."""
    with runtime.db.write() as session:
        yield Gradebook(runtime, session, access, context)


@router.get(_ITEMS)
def list_line_items(request: Request, book: Reader) -> Response:
    """The tool's line items in a context."""
    return _container(*book.page(request.query_params), line_items.CONTAINER_TYPE)


@router.post(_ITEMS, status_code=201)
def create_line_item(context: str, runtime: TheRuntime, access: Bearer, body: Body) -> Response:
    """Add a line item."""
    with _writer(runtime, access, context) as book:
        made = book.create(body)
    return JSONResponse(made, 201, {"Location": made["id"]}, media_type=line_items.ITEM_TYPE)


@router.get(_ITEM)
def get_line_item(item: str, book: Reader) -> Response:
    """One line item."""
    return JSONResponse(book.read(item), media_type=line_items.ITEM_TYPE)


@router.put(_ITEM)
def put_line_item(context: str, item: str, runtime: TheRuntime, access: Bearer, body: Body) -> Response:
    """Replace a line item."""
    with _writer(runtime, access, context) as book:
        changed = book.change(item, body)
    return JSONResponse(changed, media_type=line_items.ITEM_TYPE)


@router.delete(_ITEM, status_code=204)
def delete_line_item(context: str, item: str, runtime: TheRuntime, access: Bearer) -> Response:
    """Delete a line item that the tool has made."""
    with _writer(runtime, access, context) as book:
        book.remove(item)
    return Response(status_code=204)


@router.post(_ITEM + "/scores")
def post_score(context: str, item: str, request: Request, runtime: TheRuntime, body: Body) -> Response:
    """Take a score. The answer is 200 and not 204: Moodle counts only 200 as success and sends again for ever."""
    receive_score.receive(runtime, request.headers.get("authorization"), context, item, body)
    return JSONResponse({})


@router.get(_ITEM + "/results")
def list_results(item: str, request: Request, book: Reader) -> Response:
    """The results of a line item."""
    return _container(*scores.results(book, item, request.query_params), scores.RESULTS_TYPE)


def _container(rows: list[dict[str, Any]], following: str | None, media_type: str) -> Response:
    headers = {"Link": f'<{following}>; rel="next"'} if following else {}
    return JSONResponse(rows, headers=headers, media_type=media_type)


def _digest(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


_POLICY = (
    f"default-src 'none'; script-src {_digest(_SEND)}; style-src {_digest(_STYLE)}; base-uri 'none';"
    " frame-ancestors 'self'; form-action "
)


def _page(title: str, url: str, fields: Mapping[str, str], *, form_action: str, lines: Sequence[str] = ()) -> Response:
    """A page that sends its form by itself, once, to one place; nobody keeps it or learns where it came from."""
    html = _PAGE.render(title=title, url=url, fields=fields, lines=lines, style=Markup(_STYLE), send=Markup(_SEND))  # noqa: S704
    headers = {**_NO_STORE, "Referrer-Policy": "no-referrer", "Content-Security-Policy": _POLICY + form_action}
    return HTMLResponse(html, headers=headers)
