"""Files: real folders and archives, sound, broken and hostile."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from bridge.connect import Asset, ConfigError, Http, Opening
from bridge.connect.testing import CatalogContract
from connectors import files
from connectors.files import Files, FilesConfig

HERE = Path(__file__).parent / "files"
GUIDE = """---
title: Four things to check before you send an enterprise price
kind: guide
duration: PT90S
language: en
summary: Read it while the quote is open.
tags: [pricing, enterprise]
---
Ask who signs. {{ event.data.customer }}
"""
CHECKLIST = "---\r\ntitle: Go-live\r\nkind: checklist\r\n---\r\n- [ ] Call the customer\r\n"
SCORM_12 = """<?xml version="1.0"?>
<manifest identifier="M1" version="1.2" xmlns="http://www.imsproject.org/xsd/imscp_rootv1p1p2"
  xmlns:adlcp="http://www.adlnet.org/xsd/adlcp_rootv1p2">
  <organizations default="B">
    <organization identifier="A"><title>Not this one</title></organization>
    <organization identifier="B"><title>Lifting &amp; carrying</title><item identifier="I"/></organization>
  </organizations>
  <resources>
    <resource identifier="R" type="webcontent" adlcp:scormtype="sco" href="index.html"/>
  </resources>
</manifest>"""
SCORM_2004 = (
    SCORM_12.replace("imsproject.org/xsd/imscp_rootv1p1p2", "imsglobal.org/xsd/imscp_v1p1")
    .replace("adlnet.org/xsd/adlcp_rootv1p2", "adlnet.org/xsd/adlcp_v1p3")
    .replace("scormtype", "scormType")
)
CMI5 = """<courseStructure xmlns="https://w3id.org/xapi/profiles/cmi5/v1/CourseStructure.xsd">
  <course id="https://learn.example/negotiation"><title><langstring lang="de-DE">Verhandeln</langstring></title>
    <description><langstring lang="de-DE">Preise
      verteidigen</langstring></description></course>
  <au id="https://learn.example/negotiation/1"><url>index.html</url></au>
</courseStructure>"""
TIN_CAN = """<tincan xmlns="http://projecttincan.com/tincan.xsd"><activities>
  <activity id="https://learn.example/phishing" type="http://adlnet.gov/expapi/activities/course">
    <name>Phishing</name><description lang="en">Spot it</description><launch lang="en">index.html</launch></activity>
</activities></tincan>"""


def package(file: Path, **members: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in {"index_html": "<h1>Start</h1>", **members}.items():
            archive.writestr(name.replace("_", "."), text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three guides and four packages, besides what nobody asked for."""
    root = tmp_path / "content"
    (root / "sales").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / "sales" / "enterprise price.md").write_text(GUIDE, encoding="utf-8")
    (root / "go-live.md").write_bytes(b"\xef\xbb\xbf" + CHECKLIST.encode())
    (root / "link.md").symlink_to(root / "go-live.md")
    (root / ".git" / "hidden.md").write_text(GUIDE, encoding="utf-8")
    (root / "picture.png").write_bytes(b"png")
    package(root / "packages" / "lifting.zip", imsmanifest_xml=SCORM_12)
    package(root / "packages" / "lifting-2004.zip", imsmanifest_xml=SCORM_2004)
    package(root / "packages" / "negotiation.zip", cmi5_xml=CMI5)
    package(root / "packages" / "phishing.zip", tincan_xml=TIN_CAN)
    return root


def connect(root: Path, **settings: str) -> Files:
    config = FilesConfig.model_validate({"path": str(root), **settings})
    return Files(config, Http(system="Files", pause=lambda seconds: None))


def assets(root: Path, **settings: str) -> dict[str, Asset]:
    return {asset.external_id: asset for page in connect(root, **settings).pages(None) for asset in page.assets}


