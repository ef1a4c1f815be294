"""Kolibri: the resources of its public channels.

Read over the public interface that Kolibri servers offer each other (``/api/public``, no account needed). Written
against Kolibri 0.19: ``kolibri.core.public.api`` and ``kolibri.core.content.api`` of its source.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field, TypeAdapter

from bridge.connect import (
    Asset,
    AssetKind,
    AssetPage,
    CatalogSource,
    Checkpoint,
    Config,
    ConfigError,
    Connector,
    Health,
    Http,
    HttpUrl,
    Manifest,
    Opening,
)

PAGE_SIZE = 100
#: Kolibri's content kinds (le_utils.constants.content_kinds); the others, html5 and h5p among them, are modules.
KINDS = {"video": AssetKind.VIDEO, "exercise": AssetKind.QUIZ, "quiz": AssetKind.QUIZ, "document": AssetKind.LINK}


class KolibriConfig(Config):
    base_url: HttpUrl = Field(description="Address of the Kolibri server, as learners open it.")
    channels: tuple[UUID, ...] = Field((), description="Ids of the channels to offer; all public ones when left out.")


class _Info(BaseModel):
    application: str
    kolibri_version: str


class _Channel(BaseModel):
    id: UUID
    name: str


class _Language(BaseModel):
    id: str


class _Node(BaseModel):
    id: str = Field(min_length=1)
    title: str
    kind: str
    description: str | None
    duration: int | None
    tags: list[str]
    lang: _Language | None


class _Nodes(BaseModel):
    more: dict[str, str] | None
    results: list[_Node]


_INFO, _CHANNELS, _NODES = TypeAdapter(_Info), TypeAdapter(list[_Channel]), TypeAdapter(_Nodes)


class Kolibri(Connector[KolibriConfig], CatalogSource):
    """A Kolibri server. External ids are Kolibri's node ids; topics are the shelves, not assets."""

    manifest = Manifest(
        key="kolibri",
        name="Kolibri",
        summary="Videos, exercises and HTML5 modules of a Kolibri server's public channels.",
        api_docs="https://kolibri-dev.readthedocs.io/",
        verified="live",
        proof="The test suite of real systems runs it on Kolibri 0.19; its replies were recorded from 0.19.5.",
    )
    config_class = KolibriConfig

    def __init__(self, config: KolibriConfig, http: Http) -> None:
        super().__init__(config, http)
        self._api = http.to(str(config.base_url))

    def check(self) -> Health:
        info = self._api.read(_INFO, "GET", "/api/public/info/")
        if info.application != "kolibri":
            raise ConfigError(f"{self._api.base_url} is {info.application}, not Kolibri; check the base URL")
        channels = self._channels()
        names = ", ".join(channel.name for channel in channels) or "none"
        works = f"Kolibri {info.kolibri_version} answers", f"{len(channels)} public channels: {names}"
        missing = [wanted.hex for wanted in self.config.channels if wanted not in {channel.id for channel in channels}]
        told = [f"channel {id_} is not public there: list it on the device or take it out" for id_ in missing]
        if not channels and not missing:
            told.append("no channel is public: import one, and let other devices see it in Device > Settings")
        return Health(works, tuple(told))

    def pages(self, since: Checkpoint | None) -> Iterator[AssetPage]:
        """Walk channel by channel in the order of their ids, each in the order of its topics.

        The checkpoint is the channel and Kolibri's own cursor into it (empty when the channel is done).
        """
        done: dict[str, Any] = dict(since or {"channel": "", "more": {}})
        for channel in self._channels():
            if channel.id.hex < done["channel"] or (channel.id.hex == done["channel"] and not done["more"]):
                continue
            more = done["more"] if channel.id.hex == done["channel"] else {}
            yield from self._nodes(channel.id.hex, more)

    def _channels(self) -> list[_Channel]:
        channels = self._api.read(_CHANNELS, "GET", "/api/public/v1/channels")
        wanted = self.config.channels or [channel.id for channel in channels]
        return sorted((channel for channel in channels if channel.id in wanted), key=lambda channel: channel.id)

    def _nodes(self, channel: str, more: dict[str, str]) -> Iterator[AssetPage]:
        # Kind "content" is Kolibri's word for everything but topics.
        asked = more or {"kind": "content", "channels": channel, "max_results": str(PAGE_SIZE)}
        while asked:
            found = self._api.read(_NODES, "GET", "/api/public/v2/contentnode/", params=asked)
            asked = found.more or {}
            yield AssetPage(tuple(map(self._asset, found.results)), {"channel": channel, "more": asked})

    def _asset(self, node: _Node) -> Asset:
        return Asset(
            external_id=node.id,
            kind=KINDS.get(node.kind, AssetKind.MODULE),
            title=node.title,
            # The permalink leads to the learn page in the reader's language: /en/learn/#/topics/c/<id> in 0.19.
            opening=Opening.link(f"{self._api.base_url}/viewcontent?node_id={node.id}"),
            summary=(node.description or "").strip(),
            language=node.lang.id if node.lang else "",
            duration_seconds=node.duration,
            tags=tuple(sorted(node.tags)),
        )
