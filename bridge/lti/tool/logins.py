"""Logins that an LMS begins, and what is kept of them until its launch comes back.

OpenID Connect Core 1.0 section 4, LTI Security Framework 1.0 section 5.1.1; LTI Client Side postMessages for browsers
that keep no cookie in a frame.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete

from bridge.lti.errors import LtiError
from bridge.lti.host import Host
from bridge.lti.platform.registrations import origin
from bridge.lti.tool import platforms
from bridge.store import now
from bridge.store.tables import LmsLogin

if TYPE_CHECKING:
    from bridge.lti.tool.peer import Begun, Exchange

LIFE: Final = dt.timedelta(minutes=10)
#: The field of a launch that is posted again with what the LMS's frame has kept.
PROOF: Final = "flowbridge_proof"
_HINTS = ("iss", "client_id", "login_hint", "lti_message_hint", "target_link_uri")
_LONGEST_HINT = 8_192
_FRAME = re.compile(r"[A-Za-z0-9_.:-]{1,255}")
_AGAIN = "Go back to your LMS and open it from there again."


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
    """What a frame of the LMS keeps for us: ``target`` names the frame, ``origin`` the only page that may read it."""

    target: str
    origin: str
    key: str
    value: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Started:
    """A login under way: the browser takes the state with it to ``url``, and leaves the note with the LMS."""

    url: str
    state: str
    note: Note | None


class Unproved(LtiError):
    """A launch by a browser that does not show that it began the login.

    ``note`` is where the proof may lie, None where there is none; ``again`` are the parameters to begin anew with.
    """

    def __init__(self, note: Note | None, again: Mapping[str, str]) -> None:
        super().__init__(
            "state_cookie_missing",
            "Your browser keeps no cookies for flowbridge inside your LMS's page, so it can't show that this launch is"
            " yours. Open it in a window of its own.",
            status=403,
        )
        self.note, self.again = note, again


class Throttle:
    """So many at once for each key, refilled steadily; in this process."""

    def __init__(
        self, burst: float, per_second: float, *, most: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst, self._rate, self._most, self._clock = burst, per_second, most, clock
        self._left: dict[Hashable, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def allows(self, key: Hashable) -> bool:
        """Take one for this key, when one is left."""
        with self._lock:
            at = self._clock()
            left, since = self._left.pop(key, (self._burst, at))
            left = min(self._burst, left + (at - since) * self._rate)
            self._left[key] = (max(left - 1, 0.0) if left >= 1 else left, at)
            if len(self._left) > self._most:
                del self._left[next(iter(self._left))]  # the one that has been silent for longest
            return left >= 1


#: A whole school may come from one address at the stroke of the bell, and no address for long at more than this.
_THROTTLE = Throttle(1_000, 20)


def launch_url(host: Host) -> str:
    """Where every launch goes: our one redirect_uri and target_link_uri."""
    return f"{host.settings.issuer}/lti/tool/launch"


def begin(host: Host, params: Mapping[str, str], address: str) -> Started:
    """Answer a login initiation that comes from a network address; raises LtiError.

    An issuer with one registration may leave its client id out; what is registered is never told.
    """
    from pylti1p3.exception import OIDCException

    from bridge.lti.tool import peer

    _check(host, params)
    with host.db.read() as session:
        found = platforms.of_issuer(session, params.get("iss", ""), params.get("client_id", ""))
    exchange, sessions = peer.Exchange(params, {}), peer.Sessions()
    try:
        url = peer.Login(exchange, peer.Registrations(found), sessions).redirect(launch_url(host))
    except OIDCException as error:
        raise LtiError("login_malformed", f"Your LMS began a login that lacks something: {error}. {_AGAIN}") from None
    if not _THROTTLE.allows((address, found[0].connection_id)):
        raise LtiError(
            "too_many_logins", "Too many launches come from your network at once. Wait a minute.", status=429
        )
    note = _note(params, origin(found[0].auth_login_url), exchange.state)
    row = LmsLogin(
        state_hash=_hash(exchange.state),
        nonce=sessions.nonce,
        connection_id=found[0].connection_id,
        target_link_uri=params["target_link_uri"],
        storage_target=note.target if note else "",
        proof_hash=_hash(note.value) if note else None,
        hints={name: params[name] for name in _HINTS if name in params},
        expires_at=now() + LIFE,
    )
    with host.db.write() as session:
        session.add(row)
    return Started(url, exchange.state, note)


def _check(host: Host, params: Mapping[str, str]) -> None:
    if params.get("target_link_uri") != launch_url(host):
        raise LtiError(
            "target_unknown",
            f"Your LMS wants to open an address that is not this one: {launch_url(host)}. Its admin can correct that.",
        )
    if any(len(value) > _LONGEST_HINT or "\x00" in value for value in map(params.get, _HINTS) if value):
        raise LtiError("login_malformed", f"Your LMS began a login with overlong or broken parameters. {_AGAIN}")


def _note(params: Mapping[str, str], platform_origin: str, state: str) -> Note | None:
    target = params.get("lti_storage_target", "")
    return Note(target, platform_origin, state, secrets.token_urlsafe(24)) if _FRAME.fullmatch(target) else None


class States:
    """The logins under way, as the adapter asks for them."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def begun(self, exchange: Exchange) -> Begun:
        from bridge.lti.tool.peer import Begun

        state = exchange.get_param("state")
        with self._host.db.read() as session:
            row = session.get(LmsLogin, _hash(state))
            platform = platforms.by_connection(session, row.connection_id) if row is not None else None
        if row is None or row.expires_at <= now():
            raise _over(known=exchange.holds(state))
        if platform is None:
            raise LtiError(
                "platform_switched_off", "Your LMS is not connected to flowbridge any more; ask its admin.", status=403
            )
        if not exchange.holds(state) and not _proves(row, exchange):
            # Asked for once: a frame that kept something else won't know better next time.
            asked = not row.storage_target or exchange.get_param(PROOF)
            note = None if asked else Note(row.storage_target, origin(platform.auth_login_url), state)
            raise Unproved(note, row.hints)
        return Begun(platform, row.nonce, row.target_link_uri)

    def take(self, exchange: Exchange) -> None:
        taken = delete(LmsLogin).where(LmsLogin.state_hash == _hash(exchange.get_param("state")))
        with self._host.db.write() as session:
            if session.execute(taken.returning(LmsLogin.state_hash)).first() is None:
                raise _over(known=True)


def _over(*, known: bool) -> LtiError:
    """The state is gone; ``known`` when this browser did begin with it."""
    if known:
        return LtiError("state_used", f"This launch was opened before, or ran out. {_AGAIN}", status=409)
    return LtiError("state_unknown", f"This launch was not begun here, or ran out. {_AGAIN}", status=403)


def _proves(row: LmsLogin, exchange: Exchange) -> bool:
    return row.proof_hash is not None and hmac.compare_digest(row.proof_hash, _hash(exchange.get_param(PROOF)))


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