class TestFiles(CatalogContract):
    connector_class = Files
    offline = frozenset({"check", "catalogue"})
    golden_assets = HERE / "assets.json"

    @pytest.fixture(autouse=True)
    def _content(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(files, "FILES_PER_PAGE", 3)
        config = {"path": str(folder), "packages_base_url": "https://player.example/packages/"}
        monkeypatch.setattr(type(self), "config", config, raising=False)


def test_packages_without_a_player_are_listed_and_not_offered(folder: Path) -> None:
    found = assets(folder)
    assert found["packages/negotiation.zip"].opening is None and found["go-live.md"].opening is not None
    assert any("packages_base_url is not set" in words for words in connect(folder).check().works)


def test_a_cmi5_unit_is_launched_as_its_course_structure_says(folder: Path) -> None:
    said = CMI5.replace("<au ", '<au moveOn="Passed" masteryScore="0.8" launchMethod="OwnWindow" ')
    said = said.replace(
        "</url>", "</url><launchParameters>lang=de</launchParameters><entitlementKey>k</entitlementKey>"
    )
    package(
        folder / "packages" / "negotiation.zip", cmi5_xml=said.replace("index.html", "https://au.example/start?a=1")
    )
    found = assets(folder, packages_base_url="https://cdn.example/")["packages/negotiation.zip"]
    assert found.activity_id == "", "the bridge mints the id of what a learner does"
    assert found.opening == Opening.cmi5(
        "https://au.example/start?a=1",
        publisher_id="https://learn.example/negotiation/1",
        move_on="Passed",
        mastery_score="0.8",
        launch_method="OwnWindow",
        launch_parameters="lang=de",
        entitlement_key="k",
    )


def test_a_course_of_several_units_needs_a_player(folder: Path) -> None:
    two = CMI5.replace(
        "</courseStructure>", '<au id="https://learn.example/2"><url>2.html</url></au></courseStructure>'
    )
    package(folder / "packages" / "negotiation.zip", cmi5_xml=two)
    found = assets(folder, packages_base_url="https://player.example")["packages/negotiation.zip"]
    assert found.opening == Opening.link("https://player.example/packages/negotiation.zip")


def test_a_tin_can_package_without_an_address_needs_a_player(folder: Path) -> None:
    package(folder / "packages" / "phishing.zip", tincan_xml=TIN_CAN.replace("index.html", ""))
    found = assets(folder, packages_base_url="https://player.example")["packages/phishing.zip"]
    assert found.opening == Opening.link("https://player.example/packages/phishing.zip")


BROKEN = {
    "README.md": (b"# Not a guide", "front matter"),
    "no-title.md": (b"---\nkind: guide\n---\n", "title"),
    "strange-kind.md": (b"---\ntitle: A\nkind: video\n---\n", "kind"),
    "norway.md": (b"---\ntitle: A\nkind: guide\nlanguage: no\n---\n", "language"),
    "long.md": (b"---\ntitle: A\nkind: guide\nduration: soon\n---\n", "duration"),
    "not-yaml.md": (b"---\ntitle: [A\n---\n", "YAML"),
    "deep.md": (b"---\ntitle: " + b"[" * 100_000 + b"\n---\n", "YAML"),
    "no-date.md": (b"---\ntitle: 2026-13-45\nkind: guide\n---\n", "YAML"),
    "code.md": (b"---\ntitle: !!python/object/apply:os.getcwd []\n---\n", "YAML"),
    "latin1.md": (b"---\ntitle: \xe9\nkind: guide\n---\n", "UTF-8"),
    "huge.md": (GUIDE.encode() + b"x" * files.MAX_TEXT, "larger than 256 KiB"),
    "text.zip": (b"not an archive", "sound zip"),
    "cut.zip": (b"PK\x03\x04" + b"\0" * 50, "sound zip"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_and_hides_no_other(folder: Path, name: str) -> None:
    before = assets(folder)
    (folder / name).write_bytes(BROKEN[name][0])
    health = connect(folder).check()
    assert assets(folder) == before
    assert [words for words in health.missing if name in words and BROKEN[name][1] in words], health.missing


BOMB = '<!DOCTYPE m [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><manifest>&b;</manifest>'
XXE = '<!DOCTYPE m [<!ENTITY x SYSTEM "file:///etc/passwd">]><manifest>&x;</manifest>'
HOSTILE = {
    "entities": ({"imsmanifest_xml": BOMB}, "no need of"),
    "reads-files": ({"imsmanifest_xml": XXE}, "no need of"),
    "bomb": ({"imsmanifest_xml": " " * (files.MAX_MANIFEST + 1)}, "larger than 2 MiB"),
    "climbs": ({"imsmanifest_xml": SCORM_12, "/../../etc/cron": "x"}, "outside of its folder"),
    "climbs-on-windows": ({"imsmanifest_xml": SCORM_12, "..\\..\\boot": "x"}, "outside of its folder"),
    "absolute": ({"imsmanifest_xml": SCORM_12, "/etc/passwd": "x"}, "outside of its folder"),
    "drive": ({"imsmanifest_xml": SCORM_12, "C:\\boot": "x"}, "outside of its folder"),
    "not-xml": ({"cmi5_xml": "<courseStructure>"}, "not XML"),
    "no-title": ({"cmi5_xml": "<courseStructure/>"}, "no title"),
    "no-package": ({"readme_txt": "hello"}, "not a SCORM, cmi5 or Tin Can package"),
    "runs-script": (
        {"tincan_xml": TIN_CAN.replace("index.html", "javascript:alert(1)")},
        "neither a file of the package",
    ),
    "other-host": ({"cmi5_xml": CMI5.replace("index.html", "//evil.example/x")}, "neither a file of the package"),
    "launches-outside": ({"tincan_xml": TIN_CAN.replace("index.html", "a/%2e%2e/../x")}, "outside of it"),
    "brings-an-endpoint": (
        {"cmi5_xml": CMI5.replace("index.html", "a?endpoint=https://evil.example/")},
        "for the launch",
    ),
    "brings-an-auth": ({"tincan_xml": TIN_CAN.replace("index.html", "a?auth=Basic")}, "whose auth is for the launch"),
    "no-iri": ({"tincan_xml": TIN_CAN.replace("https://learn.example/phishing", "phishing")}, "is no IRI"),
    "mastery": ({"cmi5_xml": CMI5.replace("<au ", '<au masteryScore="80" ')}, "no number from 0 to 1"),
    "no-scorm": ({"imsmanifest_xml": SCORM_12.replace("adlcp:scormtype", "adlcp:other")}, "no SCORM resource"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_package_is_named_and_hides_no_other(folder: Path, name: str) -> None:
    before = assets(folder)
    with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for member, text in HOSTILE[name][0].items():
            archive.writestr(zipfile.ZipInfo(member.replace("_", ".")), text, zipfile.ZIP_DEFLATED)
    health = connect(folder).check()
    assert assets(folder) == before
    assert [words for words in health.missing if f"{name}.zip" in words and HOSTILE[name][1] in words], health.missing


def test_a_damaged_package_is_named(folder: Path) -> None:
    archive = folder / "packages" / "phishing.zip"
    raw = bytearray(archive.read_bytes())
    at = raw.index(b"tincan.xml") + len("tincan.xml") + 20
    raw[at : at + 20] = b"\xff" * 20
    archive.write_bytes(bytes(raw))
    assert "packages/phishing.zip" not in assets(folder)
    assert any("packages/phishing.zip is left out" in words for words in connect(folder).check().missing)


def test_links_out_of_the_folder_are_not_followed(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    outside.mkdir()
    (outside / "secret.md").write_text(GUIDE, encoding="utf-8")
    (folder / "one.md").symlink_to(outside / "secret.md")
    (folder / "all").symlink_to(outside)
    (folder / "round.md").symlink_to(folder / "round.md")
    found = assets(folder)
    assert not {"one.md", "all/secret.md", "round.md"} & set(found) and "link.md" in found


def test_a_name_that_is_not_utf8_has_an_id_that_can_be_stored(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.md")).write_text(GUIDE, encoding="utf-8")
    assert all(id_.encode() for id_ in assets(folder)) and len(assets(folder)) == 8


def test_a_changed_file_has_another_fingerprint_and_the_same_id(folder: Path) -> None:
    before = assets(folder)["go-live.md"]
    (folder / "go-live.md").write_text(CHECKLIST + "- [ ] Write it down\n", encoding="utf-8")
    after = assets(folder)["go-live.md"]
    assert after.external_id == before.external_id and after.fingerprint() != before.fingerprint()


@pytest.mark.parametrize("missing", ["nowhere", "go-live.md"])
def test_a_folder_that_is_not_there_is_told(folder: Path, missing: str) -> None:
    connector = connect(folder / missing)
    with pytest.raises(ConfigError, match="correct the path"):
        connector.check()
    with pytest.raises(ConfigError, match="correct the path"):
        list(connector.pages(None))


def test_an_empty_folder_is_told_and_shows_no_page(tmp_path: Path) -> None:
    """No page means that nothing is known to be gone: the folder may not be mounted."""
    assert "nothing to offer" in connect(tmp_path).check().missing[0]
    assert list(connect(tmp_path).pages(None)) == []
