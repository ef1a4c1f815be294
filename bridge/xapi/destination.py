"""What a destination of statements gets: which of them, whose identity, in which form, and how fast.

The settings stand under ``options.statements`` of its connection. What is left out by a filter is never queued
(``wants``); what is changed is changed on the way out (``Policy.render``), from the bytes in the ledger, the same each
time, because a destination compares a repeat with what it has (xAPI-Data 2.3.1).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import literal, select, tuple_

from bridge.connect import Rejected
from bridge.secrets import Vault
from bridge.store import tables
from bridge.xapi.index import Json, identifier
from bridge.xapi.profile import VOIDED
from bridge.xapi.validation.statement import SIGNATURE

Iri = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:\S+$")]

_IDENTIFIERS = frozenset({"account", "mbox", "mbox_sha1sum", "openid", "member"})
_ONLY_IN_2_0 = ("contextAgents", "contextGroups")
#: What a statement holds that 1.0.3 does not know, or an escape that could hide it; nearly none does, and looking for
#: it costs a hundredth of parsing.
_MAY_NEED_2_0 = (b'"contextAg', b'"contextGr', b'"version"', rb"\u00")
#: Changes whenever pseudonyms are made in another way: one history must not be split by accident.
_PSEUDONYM = "xapi-actor-1"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Filter(_Model):
    """Some statements: those with one of the verbs, one of the types of their object, and of that origin."""

    verbs: list[Iri] | None = None
    activity_types: list[Iri] | None = None
    #: "own": the bridge's own word; "received": what other programs sent to the built-in LRS.
    origin: Annotated[Literal["own", "received"] | None, Field(alias="from")] = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.verbs and not self.activity_types and self.origin is None:
            raise ValueError("name some: verbs, activity_types, or from (own or received)")
        return self

    def tests(self, statement: Json, *, own: bool) -> Iterable[bool]:
        """Does the statement fit, one answer for each thing that the filter names."""
        if self.verbs:
            yield statement["verb"]["id"] in self.verbs
        if self.activity_types:
            yield statement["object"].get("definition", {}).get("type") in self.activity_types
        if self.origin:
            yield own == (self.origin == "own")


class Extensions(_Model):
    """Which extensions go out, by their IRIs: all but some (``drop``), or none but some (``keep``)."""

    drop: list[Iri] | None = None
    keep: list[Iri] | None = None

    @model_validator(mode="after")
    def _one_list(self) -> Self:
        if (self.drop is None) == (self.keep is None):
            raise ValueError("set one list: drop (all others go out) or keep (no other goes out)")
        return self

    def passes(self, iri: str) -> bool:
        return iri in self.keep if self.keep is not None else iri not in (self.drop or ())


class Settings(_Model):
    """``options.statements`` of a connection."""

    only: Filter | None = None
    without: Filter | None = None
    identity: Literal["account", "mbox", "pseudonym"] = "account"
    extensions: Extensions | None = None
    #: Statements in a second, of all workers together.
    rate: Annotated[float, Field(gt=0, le=100_000)] | None = None
    #: The most statements, and bytes of them, in one request.
    batch: Annotated[int, Field(ge=1, le=5000)] = 100
    batch_bytes: Annotated[int, Field(ge=1000, le=30_000_000)] = 1_000_000

    @property
    def filters(self) -> bool:
        return self.only is not None or self.without is not None

    def wants(self, statement: Json, *, own: bool) -> bool:
        """Does this statement go there? ``own``: it is the bridge's own word. What voids another one always does.

        It must fit everything in ``only`` and nothing in ``without``.
        """
        if not self.filters or statement["verb"]["id"] == VOIDED:
            return True
        fits = self.only is None or all(self.only.tests(statement, own=own))
        return fits and not (self.without is not None and any(self.without.tests(statement, own=own)))


#: Of a connection whose options say nothing of it: everything, as it is.
DEFAULT = Settings()


def settings(options: Mapping[str, Any]) -> Settings:
    """The settings in a connection's options."""
    held = options.get("statements")
    return Settings.model_validate(held) if held else DEFAULT


