"""The platform role: from a person's click to the signed message at the tool.

Third-party initiated login and authentication: 1EdTech Security Framework 1.0 section 5.1.1
(https://www.imsglobal.org/spec/security/v1p0/). The launch is bound to the browser's session at the start and taken
exactly once at the end, so that neither a stolen link nor a repeated request logs anybody in.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session, joinedload, load_only

from bridge.lti import keys
from bridge.lti.errors import LtiError, OAuthError
from bridge.lti.host import Host
from bridge.lti.platform import line_items, messages, registrations, subjects, tokens, variables
from bridge.lti.platform.messages import Grades, Place
from bridge.lti.platform.registrations import Tool
from bridge.lti.vocabulary import DEEP_LINKING_REQUEST, PRODUCT, RESOURCE_LINK_REQUEST, SERVICE_SCOPES
from bridge.observe import logger
from bridge.store import now
from bridge.store.insert import insert_once
from bridge.store.tables import (
    Asset,
    Connection,
    ContentSelection,
    ContextMember,
    Event,
    Launch,
    LtiHint,
    Person,
    Prompt,
)

#: How long a launch may take from the click to the tool.
HINT_LIFE = dt.timedelta(minutes=5)
MAX_NONCE = 512
#: What a message tells of a launch, loaded at once.
_OCCASION = (
    load_only(Launch.person_id, Launch.asset_id),
    joinedload(Launch.person).load_only(Person.key, Person.name, Person.email, Person.attributes),
    joinedload(Launch.asset)
    .load_only(Asset.connection_id, Asset.external_id, Asset.title, Asset.summary, Asset.language, Asset.opening)
    .joinedload(Asset.connection)
    .load_only(Connection.name),
    joinedload(Launch.prompt)
    .load_only(Prompt.say)
    .joinedload(Prompt.event)
    .load_only(Event.type, Event.subject, Event.source, Event.time, Event.data)
    .joinedload(Event.connection)
    .load_only(Connection.name),
)
#: The frame that keeps data for the tool: the one around the tool's own (LTI OIDC Login with Client Side postMessages).
_PARENT = "_parent"
#: What hints of launches in a frame begin with, so that nothing has to be looked up for all others.
_FRAMED = "frame."
_AGAIN = "open the content again from the place where you work"


@dataclasses.dataclass(frozen=True, slots=True)
class Initiation:
    """Where the browser goes first: a form to send to the tool's login address; ``origins`` are all of the tool's."""

    url: str
    method: str
    fields: Mapping[str, str]
    origins: frozenset[str]


@dataclasses.dataclass(frozen=True, slots=True)
class FormPost:
    """The answer to the tool, which the browser posts to its redirect address: an id_token or an error."""

    url: str
    fields: Mapping[str, str] = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Repost:
    """The browser did not send its session, as it does for posts from other sites: let it send the same from here."""

    fields: Mapping[str, str]


def configuration(host: Host) -> dict[str, Any]:
    """The platform's OpenID configuration (LTI Dynamic Registration 1.0 section 2.1)."""
    issuer = host.settings.issuer
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/lti/authorize",
        "token_endpoint": tokens.token_url(host),
        "jwks_uri": f"{issuer}/lti/jwks",
        "registration_endpoint": f"{issuer}/lti/register",
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": [keys.ALGORITHM],
        "scopes_supported": ["openid", *SERVICE_SCOPES],
        "response_types_supported": ["id_token"],
        "response_modes_supported": ["form_post"],
        "grant_types_supported": ["implicit", "client_credentials"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": [keys.ALGORITHM],
        "claims_supported": ["iss", "sub", "name", "given_name", "family_name", "email"],
        "https://purl.imsglobal.org/spec/lti-platform-configuration": {
            "product_family_code": PRODUCT,
            "version": messages.product_version(),
            "messages_supported": [{"type": RESOURCE_LINK_REQUEST}, {"type": DEEP_LINKING_REQUEST}],
            "variables": list(variables.SUPPORTED),
        },
    }


