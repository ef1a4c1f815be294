"""An LMS's author places assets of the catalogue in a course: who may, what is sent back, once, and to whom."""

from __future__ import annotations

import dataclasses
import html
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from bridge.flows import identity, place_content
from bridge.flows.errors import Refused
from bridge.lti import keys
from bridge.lti.errors import LtiError
from bridge.lti.tool import platforms
from bridge.lti.tool.launches import Launched
from bridge.store import tables
from bridge.web.app import create_app
from bridge.web.auth import FRAMED_COOKIE, SESSION_COOKIE
from tests.lti.test_deep_linking import Chooser, chooser_in

ISSUER, LMS = "http://bridge.test", "https://lms.test"
CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
DL = "https://purl.imsglobal.org/spec/lti-dl/claim/"
INSTRUCTOR = "http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor"
LEARNER = "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"
HTML = {"Accept": "text/html"}
SETTINGS = {
    "deep_link_return_url": f"{LMS}/return?course=2&sesskey=a%22b",
    "accept_types": ["ltiResourceLink"],
    "accept_presentation_document_targets": ["iframe", "window"],
    "accept_multiple": True,
    "data": 'op-"1"',
}


@dataclasses.dataclass
class Author:
    """Somebody who was launched from an LMS to choose content."""

    office: Any
    token: str
    name: str = "lms"

    @property
    def csrf(self) -> str:
        signed_in = identity.session(self.office.runtime, self.token)
        assert signed_in is not None
        return signed_in.csrf

    def launched(self, *roles: str, **settings: Any) -> Launched:
        with self.office.runtime.db.read() as session:
            platform = platforms.by_connection(session, self.office.connection(self.name))
        assert platform is not None
        told = {name: value for name, value in (SETTINGS | settings).items() if value is not None}
        claims = {
            f"{CLAIM}roles": list(roles or (INSTRUCTOR,)),
            f"{CLAIM}context": {"id": "2", "title": "Selling <2>"},
            f"{DL}deep_linking_settings": told,
        }
        return Launched(platform, "d-1", "9", "LtiDeepLinkingRequest", claims)

    def begin(self, *roles: str, **settings: Any) -> str:
        return place_content.begin(self.office.runtime, self.launched(*roles, **settings), self.token)

    def send(self, path: str, do: str, *assets: Any, **form: Any) -> Any:
        data = {"csrf": self.csrf, "do": do, "asset": [str(one) for one in assets], **form}
        return self.office.client.post(path, data=data, headers=HTML)

    def answer(self, path: str, *assets: Any) -> tuple[str, dict[str, Any]]:
        """Where the answer goes, and its verified claims."""
        page = self.send(path, "place" if assets else "nothing", *assets)
        assert page.status_code == 200, page.text
        url, fields = self.office.form_of(page.text)
        known = {key["kid"]: key for key in self.office.client.get("/lti/tool/jwks").json()["keys"]}
        header = jwt.get_unverified_header(fields["JWT"])
        assert header["alg"] == "RS256"
        key = jwt.PyJWK(known[header["kid"]])
        claims: dict[str, Any] = jwt.decode(fields["JWT"], key, algorithms=["RS256"], audience=LMS, issuer="fb-1")
        return url, claims


def author_in(office: Any) -> Author:
    config = {
        "issuer": LMS,
        "client_id": "fb-1",
        "auth_login_url": f"{LMS}/auth",
        "jwks": {"keys": [office.jwk(office.key, "k1")]},
        "deployment_ids": ["d-1"],
    }
    office.add(tables.Connection(name="lms", connector="lti_platform", config=config))
    return Author(office, office.sign_in("E002"))


@pytest.fixture
def author(office: Any) -> Author:
    return author_in(office)


@pytest.fixture
def quiz(office: Any) -> uuid.UUID:
    with office.runtime.db.read() as session:
        found: uuid.UUID = session.scalars(select(tables.Asset.id).where(tables.Asset.external_id == "quiz")).one()
        return found


def refused(response: Any, code: str) -> None:
    assert response.status_code >= 400
    assert f">{code.replace('_', ' ')}</span>" in response.text