#: E-mail addresses by the canonical identifier of an actor (``index.identifier``).
People = Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Policy:
    """What one destination gets.

    The drain makes one for a batch: ``people = policy.people(db, payloads)`` (a query only where it is needed), then
    ``policy.render(payload, people)`` for each one, unless the policy is ``plain``. What ``render`` raises as Rejected
    is to be set aside with its words, like what the destination itself refuses.
    """

    settings: Settings
    vault: Vault
    connection_name: str
    issuer: str
    #: "1.0.3" or "2.0.0": what is spoken there.
    version: str

    @classmethod
    def parse(
        cls, options: Mapping[str, Any], vault: Vault, connection_name: str, *, issuer: str, version: str = "1.0.3"
    ) -> Self:
        """From a connection's ``options``; ``version`` is its connector's setting of that name.

        ``issuer`` is this bridge's address, the home page of pseudonyms and of its own people's accounts.
        """
        return cls(settings(options), vault, connection_name, issuer, version)

    @property
    def rate(self) -> float | None:
        return self.settings.rate

    @property
    def batch(self) -> int:
        return self.settings.batch

    @property
    def batch_bytes(self) -> int:
        return self.settings.batch_bytes

    @property
    def plain(self) -> bool:
        """Nothing is ever changed: each statement goes out as the bytes that the ledger has."""
        return self._keeps_content and self.version.startswith("2.")

    def keeps(self, version: str) -> bool:
        """No statement that was taken by these rules of xAPI ("1.0.0", "2.0.0") is ever changed."""
        return self.plain or (self._keeps_content and version.startswith("1."))

    @property
    def _keeps_content(self) -> bool:
        return self.settings.identity == "account" and self.settings.extensions is None

    def wants(self, statement: Json, *, own: bool) -> bool:
        """See ``Settings.wants``."""
        return self.settings.wants(statement, own=own)

    def people(self, db: SqlConnection, payloads: Iterable[bytes]) -> People:
        """The addresses that ``render`` needs for these statements: one query, none where no address is sent."""
        if self.settings.identity != "mbox":
            return {}
        agents = [agent for payload in payloads for agent in _agents(json.loads(payload)) if "account" in agent]
        accounts = {(agent["account"]["homePage"], agent["account"]["name"]) for agent in agents}
        found = _addresses(db, accounts, self.issuer) if accounts else {}
        return {identifier({"account": {"homePage": home, "name": name}}): to for (home, name), to in found.items()}

    def render(self, payload: bytes, people: People | None = None) -> bytes:
        """The bytes for this destination: of the same payload, settings and addresses always the same.

        Raises Rejected where it can't be sent as the settings want it: it is signed and would have to be changed, or
        its actor's e-mail address is not known.
        """
        if self.plain or (self._keeps_content and not any(sign in payload for sign in _MAY_NEED_2_0)):
            return payload
        statement = json.loads(payload)
        changed = self._rendered(statement, people or {})
        if changed == statement:
            return payload
        if any(held.get("usageType") == SIGNATURE for held in statement.get("attachments", [])):
            raise Rejected(
                f"this statement is signed, and '{self.connection_name}' gets it changed (by its options.statements or"
                " its version): a changed one would break the signature, so it was not sent"
            )
        return json.dumps(changed, separators=(",", ":")).encode()

    def _rendered(self, statement: Json, people: People) -> Json:
        changed: Json = self._changed(statement, people)
        if not self.version.startswith("2."):
            changed = _for_1_0(changed)
        actor = changed["actor"]
        if self.settings.identity == "mbox" and actor.get("objectType", "Agent") == "Agent" and "mbox" not in actor:
            raise Rejected(
                f"no e-mail address of the actor {identifier(actor)} is known, and '{self.connection_name}' gets"
                " people by their address: enter it under people, then send the statement again"
            )
        return changed

    def _changed(self, value: Any, people: People) -> Any:
        """``value`` with every actor in it, wherever it stands, and all extensions as the settings want them."""
        if isinstance(value, list):
            return [self._changed(item, people) for item in value]
        if not isinstance(value, dict):
            return value
        changed = {}
        for name, item in (self._actor(value, people) if _IDENTIFIERS & value.keys() else value).items():
            if name != "extensions":
                changed[name] = self._changed(item, people)
            elif (kept := self._extensions(item)) or not item:
                changed[name] = kept
        return changed

    def _extensions(self, held: Json) -> Json:
        wanted = self.settings.extensions
        return held if wanted is None else {iri: value for iri, value in held.items() if wanted.passes(iri)}

    def _actor(self, actor: Json, people: People) -> Json:
        if self.settings.identity == "pseudonym":
            shown: Json = {name: actor[name] for name in ("objectType", "member") if name in actor}
            return shown | self._pseudonym(actor)
        if self.settings.identity == "mbox" and (address := people.get(identifier(actor))):
            return {**{name: value for name, value in actor.items() if name != "account"}, "mbox": f"mailto:{address}"}
        return actor

    def _pseudonym(self, actor: Json) -> Json:
        """An account whose name only this installation can make, and another one for each destination."""
        if not (who := identifier(actor)):
            return {}
        digest = self.vault.derive(_PSEUDONYM, self.connection_name.encode(), who.encode())
        return {"account": {"homePage": self.issuer, "name": digest.hex()}}


def _for_1_0(statement: Json) -> Json:
    """Without what only 2.0 knows (IEEE 9274.1.1 4.2.2.5 and 4.2.4.3), in a SubStatement likewise."""
    changed = {name: value for name, value in statement.items() if (name, str(value)[:2]) != ("version", "2.")}
    if isinstance(context := changed.get("context"), dict):
        changed["context"] = {name: value for name, value in context.items() if name not in _ONLY_IN_2_0}
    if changed["object"].get("objectType") == "SubStatement":
        changed["object"] = _for_1_0(changed["object"])
    return changed


def _agents(value: Any) -> Iterable[Json]:
    """Every actor in a statement, wherever it stands."""
    if isinstance(value, list):
        for item in value:
            yield from _agents(item)
    elif isinstance(value, dict):
        if _IDENTIFIERS & value.keys():
            yield value
        for name, item in value.items():
            if name != "extensions":
                yield from _agents(item)


def _addresses(db: SqlConnection, accounts: set[tuple[str, str]], issuer: str) -> dict[tuple[str, str], str]:
    """The addresses of the people who have these accounts: here by their key, elsewhere by an account of theirs."""
    person, account = tables.Person, tables.Account
    keys = [name for home, name in accounts if home == issuer]
    here = select(literal(issuer), person.key, person.email).where(person.key.in_(keys))
    there = select(account.issuer, account.subject, person.email).join(person)
    found = db.execute(here.union_all(there.where(tuple_(account.issuer, account.subject).in_(accounts))))
    return {(home, name): address for home, name, address in found if address}
