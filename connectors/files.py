"""Files: a folder of Markdown guides and checklists, and of packages (SCORM, cmi5, Tin Can).

A guide carries its title, kind and the rest in YAML front matter and is shown as it is. A package is never unpacked:
only its manifest is read, within bounds, and it is opened where ``packages_base_url`` says that it is served. Tin Can
packages, and cmi5 ones with one assignable unit, are launched there so that they report by themselves.
"""

from __future__ import annotations

import datetime as dt
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree.ElementTree import Element, ParseError

import yaml
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring
from pydantic import BaseModel, Field, ValidationError

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
    HttpUrl,
    Manifest,
    Opening,
)

FILES_PER_PAGE = 50
MAX_TEXT = 256 * 1024
MAX_MANIFEST = 2 * 1024 * 1024
#: What a launch says in the query of an address (cmi5 section 8.1; lms_lrs.md of the Tin Can launch).
_CMI5_PARAMETERS = frozenset({"endpoint", "fetch", "actor", "activityId", "registration"})
_TINCAN_PARAMETERS = frozenset({"endpoint", "auth", "actor", "activity_id", "registration"})
_IRI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`\x00-\x20]+")
_SHARE = re.compile(r"0*(?:0(?:\.\d+)?|1(?:\.0+)?|\.\d+)")
_IN_A_URL = "/?#[]@!$&'()*+,;=:%~"
_FRONT_MATTER = re.compile(r"---\n(.*?\n)---(?:\n|\Z)", re.DOTALL)


class FilesConfig(Config):
    path: Path = Field(description="The folder; everything below it is read, hidden files and links out of it are not.")
    packages_base_url: HttpUrl | None = Field(
        None,
        description=(
            "Where the packages are served, by their path in the folder: SCORM by a player, the files of Tin Can and"
            " cmi5 packages below that path. Without it they are only listed."
        ),
    )


class _FrontMatter(BaseModel):
    title: str = Field(min_length=1)
    kind: Literal[AssetKind.GUIDE, AssetKind.CHECKLIST, AssetKind.SOP, AssetKind.DECISION_TREE]
    summary: str = ""
    duration: dt.timedelta | None = None
    language: str = ""
    tags: tuple[str, ...] = ()


class _UnreadableError(Exception):
    """What is wrong with one file, in words."""


class Files(Connector[FilesConfig], CatalogSource):
    """A folder. External ids are paths below it; a file that can't be read is named by the check and left out."""

    manifest = Manifest(
        key="files",
        name="Files",
        summary="A folder of Markdown guides, checklists, procedures and decision trees, and of course packages.",
        api_docs="https://adlnet.gov/projects/scorm-2004-4th-edition/",
        verified="live",
        proof="Its tests read real folders and archives, broken and hostile ones among them.",
    )
    config_class = FilesConfig

    def check(self) -> Health:
        guides, packages, missing = 0, 0, []
        for file in self._files():
            try:
                self._asset(file)
            except _UnreadableError as error:
                missing.append(f"{self._name(file)} is left out: {error}")
            else:
                guides, packages = guides + (file.suffix == ".md"), packages + (file.suffix == ".zip")
        if not guides and not packages and not missing:
            missing.append(f"nothing to offer: there is no .md or .zip file in {self.config.path}")
        offered = "offered" if self.config.packages_base_url else "listed only, as packages_base_url is not set"
        works = f"{guides} guides and checklists are offered", f"{packages} packages are {offered}"
        return Health(works, tuple(missing))

    def pages(self, since: Checkpoint | None) -> Iterator[AssetPage]:
        """Walk the files in the order of their paths; the checkpoint is the last path."""
        after = str((since or {}).get("after", ""))
        files = [file for file in self._files() if self._name(file) > after]
        for start in range(0, len(files), FILES_PER_PAGE):
            page = files[start : start + FILES_PER_PAGE]
            yield AssetPage(tuple(self._readable(page)), {"after": self._name(page[-1])})

    def _readable(self, files: list[Path]) -> Iterator[Asset]:
        for file in files:
            try:
                yield self._asset(file)
            except _UnreadableError:
                continue  # the check names it

    def _files(self) -> list[Path]:
        root = self.config.path
        if not root.is_dir() or not os.access(root, os.R_OK | os.X_OK):
            raise ConfigError(f"the folder {root} is not there, or may not be read: correct the path, or its rights")
        found = []
        for folder, folders, names in os.walk(root):  # which does not go into linked folders
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [
                Path(folder, name) for name in names if not name.startswith(".") and name.endswith((".md", ".zip"))
            ]
        inside = (file for file in found if file.is_file() and file.resolve().is_relative_to(root.resolve()))
        return sorted(inside, key=self._name)

    def _name(self, file: Path) -> str:
        # A name that is not UTF-8 could not be stored.
        return file.relative_to(self.config.path).as_posix().encode("utf-8", "backslashreplace").decode()

    def _asset(self, file: Path) -> Asset:
        try:
            return self._guide(file) if file.suffix == ".md" else self._package(file)
        except OSError as error:
            raise _UnreadableError(f"it can't be read ({error.strerror})") from None

    def _guide(self, file: Path) -> Asset:
        text = _text(file)
        about = _front_matter(text)
        return Asset(
            external_id=self._name(file),
            kind=about.kind,
            title=about.title,
            opening=Opening.inline(text),
            summary=about.summary,
            language=about.language,
            duration_seconds=int(about.duration.total_seconds()) if about.duration else None,
            tags=about.tags,
        )

    def _package(self, file: Path) -> Asset:
        name, base = self._name(file), self.config.packages_base_url
        about, opens = _manifest(file)
        opening = opens(f"{str(base).rstrip('/')}/{quote(name)}") if base else None
        return Asset(external_id=name, kind=AssetKind.MODULE, opening=opening, **about)


def _text(file: Path) -> str:
    with file.open("rb") as opened:
        raw = opened.read(MAX_TEXT + 1)
    if len(raw) > MAX_TEXT:
        raise _UnreadableError(f"it is larger than {MAX_TEXT // 1024} KiB")
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise _UnreadableError("it is not UTF-8 text") from None


def _front_matter(text: str) -> _FrontMatter:
    match = _FRONT_MATTER.match(text)
    if not match:
        raise _UnreadableError("it does not begin with front matter: '---', title and kind, '---'")
    try:
        return _FrontMatter.model_validate(yaml.safe_load(match[1]))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "front matter"
        raise _UnreadableError(f"{field}: {first['msg']}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _UnreadableError(f"its front matter is not YAML ({' '.join(str(error).split())})") from None


#: Makes the opening of a package out of the address at which it is served.
_Opens = Callable[[str], Opening]


def _manifest(file: Path) -> tuple[dict[str, Any], _Opens]:
    """What a package is, and how it is opened, from the manifest at the root of its archive."""
    try:
        with zipfile.ZipFile(file) as archive:
            if strange := next((name for name in archive.namelist() if _leaves(name)), None):
                raise _UnreadableError(f"it holds {strange!r}, which would be unpacked outside of its folder")
            for name, read in _MANIFESTS.items():
                if name in archive.namelist():
                    return read(_xml(archive, name))
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, EOFError, ValueError) as error:
        raise _UnreadableError(f"it is not a sound zip archive ({error})") from None
    raise _UnreadableError(f"it has none of {', '.join(_MANIFESTS)} at its root: not a SCORM, cmi5 or Tin Can package")


def _leaves(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or bool(re.match(r"[A-Za-z]:", name))


def _xml(archive: zipfile.ZipFile, name: str) -> Element:
    # What an archive says of a member's size may be a lie, so the reading itself is bounded.
    with archive.open(name) as opened:
        raw = opened.read(MAX_MANIFEST + 1)
    if len(raw) > MAX_MANIFEST:
        raise _UnreadableError(f"its {name} is larger than {MAX_MANIFEST // 1024 // 1024} MiB")
    try:
        return fromstring(raw, forbid_dtd=True)
    except ParseError as error:
        raise _UnreadableError(f"its {name} is not XML ({error})") from None
    except DefusedXmlException as error:
        raise _UnreadableError(f"its {name} uses what a manifest has no need of ({type(error).__name__})") from None


def _scorm(manifest: Element) -> tuple[dict[str, Any], _Opens]:
    """SCORM 1.2 and 2004 content packages (imsmanifest.xml); the two differ in the case of an attribute's name."""
    types = {key.rpartition("}")[2] for element in manifest.findall(".//{*}resource") for key in element.attrib}
    if not types & {"scormtype", "scormType"}:
        raise _UnreadableError("its imsmanifest.xml has no SCORM resource")
    organizations = manifest.find("{*}organizations")
    default = organizations.get("default") if organizations is not None else None
    found = organizations.findall("{*}organization") if organizations is not None else []
    chosen = next((one for one in found if one.get("identifier") == default), found[0] if found else None)
    title = chosen.find("{*}title") if chosen is not None else None
    return _about(title, None, "scorm-2004" if "scormType" in types else "scorm-1.2"), Opening.link


def _cmi5(structure: Element) -> tuple[dict[str, Any], _Opens]:
    """A cmi5 course structure (cmi5.xml, cmi5 specification section 13); one of several units needs a player."""
    title, description = (
        structure.find(f"{{*}}course/{{*}}{part}/{{*}}langstring") for part in ("title", "description")
    )
    units = structure.findall(".//{*}au")
    return _about(title, description, "cmi5"), _unit(units[0]) if len(units) == 1 else Opening.link


def _unit(au: Element) -> _Opens:
    """How an assignable unit is launched (sections 8.1 and 13.1.4)."""
    url = _launched(_words(au.find("{*}url")), _CMI5_PARAMETERS)
    structure = {
        "move_on": au.get("moveOn", ""),
        "mastery_score": au.get("masteryScore", ""),
        "launch_method": au.get("launchMethod", ""),
        "launch_parameters": _words(au.find("{*}launchParameters")),
        "entitlement_key": _words(au.find("{*}entitlementKey")),
    }
    score = structure["mastery_score"]
    if score and not _SHARE.fullmatch(score):
        raise _UnreadableError(f"its masteryScore {score[:20]!r} is no number from 0 to 1")
    said = {name: value for name, value in structure.items() if value}
    publisher_id = _iri(au.get("id", ""))
    return lambda base: Opening.cmi5(_below(base, url), publisher_id=publisher_id, **said)


def _tincan(package: Element) -> tuple[dict[str, Any], _Opens]:
    """A Tin Can package (tincan.xml); the first activity that has an address is the one that is launched."""
    activity = "{*}activities/{*}activity"
    title, summary = package.find(f"{activity}/{{*}}name"), package.find(f"{activity}/{{*}}description")
    about = _about(title, summary, "tincan")
    chosen = next((one for one in package.findall(activity) if _words(one.find("{*}launch"))), None)
    if chosen is None:
        return about, Opening.link
    url = _launched(_words(chosen.find("{*}launch")), _TINCAN_PARAMETERS)
    return {**about, "activity_id": _iri(chosen.get("id", ""))}, lambda base: Opening.xapi(_below(base, url))


def _launched(url: str, ours: frozenset[str]) -> str:
    """The address that a manifest launches: a file of the package or one on the web, with room for our parameters."""
    try:
        parts = urlsplit(url)
        taken = ours & set(parse_qs(parts.query, keep_blank_values=True))
    except ValueError:
        raise _UnreadableError(f"it launches {url[:60]!r}, which is no address") from None
    elsewhere = parts.scheme or parts.netloc
    if not url or (elsewhere and (parts.scheme not in ("http", "https") or not parts.netloc)):
        raise _UnreadableError(f"it launches {url[:60]!r}: neither a file of the package nor an http address")
    if not elsewhere and _leaves(unquote(parts.path)):
        raise _UnreadableError(f"it launches {url[:60]!r}, which is outside of it")
    if taken:
        raise _UnreadableError(f"it launches {url[:60]!r}, whose {min(taken)} is for the launch to say")
    return url


def _below(base: str, url: str) -> str:
    return url if urlsplit(url).netloc else f"{base}/{quote(url, safe=_IN_A_URL)}"


def _iri(text: str) -> str:
    if not _IRI.fullmatch(text):
        raise _UnreadableError(f"the id {text[:60]!r} of what it launches is no IRI")
    return text


def _words(part: Element | None) -> str:
    """The text of an element, "" without one; blanks count as one."""
    return " ".join("".join(part.itertext()).split()) if part is not None else ""


def _about(title: Element | None, summary: Element | None, standard: str) -> dict[str, Any]:
    if not (words := _words(title)):
        raise _UnreadableError("its manifest has no title")
    language = title.get("lang", "") if title is not None else ""
    return {"title": words, "summary": _words(summary), "language": language, "tags": (standard,)}


_MANIFESTS = {"cmi5.xml": _cmi5, "imsmanifest.xml": _scorm, "tincan.xml": _tincan}