def test_an_asset_is_placed_with_its_name_and_a_column(author: Author, quiz: uuid.UUID) -> None:
    path = author.begin()
    page = author.office.client.get(path).text
    assert "Place content in Selling &lt;2&gt;" in page
    assert 'type="checkbox"' in page
    url, claims = author.answer(path, quiz)
    assert url == SETTINGS["deep_link_return_url"]
    assert claims[f"{CLAIM}message_type"] == "LtiDeepLinkingResponse"
    assert claims[f"{CLAIM}version"] == "1.3.0"
    assert claims[f"{CLAIM}deployment_id"] == "d-1"
    assert claims[f"{DL}data"] == 'op-"1"'
    assert claims["exp"] - claims["iat"] == 300
    assert claims["nonce"]
    assert claims[f"{DL}content_items"] == [
        {
            "type": "ltiResourceLink",
            "title": "The quiz <quiz>",
            "text": "Five questions",
            "url": f"{ISSUER}/lti/tool/launch",
            "custom": {"asset": "tool/quiz"},
            "lineItem": {"label": "The quiz <quiz>", "scoreMaximum": 100, "resourceId": "tool/quiz"},
        }
    ]


def test_the_form_goes_to_the_verified_address_only(author: Author, quiz: uuid.UUID) -> None:
    page = author.send(author.begin(), "place", quiz)
    assert "&amp;sesskey" in page.text and page.text.count("<form") == 1
    assert page.headers["content-security-policy"].endswith(f"form-action {LMS} https:")
    assert page.headers["cache-control"] == "no-store"


def test_without_data_none_is_echoed(author: Author, quiz: uuid.UUID) -> None:
    assert f"{DL}data" not in author.answer(author.begin(data=None), quiz)[1]


def test_every_answer_has_a_nonce_of_its_own(author: Author, quiz: uuid.UUID) -> None:
    first, second = (author.answer(author.begin(), quiz)[1]["nonce"] for _ in range(2))
    assert first != second


@pytest.mark.parametrize("wanted", [False, "false"])
def test_no_column_where_the_lms_takes_none(author: Author, quiz: uuid.UUID, wanted: Any) -> None:
    (item,) = author.answer(author.begin(accept_lineitem=wanted), quiz)[1][f"{DL}content_items"]
    assert "lineItem" not in item


def test_a_link_has_no_column(author: Author) -> None:
    page = author.office.add_asset("tool", "page", how="link", url="http://tool.test/page")
    (item,) = author.answer(author.begin(), page)[1][f"{DL}content_items"]
    assert item["custom"] == {"asset": "tool/page"}
    assert "lineItem" not in item


def test_nothing_may_be_placed(author: Author) -> None:
    url, claims = author.answer(author.begin())
    assert url == SETTINGS["deep_link_return_url"]
    assert claims[f"{DL}content_items"] == []


@pytest.mark.parametrize("several", [True, "true"])
def test_several_are_placed_where_the_lms_takes_several(author: Author, quiz: uuid.UUID, several: Any) -> None:
    other = author.office.add_asset("tool", "other")
    items = author.answer(author.begin(accept_multiple=several), quiz, other)[1][f"{DL}content_items"]
    assert {item["custom"]["asset"] for item in items} == {"tool/quiz", "tool/other"}


@pytest.mark.parametrize("one", [False, "false", None])
def test_one_is_placed_where_the_lms_takes_one(author: Author, quiz: uuid.UUID, one: Any) -> None:
    other, path = author.office.add_asset("tool", "other"), author.begin(accept_multiple=one)
    assert 'type="radio"' in author.office.client.get(path).text
    page = author.send(path, "place", quiz, other)
    assert page.status_code == 400
    assert "takes one at a time" in page.text
    assert len(author.answer(path, quiz)[1][f"{DL}content_items"]) == 1


def test_the_catalogue_is_searched_and_ticks_are_kept(author: Author, quiz: uuid.UUID) -> None:
    other, path = author.office.add_asset("tool", "negotiation"), author.begin()
    page = author.send(path, "search", quiz, q="negotiation").text
    ticked = re.findall(r'value="([0-9a-f-]{36})"( checked)?', page)
    assert ticked == [(str(quiz), " checked"), (str(other), "")]
    assert "Nothing in the catalogue is like “poem&lt;”" in html.unescape(
        author.send(path, "search", q="poem<").text
    ).replace("poem<", "poem&lt;")


