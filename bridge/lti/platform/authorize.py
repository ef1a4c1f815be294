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

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import bindparam, insert, select, update

from bridge.lti import keys
from bridge.lti.errors import LtiError, OAuthError
from bridge.lti.host import Host
from bridge.lti.platform import line_items, messages, registrations, subjects, tokens, variables
from bridge.lti.platform.messages import Grades, Place
from bridge.lti.platform.registrations import Tool
from bridge.lti.vocabulary import CLAIM, DEEP_LINKING_REQUEST, PRODUCT, RESOURCE_LINK_REQUEST, SERVICE_SCOPES
from bridge.observe import logger
from bridge.store import now
from bridge.store.occasion import AnyLaunch
from bridge.store.tables import LtiHint, SignInSession

#: How long a launch may take from the click to the tool.
HINT_LIFE = dt.timedelta(minutes=5)
MAX_NONCE = 512
_KEEP = insert(LtiHint.__table__)  # type: ignore[arg-type]
_LOOK = select(LtiHint.used_at, LtiHint.expires_at, LtiHint.login_hint, LtiHint.session_hash).where(
    LtiHint.hint_hash == bindparam("hint")
)
#: One statement checks and takes, so that of many requests at once one wins and a refused one uses up nothing.
_TAKE_FRAMED = (
    update(LtiHint)
    .where(
        LtiHint.hint_hash == bindparam("hint"),
        LtiHint.used_at.is_(None),
        LtiHint.expires_at > bindparam("at"),
        LtiHint.connection_id == bindparam("tool"),
        LtiHint.login_hint == bindparam("login"),
        LtiHint.session_hash == bindparam("session"),
    )
    .values(used_at=bindparam("at"))
    .returning(LtiHint.message)
)
_LIVES = select(SignInSession.token_hash).where(
    SignInSession.token_hash == bindparam("session"), SignInSession.expires_at > bindparam("at")
)
_TAKE = _TAKE_FRAMED.where(_LIVES.exists())
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


def begin(host: Host, db: SqlConnection, launch: AnyLaunch, session_hash: bytes, *, framed_by: str = "") -> Initiation:
    """Begin a launch for its person, who is signed in with that session (the hash of its token, as the table keeps it).

    In a frame, which a page of the origin ``framed_by`` shows, there is no session: the launch key that the frame's
    page keeps takes its token's place. Writes in the caller's transaction, in which the launch may come later. Raises
    LtiError where the tool is missing or the address is not the tool's.
    """
    tool = registrations.of_asset(db, launch.asset)
    target = (launch.asset.opening or {}).get("url") or tool.target_link_uri
    if not tool.owns(target):
        raise LtiError(
            "target_not_of_tool", f"{target} is not an address of the LTI tool '{tool.name}'; ask your LMS admin"
        )
    place = Place.of(host, tool, launch)
    item = line_items.take_part(db, tool, launch, place, subjects.person(host.vault, tool.client_id, launch.person.key))
    grades = Grades(
        line_items.collection_url(host, place.context),
        line_items.url(host, place.context, item) if item else None,
    )
    framed = framed_by != ""
    message = messages.resource_link(host, tool, launch, place, target=target, framed=framed, grades=grades)
    return initiate(host, db, tool, message, session_hash, framed_by=framed_by)


