"""Addresses that peers send when they register: read strictly, kept letter by letter."""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import SplitResult, urlsplit

from bridge.connect import ConfigError, Egress
from bridge.lti.errors import LtiError
from bridge.lti.fields import LONGEST
from bridge.lti.host import Host

#: What no URL holds (RFC 3986 section 2).
_STRANGE = re.compile(r"[^\x21-\x7e]|[\"<>\\^`{|}]")


def web(host: Host, value: object, name: str) -> str:
    """A web address with a host, without user and fragment: https, or http where the peer is allowed to be near.

    That is on this machine, and everywhere with ``allow_private_peers``. Raises LtiError naming the field.
    """
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST or _STRANGE.search(value):
        raise LtiError("address_invalid", f"{name}: an address of at most {LONGEST} characters, without blanks")
    parts = _split(value)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise LtiError("address_invalid", f"{name}: an address begins with https:// and a host")
    if "@" in parts.netloc or parts.fragment:
        raise LtiError("address_invalid", f"{name}: an address holds no user and no fragment")
    if parts.scheme == "http" and not (host.settings.allow_private_peers or _is_loopback(parts.hostname)):
        raise LtiError("address_insecure", f"{name}: the address must begin with https://")
    return value


def _split(value: str) -> SplitResult | None:
    try:
        parts = urlsplit(value)
        _ = parts.port  # a port that is none is noticed only when it is read
    except ValueError:
        return None
    return parts


def _is_loopback(hostname: str) -> bool:
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return hostname == "localhost"


def place(url: str) -> tuple[str, int]:
    """The host and the port that a web address leads to."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def refuse_internal(host: Host, hostname: str) -> None:
    """Raise LtiError where a name leads into a network that registrations may not name.

    A name that can't be looked up passes: the guard of outside calls checks every connection again.
    """
    egress = Egress(allow_private=host.settings.allow_private_peers)
    try:
        found = socket.getaddrinfo(hostname, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return
    for *_, address in found:
        try:
            egress.check(str(address[0]))
        except ConfigError as error:
            raise LtiError("address_internal", f"{hostname}: {error}") from None
