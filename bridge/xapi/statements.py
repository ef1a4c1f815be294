"""The bridge's own statements, built with tincan and serialised exactly once.

The bytes are what is stored, sent and sent again: a destination compares a repeat with what it has, and any other
serialisation would be another statement to it (xAPI-Data 2.3.1). So ``timestamp`` is set here, and ``stored``,
``authority`` and ``version`` never are: they are the LRS's to set.

Importing this module imports tincan, which takes 150 ms: import it where a statement is built.
"""

from __future__ import annotations

import datetime as dt
from typing import Any
from urllib.parse import quote

import orjson
import tincan

from bridge.domain import ids
from bridge.domain.assets import AssetKind, How
from bridge.secrets import Vault
from bridge.store import tables
from bridge.xapi import profile
from bridge.xapi.validation.formats import is_language

_ORDER = ("id", "actor", "verb", "object", "result", "context", "timestamp")


def for_launch(
    launch: tables.Launch,
    verb: str,
    *,
    at: dt.datetime,
    issuer: str,
    vault: Vault,
    outcome: tables.Outcome | None = None,
) -> bytes:
    """The statement that the person of ``launch`` did ``verb`` (a key of ``profile.VERBS``) with its asset, as JSON.

    ``issuer`` is this bridge's address: the home page of the actor's account and the root of the activity ids that the
    bridge mints. ``vault`` keys the hash that stands for the business record. The id is the outcome's, or follows from
    the launch and the verb: the same fact has the same id, whoever reports it and how often.
    """
    statement = tincan.Statement(
        id=outcome.id if outcome else ids.statement_id(launch.id, verb),
        actor=tincan.Agent(account=tincan.AgentAccount(home_page=issuer, name=launch.person.key)),
        verb=tincan.Verb(id=profile.VERBS[verb]),
        object=_activity(
            activity_id(launch.asset, issuer),
            profile.ACTIVITY_TYPES[AssetKind(launch.asset.kind)],
            launch.asset.title,
            _language(launch.asset),
        ),
        result=_result(launch, outcome),
        context=_context(launch, issuer, vault),
    )
    built = {**statement.as_version(), "timestamp": _timestamp(at)}
    return orjson.dumps({name: built[name] for name in _ORDER if name in built})


def _timestamp(at: dt.datetime) -> str:
    """A time as statements carry it: UTC, milliseconds, Z (xAPI-Data 4.5)."""
    return at.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def activity_id(asset: tables.Asset, issuer: str) -> str:
    """The IRI under which the catalogue reports the asset, or one minted from the asset's own stable id."""
    return asset.activity_id or _minted(issuer, "assets", str(asset.id))


def _minted(issuer: str, *path: str) -> str:
    return "/".join([issuer, "activities", *(quote(part, safe="") for part in path)])


def _activity(iri: str, kind: str, name: str = "", language: str = "und") -> tincan.Activity:
    names = tincan.LanguageMap({language: name}) if name else None
    return tincan.Activity(id=iri, definition=tincan.ActivityDefinition(type=kind, name=names))


def _language(asset: tables.Asset) -> str:
    tag = asset.language.replace("_", "-")  # catalogues write locales ("de_AT") where they mean tags
    return tag if is_language(tag) else "und"


def _result(launch: tables.Launch, outcome: tables.Outcome | None) -> tincan.Result | None:
    if outcome is None:
        return None
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
    return result


def _context(launch: tables.Launch, issuer: str, vault: Vault) -> tincan.Context:
    event, catalogue = launch.prompt.event, launch.asset.connection
    record_type = event.type.rpartition(".")[0] or event.type  # "sale.opportunity.won" is about a sale.opportunity
    grouping = [
        _activity(_minted(issuer, "catalogues", catalogue.name), profile.CATALOGUE, catalogue.name),
        _activity(
            _minted(issuer, "record-types", event.connection.name, record_type), profile.RECORD_TYPE, record_type
        ),
    ]
    context = tincan.Context(
        registration=launch.id,
        platform=event.connection.name,
        context_activities=tincan.ContextActivities(
            grouping=grouping, category=[_activity(profile.VERSION, profile.PROFILE_TYPE)]
        ),
        extensions=tincan.Extensions(_extensions(launch.prompt, vault)),
    )
    if _language(launch.asset) != "und":
        context.language = _language(launch.asset)
    return context


def _extensions(prompt: tables.Prompt, vault: Vault) -> dict[str, Any]:
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