def test_only_what_can_be_opened_is_shown_and_placed(author: Author) -> None:
    gone, dead = author.office.add_asset("tool", "gone"), author.office.add_asset("tool", "dead")
    with author.office.runtime.db.write() as session:
        session.get_one(tables.Asset, gone).opening = None
        session.get_one(tables.Asset, dead).retired_at = session.get_one(tables.Asset, dead).updated_at
    path = author.begin()
    page = author.office.client.get(path).text
    assert str(gone) not in page
    assert str(dead) not in page
    for one in (gone, dead, uuid.uuid4()):
        assert author.send(path, "place", one).status_code == 400


def test_nothing_ticked_is_asked_again(author: Author) -> None:
    page = author.send(author.begin(), "place")
    assert page.status_code == 400
    assert "Choose what to place first" in page.text


@pytest.mark.parametrize("roles", [(LEARNER,), ("http://purl.imsglobal.org/vocab/lis/v2/institution/person#Student",)])
def test_learners_place_nothing(author: Author, roles: tuple[str, ...]) -> None:
    with pytest.raises(Refused) as error:
        author.begin(*roles)
    assert error.value.code == "authors_only"


def test_a_role_may_be_short(author: Author) -> None:
    assert author.begin("Instructor").startswith("/lti/tool/deeplink/")


@pytest.mark.parametrize(
    "url",
    [
        "http://lms.test/return",
        "javascript:alert(1)",
        "https://lms.test;script-src *",
        "https://a@lms.test/",
        "//lms.test/",
        "https://lms.test/ x",
        7,
    ],
)
def test_an_answer_goes_only_to_a_secure_address(author: Author, url: Any) -> None:
    with pytest.raises(LtiError) as error:
        author.begin(deep_link_return_url=url)
    assert error.value.code == "return_url_refused"


@pytest.mark.parametrize("types", [["link"], [], None, "ltiResourceLink"])
def test_an_lms_that_takes_no_lti_links_is_told_so(author: Author, types: Any) -> None:
    with pytest.raises(LtiError) as error:
        author.begin(accept_types=types)
    assert error.value.code == "nothing_to_place"


def test_a_choice_is_made_once(author: Author, quiz: uuid.UUID) -> None:
    path = author.begin()
    author.answer(path, quiz)
    refused(author.send(path, "place", quiz), "placing_over")
    refused(author.office.client.get(path, headers=HTML), "placing_over")


def test_a_choice_is_the_session_s_own(author: Author, quiz: uuid.UUID) -> None:
    path = author.begin()
    other = Author(author.office, author.office.sign_in("E002"))
    refused(author.office.client.get(path, headers=HTML), "placing_over")
    refused(other.send(path, "place", quiz), "placing_over")
    author.office.client.cookies.clear()
    refused(author.office.client.get(path, headers=HTML), "sign_in_needed")


def test_a_choice_ends(author: Author, quiz: uuid.UUID, expire: Callable[..., None]) -> None:
    path = author.begin()
    expire(author.office.runtime, tables.LmsPlacing)
    refused(author.send(path, "place", quiz), "placing_over")


def test_the_form_must_be_the_session_s_own(author: Author, quiz: uuid.UUID) -> None:
    path = author.begin()
    refused(author.send(path, "place", quiz, csrf="other"), "wrong_form")


def test_it_works_in_the_lms_s_frame(author: Author, quiz: uuid.UUID) -> None:
    client = author.office.client
    with author.office.runtime.db.read() as session:
        who = session.scalars(select(tables.Person.id).where(tables.Person.key == "E002")).one()
    author.token, _ = identity.open_session(author.office.runtime, who, via="lti", framed_by=[LMS])
    client.cookies.clear()
    client.cookies.set(FRAMED_COOKIE, author.token)
    path = author.begin()
    for page in (client.get(path), author.send(path, "place", quiz)):
        assert page.status_code == 200
        assert f"frame-ancestors 'self' {LMS}" in page.headers["content-security-policy"]