def begin(
    host: Host, session: Session, launch: Launch, person: Person, session_token_hash: bytes, *, framed_by: str = ""
) -> Initiation:
    """Begin a launch for a person who is signed in with that session (the hash of its token, as the table keeps it).

    In a frame, which a page of the origin ``framed_by`` shows, there is no session: the launch key that the frame's
    page keeps takes its token's place. Writes in the caller's transaction. Raises LtiError where the tool is missing
    or the address is not the tool's.
    """
    tool = registrations.of_asset(session, launch.asset)
    target = (launch.asset.opening or {}).get("url") or tool.target_link_uri
    if not tool.owns(target):
        raise LtiError(
            "target_not_of_tool", f"{target} is not an address of the LTI tool '{tool.name}'; ask your LMS admin"
        )
    row = LtiHint(launch_id=launch.id, session_hash=session_token_hash, target_link_uri=target)
    row.storage_target, row.framed_by = _PARENT if framed_by else "", framed_by
    deployment_id = tool.deployment_of(launch.prompt.event.connection.name)
    return initiate(host, session, tool, person, row, deployment_id=deployment_id)


def initiate(
    host: Host, session: Session, tool: Tool, person: Person, row: LtiHint, *, deployment_id: str
) -> Initiation:
    """Third-party initiated login for ``row``, a hint that knows its message, browser and target; it is kept here."""
    hint, subject = secrets.token_urlsafe(24), subjects.person(host.vault, tool.client_id, person.key)
    hint = _FRAMED + hint if row.storage_target else hint
    row.hint_hash, row.login_hint, row.expires_at = _hash(hint), subject, now() + HINT_LIFE
    session.add(row)
    fields = {
        "iss": host.settings.issuer,
        "login_hint": subject,
        "target_link_uri": row.target_link_uri,
        "lti_message_hint": hint,
        "client_id": tool.client_id,
        "lti_deployment_id": deployment_id,
        **_storage(hint),
    }
    return Initiation(tool.initiate_login_uri, "post", fields, tool.origins)


def authorize(
    host: Host,
    request: Mapping[str, str],
    *,
    session_hash: bytes | None,
    reposted: bool,
    key_hash: bytes | None = None,
) -> FormPost | Repost:
    """Answer an authentication request (OpenID Connect Core section 3.1.2.1 with form_post).

    ``session_hash`` is that of the browser's living session, None without one; ``reposted`` says that the browser was
    asked for it once already. For a launch in a frame ``key_hash``, that of the launch key, counts and no session.
    Raises LtiError where nothing may be sent to the redirect address: unknown client, or an address that is not the
    client's.
    """
    tool = _client(host, request)
    hint = request.get("lti_message_hint", "")
    echoed = ({"state": request["state"]} if "state" in request else {}) | _storage(hint)
    proof = key_hash if is_framed(hint) else session_hash
    try:
        _check(request)
        if proof is None and not reposted:
            return Repost(request)
        claims = _take(host, tool, request, proof)
    except OAuthError as error:
        logger("lti").info("launch refused", code=error.code, tool=tool.name)
        answer = {"error": error.error, "error_description": error.description}
        return FormPost(request["redirect_uri"], answer | echoed)
    return FormPost(request["redirect_uri"], {"id_token": keys.sign(host, claims)} | echoed)


def is_framed(hint: str) -> bool:
    """Is it the ``lti_message_hint`` of a launch in a frame?"""
    return hint.startswith(_FRAMED)


def framed_by(host: Host, hint: str) -> str:
    """The origin whose page shows the launch of that ``lti_message_hint`` in a frame, "" for one in a tab."""
    if not is_framed(hint):
        return ""
    with host.db.read() as session:
        row = session.get(LtiHint, _hash(hint))
    return row.framed_by if row is not None else ""


def _storage(hint: str) -> dict[str, str]:
    return {"lti_storage_target": _PARENT} if is_framed(hint) else {}


def _client(host: Host, request: Mapping[str, str]) -> Tool:
    with host.db.glance() as session:
        tool = registrations.by_client_id(session, request.get("client_id", ""))
        pending = tool is None and registrations.awaits_approval(session, request.get("client_id", ""))
    if pending:
        raise LtiError("client_pending", "This LTI tool registered itself and waits for an admin's approval.")
    if tool is None:
        raise LtiError("client_unknown", "No LTI tool is registered with this client_id, or it is switched off.")
    if request.get("redirect_uri") not in tool.redirect_uris:
        raise LtiError(
            "redirect_uri_unknown",
            f"The LTI tool '{tool.name}' asks for an answer at an address that is not registered for it."
            " Its redirect_uris must hold the address exactly as the tool sends it.",
        )
    return tool


