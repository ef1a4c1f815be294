"""Deep linking, as tool: an LMS's author places assets of the catalogue in a course (Deep Linking 2.0).

https://www.imsglobal.org/spec/lti-dl/v2p0: the settings of the request in section 4.4.2, the response in section 4.5.
"""

from __future__ import annotations

import dataclasses
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

from bridge.lti import keys
from bridge.lti.errors import LtiError
from bridge.lti.host import Host
from bridge.lti.tool.platforms import Platform
from bridge.lti.vocabulary import CLAIM, DEEP_LINKING_CLAIM, DEEP_LINKING_RESPONSE, VERSION

RESOURCE_LINK = "ltiResourceLink"
#: How long a response is valid, in seconds.
LIFE_SECONDS = 300
MAXIMUM = 100
_LONGEST = 4096
_ADDRESS = re.compile(r"(https?://(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::[0-9]{1,5})?)(?:[/?][!-~]*)?", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What the LMS asks for: where the answer goes, how many items it takes, and whether they may have a grade.

    ``echo`` holds the ``data`` that goes back as it came, and nothing where none came.
    """

    return_url: str
    multiple: bool
    graded: bool
    echo: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, platform: Platform, settings: Mapping[str, Any]) -> Self:
        """Read the settings of a verified request; raises LtiError where nothing of ours can be placed."""
        accepted = settings.get("accept_types")
        if not isinstance(accepted, list) or RESOURCE_LINK not in accepted:
            raise LtiError("nothing_to_place", "Your LMS takes no LTI links at this place, which is all there is here.")
        return cls(
            return_url=_return_url(platform, settings.get("deep_link_return_url")),
            multiple=settings.get("accept_multiple") in (True, "true"),
            graded=settings.get("accept_lineitem") not in (False, "false"),
            echo={"data": settings["data"]} if settings.get("data") is not None else {},
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Placed:
    """An asset to place; ``graded`` when it can be completed."""

    name: str
    title: str
    summary: str
    graded: bool


def response(host: Host, platform: Platform, deployment_id: str, wanted: Wanted, placed: Sequence[Placed]) -> str:
    """The signed answer, with one item for each asset; none says that the author chose nothing."""
    at = int(time.time())
    claims = {
        "iss": platform.client_id,
        "aud": platform.issuer,
        "iat": at,
        "exp": at + LIFE_SECONDS,
        "nonce": secrets.token_urlsafe(24),
        f"{CLAIM}deployment_id": deployment_id,
        f"{CLAIM}message_type": DEEP_LINKING_RESPONSE,
        f"{CLAIM}version": VERSION,
        f"{DEEP_LINKING_CLAIM}content_items": [_item(host, one, graded=wanted.graded) for one in placed],
        **{DEEP_LINKING_CLAIM + name: value for name, value in wanted.echo.items()},
    }
    return keys.sign(host, claims)


def origin(url: str) -> str:
    """Scheme, host and port of a web address, "" where it is none: nothing else gets into a page's policy."""
    found = _ADDRESS.fullmatch(url)
    return found[1].lower() if found else ""


def _item(host: Host, placed: Placed, *, graded: bool) -> dict[str, Any]:
    from pylti1p3.deep_link_resource import DeepLinkResource
    from pylti1p3.lineitem import LineItem

    resource = DeepLinkResource().set_title(placed.title).set_custom_params({"asset": placed.name})
    resource.set_url(f"{host.settings.issuer}/lti/tool/launch")
    if graded and placed.graded:
        line_item = LineItem().set_label(placed.title).set_score_maximum(MAXIMUM).set_resource_id(placed.name)
        resource.set_lineitem(line_item)
    item: dict[str, Any] = resource.to_dict()
    return item | ({"text": placed.summary} if placed.summary else {})


def _return_url(platform: Platform, url: Any) -> str:
    """Over https; over http only where the LMS itself is there, as in development."""
    found = origin(url) if isinstance(url, str) and len(url) <= _LONGEST else ""
    own = {origin(platform.issuer), origin(platform.auth_login_url)}
    if not found or not (found.startswith("https:") or found in own):
        raise LtiError("return_url_refused", "Your LMS wants the answer at an address that is not secure (https://).")
    return str(url)
