"""Deep linking, as platform: an admin chooses content in a tool (https://www.imsglobal.org/spec/lti-dl/v2p0).

The request goes out like a launch; the answer comes back through the admin's browser, signed by the tool. It counts
once, in the browser that asked, and what it names is taken only from the tool's own origins, as plain text.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import html
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import jwt
import nh3
import orjson
from jwt.utils import base64url_decode
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from bridge.lti import fields, keysets
from bridge.lti.errors import LtiError
from bridge.lti.host import Host
from bridge.lti.platform import authorize, messages, registrations
from bridge.lti.platform.authorize import Initiation
from bridge.lti.platform.registrations import Tool
from bridge.lti.vocabulary import CLAIM, DEEP_LINKING_CLAIM, DEEP_LINKING_RESPONSE, VERSION
from bridge.observe import logger
from bridge.store import now
from bridge.store.insert import insert_once
from bridge.store.tables import ContentSelection, Person, UsedToken

#: How long an admin may choose, and then look at what was chosen.
SELECTION_LIFE = dt.timedelta(minutes=30)
LEEWAY_SECONDS = 60
#: The longest life of an answer.
RESPONSE_SECONDS = 3600
MAX_NONCE = 512
MAX_ITEMS = 200
MAX_CUSTOM = 50
_LONGEST = {"title": 1024, "text": 4096, "url": 2048, "msg": 1024}
_AGAIN = "choose the content again from the tool's page in the console"


def begin(
    host: Host, session: Session, connection_id: int, person: Person, session_token_hash: bytes, *, multiple: bool
) -> Initiation:
    """Begin a selection for an admin who is signed in with that session; ``multiple`` allows more than one item.

    Writes in the caller's transaction. Raises LtiError where the connection is no tool that is switched on.
    """
    tool = registrations.by_connection(session, connection_id)
    if tool is None:
        raise LtiError("tool_missing", "this connection is no LTI tool that is switched on; switch it on first")
    selection = ContentSelection(
        id=uuid.uuid4(),
        connection_id=connection_id,
        person_id=person.id,
        deployment_id=tool.deployment_id,
        session_hash=session_token_hash,
        multiple=multiple,
        expires_at=now() + SELECTION_LIFE,
    )
    selection.data_hash = _hash(messages.selection_data(host, selection.id))
    session.add(selection)
    session.flush()
    message = messages.deep_linking(host, tool, person, selection)
    return authorize.initiate(host, session.connection(), tool, message, session_token_hash)


def receive(host: Host, token: str, session_token_hash: bytes) -> uuid.UUID:
    """Take a tool's answer (a deep linking response, section 4.5) and keep what was chosen with its selection.

    Raises LtiError, and then nothing was taken: the tool may answer again while the selection is open.
    """
    tool, claims = _verified(host, token)
    items, said = _items(tool, claims), _said(tool, claims)
    with host.db.write() as session:
        selection = _selection(session, tool, claims, session_token_hash)
        if len(items) > 1 and not selection.multiple:
            raise LtiError("items_more_than_one", "the tool sent several items, though one was asked for")
        open_ones = update(ContentSelection).where(
            ContentSelection.id == selection.id, ContentSelection.answered_at.is_(None)
        )
        answer = {"answered_at": now(), "expires_at": now() + SELECTION_LIFE, "chosen": items, "said": said}
        if session.execute(open_ones.values(answer).returning(ContentSelection.id)).first() is None:
            raise LtiError("selection_answered", f"the tool's answer was taken already; {_AGAIN}", status=409)
        until = dt.datetime.fromtimestamp(int(claims["exp"]) + LEEWAY_SECONDS, dt.UTC)
        nonce = _hash(claims["nonce"]).hex()
        if not insert_once(session, UsedToken, issuer=f"lti-response:{tool.client_id}", token=nonce, expires_at=until):
            raise LtiError("nonce_used", "the tool's answer has a nonce that was used before; it needs a new one")
    return selection.id


def _verified(host: Host, token: str) -> tuple[Tool, Mapping[str, Any]]:
    """The tool that signed an answer, and the answer's verified claims."""
    header, claimed = _read(token)
    if header.get("alg") != "RS256":
        raise LtiError("response_algorithm", "the tool must sign its answer with RS256")
    if not isinstance(header.get("kid"), str):
        raise LtiError("response_kid_missing", "the header of the tool's answer must name the key: kid")
    with host.db.read() as session:
        tool = registrations.by_client_id(session, str(claimed.get("iss", "")))
    if tool is None:
        raise LtiError("client_unknown", "iss is the client id of no tool that is registered and switched on")
    key = keysets.public_key(host, tool, header["kid"])
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=["RS256"],
            audience=host.settings.issuer,
            issuer=tool.client_id,
            leeway=LEEWAY_SECONDS,
            options={"require": ["iss", "aud", "exp", "iat", "nonce"]},
        )
    except jwt.PyJWTError as error:
        raise LtiError("response_invalid", f"the answer of '{tool.name}' is refused: {error}") from None
    _check(host, tool, claims)
    return tool, claims


