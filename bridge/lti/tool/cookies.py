"""The cookie that binds a login to the browser that began it."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def name_of(state: str) -> str:
    """Each login has a cookie of its own, so that launches side by side don't disturb each other."""
    return "lti1p3_" + hashlib.sha256(state.encode()).hexdigest()[:16]


def cross_sites(address: str) -> bool:
    """Do browsers let a tool at that address have cookies in frames of other sites: over https, or on this machine?"""
    parts = urlsplit(address)
    host = parts.hostname or ""
    return parts.scheme == "https" or host in _LOOPBACK or host.endswith(".localhost")


def header(state: str, *, path: str, seconds: int, crosses: bool) -> str:
    """The Set-Cookie header of a state.

    The LMS posts the launch from its own site, most often in a frame; a cookie comes back from there only when it says
    so (``crosses``), and browsers take that only where ``cross_sites`` is true. Elsewhere it stays with pages of one
    site: over plain http the bridge can be launched by an LMS on the same host name, and by no other.
    """
    how = "Secure; SameSite=None; Partitioned" if crosses else "SameSite=Lax"
    return f"{name_of(state)}={state}; Max-Age={seconds}; Path={path}; HttpOnly; {how}"
