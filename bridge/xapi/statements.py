"""The bridge's own statements, serialised exactly once.

The bytes are what is stored, sent and sent again: a destination compares a repeat with what it has, and any other
serialisation would be another statement to it (xAPI-Data 2.3.1). So ``timestamp`` is set here, and ``stored``,
``authority`` and ``version`` never are: they are the LRS's to set.

Results are built with tincan. The rest is built as the dictionaries that its objects become, because every launch waits
for it; tincan reads all of it back the same, which the tests hold.
"""

from __future__ import annotations

import datetime as dt
from typing import Any
from urllib.parse import quote

from bridge.domain import ids
from bridge.domain.assets import AssetKind, How
from bridge.secrets import Vault
from bridge.store import tables
from bridge.store.occasion import AnyAsset, AnyLaunch, AnyPerson, AnyPrompt
from bridge.xapi import profile
from bridge.xapi.validation.formats import is_language

Json = dict[str, Any]

#: What came of a launch follows it, even where a tool's clock is behind: readers order statements by their timestamps.
_AT_ONCE = dt.timedelta(milliseconds=1)


def for_launch(
    launch: AnyLaunch,
    verb: str,
    *,
    at: dt.datetime,
    issuer: str,
    vault: Vault,
    outcome: tables.Outcome | None = None,
) -> Json:
    """The statement that the person of ``launch`` did ``verb`` (a key of ``profile.VERBS``) with its asset.

    ``issuer`` is this bridge's address: the home page of the actor's account and the root of the activity ids that the
    bridge mints. ``vault`` keys the hash that stands for the business record. The id is the outcome's, or follows from
    the launch and the verb: the same fact has the same id, whoever reports it and how often.
    """
    asset = launch.asset
    kind = profile.ACTIVITY_TYPES[AssetKind(asset.kind)]
    return {
        "id": str(outcome.id if outcome else ids.statement_id(launch.id, verb)),
        "actor": actor(launch.person, issuer),
        "verb": {"id": profile.VERBS[verb]},
        "object": _activity(activity_id(asset, issuer), kind, asset.title, _language(asset)),
        **({"result": _result(launch, outcome)} if outcome else {}),
        "context": _context(launch, issuer, vault),
        "timestamp": _timestamp(at if verb == "launched" else max(at, launch.started_at + _AT_ONCE)),
    }


def actor(person: AnyPerson, issuer: str) -> Json:
    """The agent that a person is in the bridge's statements, and for content that is launched for them."""
    return {"objectType": "Agent", "account": {"name": person.key, "homePage": issuer}}


def _timestamp(at: dt.datetime) -> str:
    """A time as statements carry it: UTC, milliseconds, Z (xAPI-Data 4.5)."""
    return at.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def activity_id(asset: AnyAsset, issuer: str) -> str:
    """The IRI under which the catalogue reports the asset, or one minted from the asset's own stable id."""
    return asset.activity_id or _minted(issuer, "assets", str(asset.id))


def _minted(issuer: str, *path: str) -> str:
    return "/".join([issuer, "activities", *(quote(part, safe="") for part in path)])


def _activity(iri: str, kind: str, name: str = "", language: str = "und") -> Json:
    definition = {"name": {language: name}, "type": kind} if name else {"type": kind}
    return {"id": iri, "objectType": "Activity", "definition": definition}


def _language(asset: AnyAsset) -> str:
    tag = asset.language.replace("_", "-")  # catalogues write locales ("de_AT") where they mean tags
    return tag if is_language(tag) else "und"


def _result(launch: AnyLaunch, outcome: tables.Outcome) -> Json:
    import tincan  # takes 150 ms

    result = tincan.Result(completion=outcome.completed)
    if outcome.success is not None:
        result.success = outcome.success
    if outcome.score is not None:
        result.score = tincan.Score(scaled=outcome.score)
    if outcome.completed and launch.how == How.INLINE:  # only there has the bridge seen the beginning and the end
        elapsed = (outcome.occurred_at - launch.started_at).total_seconds()
        result.duration = dt.timedelta(seconds=max(0, round(elapsed)))
    if outcome.verb == "progressed" and launch.progress:
        result.extensions = tincan.Extensions({profile.STEPS_DONE: list(launch.progress)})
    made: Json = result.as_version()
    return made


def _context(launch: AnyLaunch, issuer: str, vault: Vault) -> Json:
    context = business_context(launch, issuer, vault)
    category = [_activity(profile.VERSION, profile.PROFILE_TYPE)]
    return {**context, "contextActivities": {"category": category, **context["contextActivities"]}}


def business_context(launch: AnyLaunch, issuer: str, vault: Vault) -> Json:
    """The context of every statement about a launch, also of those that launched content sends.

    Only the bridge's own name its profile besides: who does must follow it (xAPI Profiles 1.0, part two, 5.0).
    """
    system, catalogue = launch.prompt.event.connection.name, launch.asset.connection.name
    type_ = launch.prompt.event.type
    record_type = type_.rpartition(".")[0] or type_  # "sale.opportunity.won" is about a sale.opportunity
    grouping = [
        _activity(_minted(issuer, "catalogues", catalogue), profile.CATALOGUE, catalogue),
        _activity(_minted(issuer, "record-types", system, record_type), profile.RECORD_TYPE, record_type),
    ]
    context: Json = {
        "registration": str(launch.id),
        "contextActivities": {"grouping": grouping},
        "platform": system,
    }
    if (language := _language(launch.asset)) != "und":
        context["language"] = language
    return {**context, "extensions": _extensions(launch.prompt, vault)}


def _extensions(prompt: AnyPrompt, vault: Vault) -> dict[str, Any]:
    event = prompt.event
    extensions: dict[str, Any] = {
        profile.RULE: {"name": prompt.rule.name, "version": prompt.rule_version},
        profile.PROMPT: str(prompt.id),
        profile.EVENT_TYPE: event.type,
    }
    if event.subject:  # the record's own id may name a customer: an LRS gets a hash that only this bridge can make
        digest = vault.derive("xapi-record", event.connection.name.encode(), event.subject.encode())
        extensions[profile.RECORD] = digest.hex()[:32]
    return extensions