def _read(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Header and claims, unverified: read without NaN, half characters and NUL, which no database takes."""
    try:
        header, payload = jwt.get_unverified_header(token), base64url_decode(token.split(".")[1])
        claimed = orjson.loads(payload)
    except (jwt.PyJWTError, ValueError, RecursionError):
        claimed = None
    if not isinstance(claimed, dict) or b"\\u0000" in payload:
        raise LtiError("response_malformed", "the tool's answer is not a JWT that can be read")
    return header, claimed


def _check(host: Host, tool: Tool, claims: Mapping[str, Any]) -> None:
    """What a signature alone does not say: the party, the time, and which message it is."""
    party, many = claims.get("azp"), isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if (many or party is not None) and party not in (host.settings.issuer, tool.client_id):
        raise LtiError("response_azp", "azp of the tool's answer must name this platform or the tool")
    if int(claims["exp"]) - int(claims["iat"]) > RESPONSE_SECONDS:
        raise LtiError("response_life", f"the tool's answer may live {RESPONSE_SECONDS} seconds at most")
    nonce = claims["nonce"]
    if not isinstance(nonce, str) or not 0 < len(nonce) <= MAX_NONCE:
        raise LtiError("response_nonce", f"nonce of the tool's answer must have 1 to {MAX_NONCE} characters")
    if claims.get(f"{CLAIM}message_type") != DEEP_LINKING_RESPONSE:
        raise LtiError("message_type_wrong", f"the tool must answer with the message {DEEP_LINKING_RESPONSE}")
    if claims.get(f"{CLAIM}version") != VERSION:
        raise LtiError("version_wrong", f"the tool must answer in version {VERSION} of LTI")


def _selection(session: Session, tool: Tool, claims: Mapping[str, Any], session_token_hash: bytes) -> ContentSelection:
    data = claims.get(f"{DEEP_LINKING_CLAIM}data")
    if not isinstance(data, str) or not data:
        raise LtiError("data_missing", "the tool's answer lacks data, which must be echoed as it was sent")
    row = session.scalar(select(ContentSelection).where(ContentSelection.data_hash == _hash(data)))
    if row is None or row.connection_id != tool.connection_id:
        raise LtiError("selection_unknown", f"data names no selection in this tool that is under way; {_AGAIN}")
    if row.expires_at <= now():
        raise LtiError("selection_expired", f"this selection took too long; {_AGAIN}")
    if not hmac.compare_digest(row.session_hash, session_token_hash):
        raise LtiError("session_other", f"this selection was begun in another sign-in; {_AGAIN}", status=403)
    if claims.get(f"{CLAIM}deployment_id") != row.deployment_id:
        raise LtiError("deployment_wrong", "deployment_id is not the one that the tool was sent")
    return row


def _said(tool: Tool, claims: Mapping[str, Any]) -> dict[str, str]:
    """What the tool tells the admin; what it tells the log goes there."""
    told = {name: claims.get(DEEP_LINKING_CLAIM + name) for name in ("msg", "errormsg", "log", "errorlog")}
    texts = {name: _plain(value[: _LONGEST["msg"]]) for name, value in told.items() if isinstance(value, str)}
    if texts.get("log") or texts.get("errorlog"):
        logger("lti").info("content chosen", tool=tool.name, log=texts.get("log"), errorlog=texts.get("errorlog"))
    said = {"message": texts.get("msg"), "problem": texts.get("errormsg")}
    return {name: text for name, text in said.items() if text}


def _items(tool: Tool, claims: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The chosen items in the words of the tool's settings (a resource without id and kind)."""
    listed = claims.get(f"{DEEP_LINKING_CLAIM}content_items")
    if listed is None:
        return []
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise LtiError("items_malformed", "content_items must be a list of objects")
    if len(listed) > MAX_ITEMS:
        raise LtiError("items_too_many", f"the tool sent {len(listed)} items; at most {MAX_ITEMS} are taken at once")
    return [_item(tool, number, item) for number, item in enumerate(listed, start=1)]


def _item(tool: Tool, number: int, item: Mapping[str, Any]) -> dict[str, Any]:
    try:
        if item.get("type") not in messages.ACCEPT_TYPES:
            raise LtiError("item_type_not_asked", f"its type must be one of {', '.join(messages.ACCEPT_TYPES)}")
        url, is_link = _url(tool, item.get("url")), item["type"] == "link"
        if is_link and not url:
            raise LtiError("item_url_refused", "a link needs its url")
        title = _text(item, "title") or url or tool.name
        known = {
            "title": title,
            "summary": _text(item, "text"),
            "url": url,
            "custom": {} if is_link else _custom(item.get("custom")),
            "line_item": None if is_link else _line_item(item.get("lineItem"), title),
            "plain_link": is_link,
        }
    except LtiError as error:
        raise LtiError(error.code, f"item {number} of the tool's answer is refused: {error}") from None
    return {name: value for name, value in known.items() if value}


def _url(tool: Tool, url: Any) -> str:
    """An address on one of the tool's own origins, "" without one."""
    if url is None:
        return ""
    if not isinstance(url, str) or len(url) > _LONGEST["url"] or not url.isprintable() or " " in url:
        raise LtiError("item_url_refused", f"its url must be an address of at most {_LONGEST['url']} characters")
    try:
        scheme, own = urlsplit(url).scheme, tool.owns(url)
    except ValueError:
        scheme, own = "", False
    if scheme not in ("http", "https"):
        raise LtiError("item_url_refused", "its url must begin with https://")
    if not own:
        raise LtiError("item_url_foreign", f"its url is not an address of the LTI tool '{tool.name}'")
    return url


def _text(item: Mapping[str, Any], name: str) -> str:
    value = item.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _LONGEST[name]:
        raise LtiError("item_text_refused", f"its {name} must be a text of at most {_LONGEST[name]} characters")
    return _plain(value)


def _plain(value: str) -> str:
    """A text without markup, on one line."""
    return " ".join(html.unescape(nh3.clean(value, tags=set())).split())


def _custom(custom: Any) -> dict[str, str]:
    if custom is None:
        return {}
    texts = [*custom, *custom.values()] if isinstance(custom, dict) else [None]
    if len(texts) > 2 * MAX_CUSTOM or not all(isinstance(one, str) and len(one) <= fields.LONGEST for one in texts):
        raise LtiError(
            "item_custom_refused",
            f"its custom parameters must be at most {MAX_CUSTOM}, each a text of at most {fields.LONGEST} characters",
        )
    return dict(custom)


def _line_item(line_item: Any, title: str) -> dict[str, Any] | None:
    """The column that the item wants; a maximum that is left out is 100, a label that is null the title (Moodle)."""
    if line_item is None:
        return None
    if not isinstance(line_item, dict):
        raise fields.invalid("lineItem", "must be an object")
    maximum = fields.number(line_item, "scoreMaximum", positive=True)
    wanted = {
        "label": _plain(fields.text(line_item, "label")) or title,
        "score_maximum": fields.shown(maximum if maximum is not None else 100.0),
        "resource_id": fields.text(line_item, "resourceId"),
        "tag": fields.text(line_item, "tag"),
    }
    return {name: value for name, value in wanted.items() if value != ""}


def _hash(data: str) -> bytes:
    return hashlib.sha256(data.encode()).digest()
