"""Moodle: courses and activities, people, and completion, over its web services.

The REST protocol server answers errors with HTTP 200 and an ``exception``; nothing in it is paged but people. Needs
Moodle 4.0 or newer. Functions: https://docs.moodle.org/en/Web_service_API_functions, and the site's own documentation
under Site administration > Server > Web services.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, Field, TypeAdapter

from bridge.connect import (
    Account,
    Asset,
    AssetKind,
    AssetPage,
    CatalogSource,
    Checkpoint,
    Config,
    ConfigError,
    Connector,
    ConnectorError,
    Health,
    Http,
    HttpUrl,
    Manifest,
    Opening,
    Outcome,
    PeoplePage,
    Person,
    Receipt,
    Rejected,
    Retryable,
    Roster,
    SecretStr,
    Unsupported,
    WriteBack,
)

T = TypeVar("T")
PEOPLE_PER_PAGE = 500
#: The front page is a course of its own: it holds no learning, and every user counts as enrolled in it.
FRONT_PAGE = 1
COMPLETE, COMPLETE_PASS = 1, 2
#: Activities that are talk, scenery or plumbing rather than learning.
NOT_ASSETS = frozenset({"chat", "choice", "feedback", "forum", "label", "qbank", "subsection", "survey"})
#: What the other activities are; those of plugins that are not named are modules.
KINDS = {
    "book": AssetKind.GUIDE,
    "folder": AssetKind.LINK,
    "glossary": AssetKind.GUIDE,
    "page": AssetKind.GUIDE,
    "quiz": AssetKind.QUIZ,
    "resource": AssetKind.LINK,
    "url": AssetKind.LINK,
    "wiki": AssetKind.GUIDE,
}
NEEDED = {
    "core_course_get_courses": "the catalogue",
    "core_course_get_contents": "the catalogue",
    "core_enrol_get_enrolled_users": "the people",
    "core_completion_get_activities_completion_status": "completion",
    "core_completion_override_activity_completion_status": "completion",
}
#: Error codes of lib/moodlelib.php, lib/dmllib.php and webservice/: something to set right, or to wait for.
NEEDS_ADMIN = frozenset(
    {"invalidtoken", "accessexception", "nopermissions", "requireloginerror", "errorcoursecontextnotvalid"}
    | {"enablewsdescription", "forcepasswordchangenotice", "usernotfullysetup", "sitepolicynotagreed"}
)
PASSES = frozenset({"dmlreadexception", "dmlwriteexception", "dbconnectionfailed", "sitemaintenance", "upgraderunning"})


class MoodleConfig(Config):
    base_url: HttpUrl = Field(description="Address of the site as Moodle knows itself (wwwroot).")
    token: SecretStr = Field(description="Token of a service with the functions that the check names.")


class _Function(BaseModel):
    name: str


class _Site(BaseModel):
    sitename: str
    siteurl: str
    release: str
    username: str
    functions: list[_Function]


class _Course(BaseModel):
    id: int
    shortname: str
    fullname: str
    summary: str
    visible: bool
    lang: str


class _Module(BaseModel):
    id: int
    name: str
    modname: str
    visible: bool = True
    url: str = ""
    description: str = ""


class _Section(BaseModel):
    visible: bool = True
    modules: list[_Module]


class _User(BaseModel):
    id: int
    fullname: str
    idnumber: str = ""
    email: str = ""


class _Completion(BaseModel):
    cmid: int
    state: int
    istrackeduser: bool


class _Completions(BaseModel):
    statuses: list[_Completion]


class _Override(BaseModel):
    state: int
    tracking: int


_SITE, _COURSES, _SECTIONS = TypeAdapter(_Site), TypeAdapter(list[_Course]), TypeAdapter(list[_Section])
_USERS, _COMPLETIONS, _OVERRIDE = TypeAdapter(list[_User]), TypeAdapter(_Completions), TypeAdapter(_Override)


class Moodle(Connector[MoodleConfig], CatalogSource, WriteBack, Roster):
    """A Moodle site.

    External ids are ``course:2`` and ``course:2/module:7`` (Moodle's course and course module ids); account ids are
    Moodle's user ids. Pages are opened in Moodle and never copied. Completion is written per activity: Moodle has no
    call that completes a course. Scores go over LTI instead.
    """

    manifest = Manifest(
        key="moodle",
        name="Moodle",
        summary="Courses and activities of a Moodle site, its people, and completion back into it.",
        api_docs="https://docs.moodle.org/en/Web_service_API_functions",
        verified="contract",
        proof="Replies recorded from Moodle 4.1; the paging of people follows Moodle's source.",
    )
    config_class = MoodleConfig

    def __init__(self, config: MoodleConfig, http: Http) -> None:
        super().__init__(config, http)
        self._api = http.to(str(config.base_url), secrets=(config.token.get_secret_value(),))

    def check(self) -> Health:
        site = self._call(_SITE, "core_webservice_get_site_info")
        works = f"Moodle {site.release} answers as {site.sitename}", f"the token belongs to {site.username}"
        offered = {function.name for function in site.functions}
        missing = [
            f"{use}: add the function {name} to the service of the token"
            for name, use in NEEDED.items()
            if name not in offered
        ]
        if site.siteurl.rstrip("/") != self._api.base_url:
            missing.append(f"one address: Moodle calls itself {site.siteurl}; use that as base_url")
        return Health(works, tuple(missing))

    def pages(self, since: Checkpoint | None) -> Iterator[AssetPage]:
        """One page for each course, in the order of their ids; the checkpoint is the id of the last course."""
        # Moodle lists courses in an order that changes.
        courses = self._call(_COURSES, "core_course_get_courses")
        done = int((since or {}).get("course", FRONT_PAGE))
        for course in sorted((course for course in courses if course.id > done), key=lambda course: course.id):
            sections = self._call(_SECTIONS, "core_course_get_contents", courseid=course.id)
            yield AssetPage((self._course(course), *self._modules(course, sections)), {"course": course.id})

    def record(self, outcome: Outcome, *, idempotency_key: str) -> Receipt:
        """Mark the activity complete for the person.

        Moodle answers an override with success also for somebody who is not enrolled, and for an activity that is not
        tracked: both are asked first, and the answer is compared.
        """
        if not outcome.completed or outcome.success is False:
            raise Unsupported("Moodle's override knows only complete: an open or failed outcome is not written")
        course, module = _module_of(outcome.asset_external_id)
        user = outcome.account_id
        receipt = Receipt(f"user:{user}/module:{module}")
        if self._completion(course, module, user).state in (COMPLETE, COMPLETE_PASS):
            return receipt
        asked = {"userid": user, "cmid": module, "newstate": COMPLETE}
        written = self._call(_OVERRIDE, "core_completion_override_activity_completion_status", **asked)
        if written.state != COMPLETE:
            raise Rejected(f"Moodle left activity {module} at state {written.state} (tracking {written.tracking})")
        return receipt

    def people(self, since: Checkpoint | None) -> Iterator[PeoplePage]:
        """Walk all users in the order of their ids; the key is the ID number, and who has none is left out."""
        done = int((since or {}).get("users", 0))
        while users := self._call(_USERS, "core_enrol_get_enrolled_users", courseid=FRONT_PAGE, **_range(done)):
            done += PEOPLE_PER_PAGE
            yield PeoplePage(tuple(_person(user) for user in users if user.idnumber), {"users": done})

    def _completion(self, course: int, module: int, user: str) -> _Completion:
        asked = {"courseid": course, "userid": user}
        found = self._call(_COMPLETIONS, "core_completion_get_activities_completion_status", **asked)
        for status in found.statuses:
            if status.cmid == module and status.istrackeduser:
                return status
            if status.cmid == module:
                raise Rejected(f"Moodle user {user} is not enrolled as a learner in course {course}: enrol them first")
        raise Rejected(f"activity {module} of Moodle course {course} does not track completion: switch it on there")

    def _course(self, course: _Course) -> Asset:
        url = f"{self._api.base_url}/course/view.php?id={course.id}"
        return Asset(
            external_id=f"course:{course.id}",
            kind=AssetKind.COURSE,
            title=_text(course.fullname),
            opening=Opening.link(url) if course.visible else None,
            summary=_text(course.summary),
            language=course.lang.replace("_", "-"),
            tags=(_text(course.shortname),),
            activity_id=url,
        )

    def _modules(self, course: _Course, sections: list[_Section]) -> Iterator[Asset]:
        for section in sections:
            # An activity without an address of its own (a label) can't be opened.
            for module in (found for found in section.modules if found.url and found.modname not in NOT_ASSETS):
                shown = course.visible and section.visible and module.visible
                yield Asset(
                    external_id=f"course:{course.id}/module:{module.id}",
                    kind=KINDS.get(module.modname, AssetKind.MODULE),
                    title=_text(module.name),
                    opening=Opening.link(module.url) if shown else None,
                    summary=_text(module.description),
                    language=course.lang.replace("_", "-"),
                    tags=(_text(course.shortname), module.modname),
                    activity_id=module.url,
                )

    def _call(self, shape: TypeAdapter[T], function: str, **parameters: Any) -> T:
        # The token goes into the body: an address is logged on its way.
        form = {"wstoken": self.config.token.get_secret_value(), "moodlewsrestformat": "json", "wsfunction": function}
        answer = self._api.json("POST", "/webservice/rest/server.php", data={**form, **parameters})
        if isinstance(answer, dict) and "exception" in answer:
            raise self._error(function, answer)
        return self._api.shaped(shape, answer, f"the function {function}")

    def _error(self, function: str, answer: Mapping[str, Any]) -> ConnectorError:
        code, said = str(answer.get("errorcode", "")), self._api.redact(str(answer.get("message", "")))
        words = f"Moodle refused {function}: {said} ({code})"
        if code in NEEDS_ADMIN:
            return ConfigError(f"{words}; check the token, its user's rights and its service")
        if code == "invalidrecord" and "external_functions" in said:
            return ConfigError(f"{words}; this Moodle has no such function: version 4.0 or newer is needed")
        if code in PASSES:
            return Retryable(words)
        return Rejected(words)


def _module_of(external_id: str) -> tuple[int, int]:
    match = re.fullmatch(r"course:(\d+)/module:(\d+)", external_id)
    if not match:
        raise Unsupported(f"Moodle has no call that completes {external_id}: only an activity of a course has")
    return int(match[1]), int(match[2])


def _range(done: int) -> dict[str, str | int]:
    options: tuple[tuple[str, str | int], ...] = (
        ("limitfrom", done),
        ("limitnumber", PEOPLE_PER_PAGE),
        ("sortby", "id"),
    )
    named: dict[str, str | int] = {}
    for at, (name, value) in enumerate(options):
        named |= {f"options[{at}][name]": name, f"options[{at}][value]": value}
    return named


def _person(user: _User) -> Person:
    return Person(key=user.idnumber, name=user.fullname, email=user.email, accounts=(Account("", str(user.id)),))


def _text(markup: str) -> str:
    """Moodle gives titles and summaries as HTML."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())
