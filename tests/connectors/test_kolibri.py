"""Kolibri: replies recorded from Kolibri 0.19.5 with two public channels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pytest

from bridge.connect import ConfigError, Http, Rejected
from bridge.connect.testing import Answer, CatalogContract, everything, system_played_by
from connectors.kolibri import Kolibri, KolibriConfig

HERE = Path(__file__).parent / "kolibri"
ACADEMY, SAFETY = "644257af9aae5d1dbb575515c15ef316", "e2531f7943845cd4a330bbe2588bb2c5"
NODES = "/api/public/v2/contentnode/"


def recorded(name: str) -> object:
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


ANSWERS = (
    Answer(path="/api/public/info/", json=recorded("info")),
    Answer(path="/api/public/v1/channels", json=recorded("channels")),
    Answer(path=NODES, sends={"channels": ACADEMY, "cursor": "cD05"}, json=recorded("nodes_academy_2")),
    Answer(path=NODES, sends={"kind": "content", "channels": ACADEMY}, json=recorded("nodes_academy_1")),
    Answer(path=NODES, sends={"kind": "content", "channels": SAFETY}, json=recorded("nodes_safety")),
)


def kolibri(**config: object) -> Kolibri:
    settings = KolibriConfig.model_validate({"base_url": "https://kolibri.example", **config})
    return Kolibri(settings, Http(system="Kolibri", pause=lambda seconds: None))


class TestKolibri(CatalogContract):
    connector_class = Kolibri
    config: ClassVar = {"base_url": "https://kolibri.example"}
    answers = ANSWERS
    golden_assets = HERE / "assets.json"


def test_only_the_chosen_channels_are_offered() -> None:
    with system_played_by(ANSWERS) as calls:
        pages = list(kolibri(channels=[SAFETY]).pages(None))
    assert [asset.title for page in pages for asset in page.assets] == ["Lifting <b>&</b> carrying"]
    assert not any(ACADEMY in str(call.url) for call in calls)


def test_a_channel_that_is_not_public_is_told() -> None:
    with system_played_by(ANSWERS):
        health = kolibri(channels=[SAFETY, "00000000000000000000000000000001"]).check()
    assert not health.ok and "00000000000000000000000000000001" in health.missing[0]


def test_a_server_without_public_channels_is_told() -> None:
    with system_played_by([ANSWERS[0], Answer(path="/channels", json=[])]):
        health = kolibri().check()
    assert "no channel is public" in health.missing[0]


def test_another_learning_equality_server_is_not_kolibri() -> None:
    answer = Answer(path="/api/public/info/", json={"application": "studio", "kolibri_version": "1"})
    with system_played_by([answer]), pytest.raises(ConfigError, match="studio, not Kolibri"):
        kolibri().check()


def test_an_address_without_kolibri_is_told() -> None:
    with system_played_by(everything(404)), pytest.raises(Rejected, match="check the base URL"):
        kolibri().check()
