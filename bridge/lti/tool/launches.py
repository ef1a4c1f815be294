"""Launches of the bridge by an LMS: verified, and taken once (LTI Core 1.3 section 5.1; OpenID Connect Core 3.2.2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

from bridge.lti import keysets, vocabulary
from bridge.lti.host import Host
from bridge.lti.tool import id_tokens, logins
from bridge.lti.tool.platforms import Platform
from bridge.store import now
from bridge.store.insert import insert_into
from bridge.store.tables import LmsDeployment

_SHORT = vocabulary.ROLE + "membership#"


@dataclasses.dataclass(frozen=True, slots=True)
class Launched:
    """A verified launch: who, from where, and for what.

    A person there is ``(platform, subject)`` and nothing else; what else the LMS says of them is in ``claims``.
    """

    platform: Platform
    deployment_id: str
    subject: str
    #: LtiResourceLinkRequest or LtiDeepLinkingRequest.
    message_type: str
    claims: Mapping[str, Any] = dataclasses.field(repr=False)

    def claim(self, name: str) -> Mapping[str, Any]:
        """A claim of LTI Core that is an object, {} without it."""
        value = self.claims.get(vocabulary.CLAIM + name)
        return value if isinstance(value, Mapping) else {}

    def text(self, claim: str, member: str) -> str:
        """A text in such a claim, "" without it."""
        value = self.claim(claim).get(member)
        return value if isinstance(value, str) else ""

    @property
    def roles(self) -> frozenset[str]:
        """The roles as full names; a short one is a role in the context (LTI Core 1.3 section 7.1.1)."""
        return frozenset(full_role(role) for role in self.claims[vocabulary.CLAIM + "roles"])

    @property
    def resource_link_id(self) -> str:
        return self.text("resource_link", "id")

    @property
    def context_id(self) -> str:
        return self.text("context", "id")

    @property
    def context_title(self) -> str:
        return self.text("context", "title") or self.text("context", "label")

    @property
    def custom(self) -> dict[str, str]:
        """The custom parameters that are texts."""
        return {name: value for name, value in self.claim("custom").items() if isinstance(value, str)}

    @property
    def target_link_uri(self) -> str:
        return str(self.claims[vocabulary.CLAIM + "target_link_uri"])


def full_role(role: str) -> str:
    """A role by its full name."""
    return role if ":" in role else _SHORT + role


def launch(host: Host, params: Mapping[str, str], cookies: Mapping[str, str]) -> Launched:
    """Verify the launch of a form and take its login, so that it counts once; raises LtiError with a stable code.

    ``cookies`` are the browser's: they, or the form's proof of what the LMS's frame kept, show that it began here.
    """
    from pylti1p3.exception import LtiException

    from bridge.lti.tool import peer

    message = peer.Launch(peer.Exchange(params, cookies), logins.States(host), partial(keysets.public_key, host))
    try:
        message.validate()
    except peer.DeploymentPending as pending:
        _remember(host, pending.platform, pending.deployment_id)
        raise
    except LtiException as error:
        raise id_tokens.refused("message_invalid", str(error)) from None
    claims = message.claims
    return Launched(
        platform=message.begun.platform,
        deployment_id=claims[vocabulary.CLAIM + "deployment_id"],
        subject=claims["sub"],
        message_type=claims[vocabulary.CLAIM + "message_type"],
        claims=claims,
    )


def _remember(host: Host, platform: Platform, deployment_id: str) -> None:
    """Let an admin see a deployment that waits to be approved."""
    with host.db.write() as session:
        seen = insert_into(session, LmsDeployment).values(
            connection_id=platform.connection_id, deployment_id=deployment_id
        )
        again = {"launches": LmsDeployment.launches + 1, "last_seen": now()}
        session.execute(seen.on_conflict_do_update(index_elements=["connection_id", "deployment_id"], set_=again))