def initiate(
    host: Host, db: SqlConnection, tool: Tool, message: dict[str, Any], session_hash: bytes, *, framed_by: str = ""
) -> Initiation:
    """Third-party initiated login for a message, which is kept here until the tool asks for it."""
    hint = (_FRAMED if framed_by else "") + secrets.token_urlsafe(24)
    row = {
        "hint_hash": _hash(hint),
        "connection_id": tool.connection_id,
        "message": message,
        "framed_by": framed_by,
        "session_hash": session_hash,
        "login_hint": message["sub"],
        "expires_at": now() + HINT_LIFE,
    }
    db.execute(_KEEP, row)
    fields = {
        "iss": host.settings.issuer,
        "login_hint": message["sub"],
        "target_link_uri": message[f"{CLAIM}target_link_uri"],
        "lti_message_hint": hint,
        "client_id": tool.client_id,
        "lti_deployment_id": message[f"{CLAIM}deployment_id"],
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

    ``session_hash`` is that of the session's token that the browser sent, None without one; ``reposted`` says that the
    browser was asked for it once already. For a launch in a frame ``key_hash``, that of the launch key, counts and no
    session.
    Raises LtiError where nothing may be sent to the redirect address: unknown client, or an address that is not the
    client's.
    """
    tool = _client(host, request)
    hint = request.get("lti_message_hint", "")
    echoed = ({"state": request["state"]} if "state" in request else {}) | _storage(hint)
    proof = key_hash if is_framed(hint) else session_hash
    try:
        _check(request)
        claims = _take(host, tool, request, proof)
        if claims is None and not reposted:
            return Repost(request)
        if claims is None:
            raise OAuthError(
                "login_required",
                "session_missing",
                "you are not signed in to flowbridge here; open the link in a new tab",
            )
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
    with host.db.look() as db:
        return db.execute(select(LtiHint.framed_by).where(LtiHint.hint_hash == _hash(hint))).scalar() or ""


def _storage(hint: str) -> dict[str, str]:
    return {"lti_storage_target": _PARENT} if is_framed(hint) else {}


def _client(host: Host, request: Mapping[str, str]) -> Tool:
    with host.db.look() as db:
        tool = registrations.by_client_id(db, request.get("client_id", ""))
        pending = tool is None and registrations.awaits_approval(db, request.get("client_id", ""))
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


def _take(host: Host, tool: Tool, request: Mapping[str, str], proof: bytes | None) -> dict[str, Any] | None:
    """Take the message that the request names, once: only of this tool, this person and this browser.

    None where the browser proves nothing: it sent no session that lives, or no launch key.
    """
    if proof is None:
        return None
    hint, login_hint = request.get("lti_message_hint", ""), request.get("login_hint", "")
    wanted = {
        "hint": (name := _hash(hint)),
        "tool": tool.connection_id,
        # No database takes a NUL, and no login_hint has one.
        "login": "" if "\x00" in login_hint else login_hint,
        "session": proof,
        "at": now(),
    }
    with host.db.step() as db:
        message = db.execute(_TAKE_FRAMED if is_framed(hint) else _TAKE, wanted).scalar()
    if message is None:
        with host.db.look() as db:
            if not is_framed(hint) and db.execute(_LIVES, {"session": proof, "at": now()}).first() is None:
                return None
            raise _refusal(db, name, login_hint, proof)
    return {**message, **messages.fresh(request["nonce"])}


def _refusal(db: SqlConnection, hint: bytes, login_hint: str, session_hash: bytes) -> OAuthError:
    """Why a message was not taken."""
    row = db.execute(_LOOK, {"hint": hint}).first()
    if row is None:
        return _over("hint_unknown", "lti_message_hint names no launch that is under way")
    if row.used_at is not None:
        return _over("hint_used", "this launch was used already")
    if row.expires_at <= now():
        return _over("hint_expired", "this launch took too long")
    if not hmac.compare_digest(row.login_hint.encode(), login_hint.encode()):
        return OAuthError("invalid_request", "login_hint_wrong", "login_hint must be echoed as it was sent")
    if not hmac.compare_digest(row.session_hash, session_hash):
        return OAuthError("login_required", "session_other", f"this launch was begun in another sign-in; {_AGAIN}")
    return OAuthError("invalid_request", "hint_of_other_client", "lti_message_hint belongs to another tool")


def _over(code: str, message: str) -> OAuthError:
    # The word that LMSs send for a launch that can't go on; tools know it and show "launch again".
    return OAuthError("launch_no_longer_valid", code, f"{message}; {_AGAIN}")


def _hash(hint: str) -> bytes:
    return hashlib.sha256(hint.encode()).digest()
