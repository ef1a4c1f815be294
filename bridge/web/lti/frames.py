"""A launch in a frame over a business app's page, where browsers keep no cookies of other sites.

Around the tool's own frame stands a page of ours, the player. It holds the launch key, which takes the place of the
session, and keeps data for the tool (LTI Client Side postMessages, LTI postMessage Storage): see static/player.js.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from fastapi import Request, Response

from bridge.flows import identity, open_launch
from bridge.flows.errors import Refused
from bridge.flows.runtime import Runtime
from bridge.lti.platform.authorize import Initiation
from bridge.web import pages
from bridge.web.lti.wire import NO_STORE, form_page

#: The field in which the player's key comes with the repeated authentication request; never in an address.
KEY_FIELD = "flowbridge_key"


def play(request: Request, runtime: Runtime, ticket: str, handoff: str) -> Response:
    """Open a prompt in the frame of the page that asked for the handoff: no cookie is read or set.

    Raises SignatureInvalid, Refused or LtiError.
    """
    page = request.state.framed_by = identity.page_of_handoff(runtime, handoff)
    landing = open_launch.look(runtime, ticket)
    # In a page of its own, whoever sends somebody their own handoff would let them work under their name.
    if not page or landing.how != "lti" or request.headers.get("sec-fetch-dest", "iframe") != "iframe":
        raise Refused("This can only be opened in the frame of the page where you work.", code="not_in_frame")
    person_id = identity.redeem_handoff(runtime, handoff, str(landing.prompt_id))
    key = secrets.token_urlsafe(32)
    hash_ = identity.token_hash(key)
    opened = open_launch.open_ticket(runtime, ticket, person_id, session_hash=hash_, framed_by=page)
    assert opened.start is not None
    return _player(request, opened.title, opened.start, key=key, page=page)


def _player(request: Request, title: str, start: Initiation, *, key: str, page: str) -> Response:
    origins = " ".join(sorted(start.origins))
    answer = pages.page(request, "player.html", title=title, start=start, key=key, origins=origins, business_page=page)
    # A tool may go on to other sites of its vendor; of those by plain http only its registered ones are known.
    answer.headers["Content-Security-Policy"] = (
        "default-src 'none'; script-src 'self'; style-src 'self'; base-uri 'none'; frame-ancestors 'self';"
        f" frame-src 'self' https: {origins}; form-action 'self' https: {origins}"
    )
    answer.headers.update(NO_STORE)
    return answer


def ask_player(fields: Mapping[str, str]) -> Response:
    """The page in the tool's frame that repeats an authentication request with the key of the player around it."""
    return form_page(
        "Opening your content",
        "/lti/authorize",
        {**fields, KEY_FIELD: ""},
        form_action="'self'",
        script="/static/claim.js",
    )
