"""Who calls: the signed-in person of a browser, or the program behind a credential."""

from __future__ import annotations

import hmac
from typing import Annotated, cast

from fastapi import Depends, Form, HTTPException, Request, Response

from bridge.flows import callers, identity
from bridge.flows.callers import Caller
from bridge.flows.errors import Refused
from bridge.flows.identity import SignedIn
from bridge.flows.runtime import Runtime

SESSION_COOKIE = "flowbridge_session"
#: The session of a page that another site shows in a frame: kept apart for each such site, and only over https.
FRAMED_COOKIE = "flowbridge_framed"
#: All that a printed one-time password is good for.
_BEFORE_THE_CHANGE = ("/password", "/sign-out")


def runtime_of(request: Request) -> Runtime:
    return cast(Runtime, request.app.state.runtime)


async def _runtime(request: Request) -> Runtime:
    """Asynchronous, because each plain function costs a request the way to a thread and back."""
    return runtime_of(request)


TheRuntime = Annotated[Runtime, Depends(_runtime)]


def session_token(request: Request) -> str:
    """The token of the browser's session, "" without one; in a frame, that of the frame."""
    return request.cookies.get(SESSION_COOKIE) or request.cookies.get(FRAMED_COOKIE) or ""


def visitor_of(request: Request, runtime: TheRuntime) -> SignedIn | None:
    """The signed-in person, or None."""
    found = identity.session(runtime, session_token(request))
    request.state.framed_by = found.framed_by if found is not None else ""
    return found


Visitor = Annotated[SignedIn | None, Depends(visitor_of)]


def keep_session(response: Response, runtime: Runtime, token: str) -> None:
    """Hand a session's token to the browser."""
    response.set_cookie(
        SESSION_COOKIE,
        token,
        max_age=runtime.settings.session_hours * 3600,
        httponly=True,
        secure=runtime.settings.issuer.startswith("https:"),
        samesite="lax",
    )


def keep_framed_session(response: Response, runtime: Runtime, token: str) -> None:
    """Hand a session's token to a page in another site's frame (CHIPS: each such site has a jar of its own).

    Starlette knows ``Partitioned`` only from Python 3.14 on, so that the header is written here.
    """
    age = runtime.settings.session_hours * 3600
    value = f"{FRAMED_COOKIE}={token}; Max-Age={age}; Path=/; HttpOnly; Secure; SameSite=None; Partitioned"
    response.headers.append("set-cookie", value)


def same_site_form(request: Request, visitor: SignedIn | None, csrf: str) -> SignedIn:
    """The signed-in person who sent a form of ours: the form carries the session's own secret."""
    if visitor is None:
        raise Refused("Your sign-in has ended. Sign in and try again.", code="sign_in_needed")
    if not hmac.compare_digest(visitor.csrf.encode(), csrf.encode()):
        raise Refused("This form was not made for your present sign-in. Load the page again.", code="wrong_form")
    if visitor.must_change and request.url.path not in _BEFORE_THE_CHANGE:
        raise Refused("Choose your own password first, on the page /password.", code="password_needed")
    return visitor


async def _form_sender(request: Request, visitor: Visitor, csrf: Annotated[str, Form()] = "") -> SignedIn:
    return same_site_form(request, visitor, csrf)


FormSender = Annotated[SignedIn, Depends(_form_sender)]


class Requires:
    """A dependency: a credential with a scope, or an access token of one, else 401 or 403 in words."""

    def __init__(self, scope: str) -> None:
        self.scope = scope

    def __call__(self, request: Request, runtime: TheRuntime) -> Caller:
        caller = callers.authenticate(runtime, request.headers.get("authorization", ""))
        if caller is None:
            raise HTTPException(
                401,
                "This needs `Authorization: Basic` with the key and secret of `flowbridge credentials create`,"
                " or `Bearer` with a token of /oauth/token.",
                headers={"WWW-Authenticate": 'Basic realm="flowbridge"'},
            )
        if not caller.may(self.scope):
            raise HTTPException(403, f"The credential {caller.key} lacks the scope '{self.scope}'.")
        return caller