def test_an_lms_that_was_switched_off_gets_no_answer(author: Author, quiz: uuid.UUID) -> None:
    path = author.begin()
    author.office.change_tool("lms", enabled=False)
    refused(author.send(path, "place", quiz), "platform_off")


def test_one_of_many_clicks_places(either_office: Any) -> None:
    author = author_in(either_office)
    path, form = author.begin(), {"csrf": author.csrf, "do": "nothing"}
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: either_office.client.post(path, data=form).status_code, range(20)))
    assert Counter(answers) == {200: 1, 403: 19}


def test_a_real_lms_s_request_is_answered(author: Author, quiz: uuid.UUID, recorded: Any) -> None:
    claims = recorded("moodle-platform-17-deep-link-request-token")["claims"]
    back = claims[f"{DL}deep_linking_settings"]["deep_link_return_url"]
    author.office.change_tool("lms", auth_login_url=f"http://{urlsplit(back).netloc}/mod/lti/auth.php")
    launched = dataclasses.replace(author.launched(), claims=claims, deployment_id="6")
    path = place_content.begin(author.office.runtime, launched, author.token)
    assert "Phishing awareness" in author.office.client.get(path).text
    url, answer = author.answer(path, quiz)
    assert url == back
    assert answer[f"{CLAIM}deployment_id"] == "6"
    assert f"{DL}data" not in answer


@pytest.fixture
def lms_browser(office: Any) -> Iterator[TestClient]:
    """The browser of an author, apart from the admin's."""
    with TestClient(create_app(office.runtime), base_url=ISSUER, follow_redirects=False) as made:
        yield made


def test_what_is_placed_from_one_flowbridge_is_taken_by_another(
    office: Any, quiz: uuid.UUID, lms_browser: TestClient
) -> None:
    """Both roles at once: this installation is the platform and the tool."""
    chooser = chooser_in(office)
    office.add_tool(
        "guides",
        "fb-1",
        initiate_login_uri=f"{ISSUER}/lti/tool/login",
        redirect_uris=[f"{ISSUER}/lti/tool/launch"],
        target_link_uri=f"{ISSUER}/lti/tool/launch",
        jwks=keys.key_set(office.runtime),
    )
    config = {
        "issuer": ISSUER,
        "client_id": "fb-1",
        "auth_login_url": f"{ISSUER}/lti/authorize",
        "jwks": keys.key_set(office.runtime),
        "deployment_ids": ["1"],
    }
    office.add(tables.Connection(name="lms", connector="lti_platform", config=config))
    picked = _picked(chooser, lms_browser, quiz)
    response = chooser.send(picked)
    assert response.status_code == 303, response.text
    chooser.add(response.headers["location"], "quiz")
    (resource,) = chooser.resources("guides")
    assert resource["url"] == f"{ISSUER}/lti/tool/launch"
    assert resource["custom"] == {"asset": "tool/quiz"}
    assert resource["line_item"] == {
        "label": "The quiz",
        "score_maximum": 100,
        "resource_id": "tool/quiz",
    }


def _picked(chooser: Chooser, browser: TestClient, quiz: uuid.UUID) -> str:
    """The way of an author from the login to the answer; the token that is posted."""
    action, fields = chooser.start("guides")
    login = browser.post(action, data=fields)
    assert login.status_code == 302, login.text
    chooser.office.client.cookies.set(SESSION_COOKIE, chooser.token)
    target, form = chooser.office.form_of(chooser.office.client.get(login.headers["location"]).text)
    launched = browser.post(target, data=form)
    assert launched.status_code == 303, launched.text
    path = browser.get(launched.headers["location"]).headers["location"]
    csrf = re.search(r'name="csrf" value="([^"]+)"', browser.get(path).text)
    assert csrf
    page = browser.post(path, data={"csrf": csrf[1], "do": "place", "asset": str(quiz)})
    back, answer = chooser.office.form_of(page.text)
    assert back == f"{ISSUER}/lti/deeplink/return"
    token: str = answer["JWT"]
    return token