def _check(request: Mapping[str, str]) -> None:
    """The parameters that must have one value."""
    if "openid" not in request.get("scope", "").split():
        raise OAuthError("invalid_scope", "scope_openid_missing", "scope must contain openid")
    if request.get("response_type") != "id_token":
        raise OAuthError("unsupported_response_type", "response_type_wrong", "response_type must be id_token")
    for name, value in (("response_mode", "form_post"), ("prompt", "none")):
        if request.get(name) != value:
            raise OAuthError("invalid_request", f"{name}_wrong", f"{name} must be {value}")
    if not 0 < len(request.get("nonce", "")) <= MAX_NONCE:
        raise OAuthError("invalid_request", "nonce_wrong", f"nonce must have 1 to {MAX_NONCE} characters")


def _take(host: Host, tool: Tool, request: Mapping[str, str], session_hash: bytes | None) -> dict[str, Any]:
    """Take the launch that the request names, once, and make its claims."""
    if session_hash is None:
        raise OAuthError(
            "login_required", "session_missing", "you are not signed in to flowbridge here; open the link in a new tab"
        )
    with host.db.write() as session:
        hint = _used(session, request)
        _compare(hint, tool, request, session_hash)
        if hint.selection_id is not None:
            return _deep_linking(host, session, tool, hint, request["nonce"])
        return _resource_link(host, session, tool, hint, request["nonce"])


def _resource_link(host: Host, session: Session, tool: Tool, hint: LtiHint, nonce: str) -> dict[str, Any]:
    launch = session.get_one(Launch, hint.launch_id, options=_OCCASION)
    if registrations.name_for(launch.asset) != tool.name:
        raise _of_other_client()
    place = Place.of(host, tool, launch)
    insert_once(
        session,
        ContextMember,
        connection_id=tool.connection_id,
        context=place.context,
        subject=hint.login_hint,
        person_id=launch.person_id,
    )
    item = line_items.of_launch(session, tool, launch, place)
    grades = Grades(
        line_items.collection_url(host, place.context),
        line_items.url(host, place.context, item) if item else None,
    )
    return messages.resource_link(host, tool, launch, place, hint=hint, nonce=nonce, grades=grades)


def _deep_linking(host: Host, session: Session, tool: Tool, hint: LtiHint, nonce: str) -> dict[str, Any]:
    selection = session.get_one(ContentSelection, hint.selection_id)
    if selection.connection_id != tool.connection_id:
        raise _of_other_client()
    person = session.get_one(Person, selection.person_id)
    return messages.deep_linking(host, tool, person, selection, hint=hint, nonce=nonce)


def _used(session: Session, request: Mapping[str, str]) -> LtiHint:
    """The hint of the request, used from now on; a refusal later rolls that back with everything else."""
    name, at = _hash(request.get("lti_message_hint", "")), now()
    unused = update(LtiHint).where(LtiHint.hint_hash == name, LtiHint.used_at.is_(None))
    taking = unused.values(used_at=at).returning(LtiHint)
    hint = session.scalar(taking, execution_options={"synchronize_session": False})
    if hint is None:
        if session.get(LtiHint, name) is not None:
            raise _over("hint_used", "this launch was used already")
        raise _over("hint_unknown", "lti_message_hint names no launch that is under way")
    if hint.expires_at <= at:
        raise _over("hint_expired", "this launch took too long")
    return hint


def _compare(hint: LtiHint, tool: Tool, request: Mapping[str, str], session_hash: bytes) -> None:
    """Is it this person's launch, and of this browser?"""
    if not hmac.compare_digest(hint.login_hint.encode(), request.get("login_hint", "").encode()):
        raise OAuthError("invalid_request", "login_hint_wrong", "login_hint must be echoed as it was sent")
    if not hmac.compare_digest(hint.session_hash, session_hash):
        raise OAuthError("login_required", "session_other", f"this launch was begun in another sign-in; {_AGAIN}")


def _of_other_client() -> OAuthError:
    return OAuthError("invalid_request", "hint_of_other_client", "lti_message_hint belongs to another tool")


def _over(code: str, message: str) -> OAuthError:
    # The word that LMSs send for a launch that can't go on; tools know it and show "launch again".
    return OAuthError("launch_no_longer_valid", code, f"{message}; {_AGAIN}")


def _hash(hint: str) -> bytes:
    return hashlib.sha256(hint.encode()).digest()
