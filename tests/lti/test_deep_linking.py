"""An admin chooses content in a tool: what is asked, what is taken, what is refused, and what the catalogue shows."""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jwt
import pytest
import yaml
from sqlalchemy import select

from bridge.flows import configure, identity
from bridge.lti import keys
from bridge.store import tables

ISSUER, TOOL = "http://bridge.test", "http://tool.test"
CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
DL = "https://purl.imsglobal.org/spec/lti-dl/claim/"
ENDPOINT = "https://purl.imsglobal.org/spec/lti-ags/claim/endpoint"
LINK = {"type": "ltiResourceLink", "title": "Negotiation", "url": f"{TOOL}/quiz", "custom": {"id": "7"}}
HTML = {"Accept": "text/html"}


@dataclasses.dataclass
class Chooser:
    """An admin at the console, and the tool that answers."""

    office: Any
    token: str

    @property
    def csrf(self) -> str:
        signed_in = identity.session(self.office.runtime, self.token)
        assert signed_in is not None
        return signed_in.csrf

    def post(self, path: str, **form: Any) -> Any:
        data = {"csrf": self.csrf, **form}
        return self.office.client.post(path, data=data, follow_redirects=False, headers=HTML)

    def start(self, tool: str = "tool", **form: str) -> tuple[str, dict[str, str]]:
        """Where the browser is sent to begin, with which fields."""
        response = self.post(f"/console/connections/{tool}/choose", **form)
        assert response.status_code == 200, response.text
        action, fields = self.office.form_of(response.text)
        return action, fields

    def request(self, fields: dict[str, str], **changes: str) -> dict[str, str]:
        echoed = {name: fields[name] for name in ("client_id", "login_hint", "lti_message_hint")}
        fixed = {"scope": "openid", "response_type": "id_token", "response_mode": "form_post", "prompt": "none"}
        return fixed | echoed | {"redirect_uri": f"{TOOL}/launch", "nonce": "nonce-1"} | changes

    def message(self, tool: str = "tool", **form: str) -> dict[str, Any]:
        """The claims of a whole new deep linking request."""
        _, answer = self.office.authorize(self.request(self.start(tool, **form)[1]))
        claims: dict[str, Any] = self.office.claims_of(answer["id_token"])
        return claims

    def claims(self, message: dict[str, Any], *items: Any, **changes: Any) -> dict[str, Any]:
        """The tool's answer to a request, its claims changed; None takes one out."""
        at = int(time.time())
        good = {
            "iss": message["aud"],
            "aud": message["iss"],
            "iat": at,
            "exp": at + 300,
            "nonce": uuid.uuid4().hex,
            f"{CLAIM}message_type": "LtiDeepLinkingResponse",
            f"{CLAIM}version": "1.3.0",
            f"{CLAIM}deployment_id": message[f"{CLAIM}deployment_id"],
            f"{DL}data": message[f"{DL}deep_linking_settings"]["data"],
            f"{DL}content_items": list(items),
        }
        return {name: value for name, value in (good | changes).items() if value is not None}

    def signed(self, claims: dict[str, Any], *, key: Any = None, alg: str = "RS256", kid: str | None = "k1") -> str:
        headers = {"kid": kid} if kid else None
        return jwt.encode(claims, key or self.office.key, algorithm=alg, headers=headers)

    def send(self, token: str) -> Any:
        return self.office.client.post("/lti/deeplink/return", data={"JWT": token}, follow_redirects=False)

    def answer(self, message: dict[str, Any], *items: Any, **changes: Any) -> Any:
        return self.send(self.signed(self.claims(message, *items, **changes)))

    def choose(self, *items: Any, **changes: Any) -> str:
        """A whole new choice; the address of the page that shows it."""
        response = self.answer(self.message(), *items, **changes)
        assert response.status_code == 303, response.text
        path: str = response.headers["location"]
        return path

    def add(self, path: str, *kinds: str) -> Any:
        return self.post(f"{path}/add", kind=list(kinds))

    def resources(self, tool: str = "tool") -> list[dict[str, Any]]:
        with self.office.runtime.db.read() as session:
            row = session.scalars(select(tables.Connection).where(tables.Connection.name == tool)).one()
            found: list[dict[str, Any]] = row.config.get("resources", [])
            return found

    def assets(self) -> dict[str, tables.Asset]:
        with self.office.runtime.db.read() as session:
            rows = session.scalars(select(tables.Asset).where(tables.Asset.retired_at.is_(None))).all()
            return {row.title: row for row in rows}


def chooser_in(office: Any) -> Chooser:
    office.add(tables.Person(key="A1", name="Ada Admin", email="ada@example.com", role="admin"))
    office.add(tables.Person(key="A2", name="Bo Admin", email="bo@example.com", role="admin"))
    return Chooser(office, office.sign_in("A1"))


@pytest.fixture
def chooser(office: Any) -> Chooser:
    return chooser_in(office)


def refused(response: Any, code: str) -> None:
    assert response.status_code >= 400, (code, response.headers.get("location"))
    assert f">{code.replace('_', ' ')}</span>" in response.text


def test_the_button_begins_with_a_form_for_the_tools_login(chooser: Chooser) -> None:
    page = chooser.office.client.get("/console/connections/tool").text
    assert "Choose content" in page
    assert "Choose content" not in chooser.office.client.get("/console/connections/desk").text
    action, fields = chooser.start()
    assert action == f"{TOOL}/login?id=7"
    assert (fields["client_id"], fields["lti_deployment_id"]) == ("client-1", "1")
    assert fields["target_link_uri"] == f"{TOOL}/quiz"
    assert "A1" not in fields["login_hint"]


def test_only_admins_choose_and_only_in_tools_that_are_on(chooser: Chooser) -> None:
    refused(chooser.post("/console/connections/desk/choose"), "tool_missing")
    chooser.office.change_tool(enabled=False)
    refused(chooser.post("/console/connections/tool/choose"), "tool_missing")
    assert "Choose content" not in chooser.office.client.get("/console/connections/tool").text
    assert chooser.post("/console/connections/nothing/choose").status_code == 404
    sam = Chooser(chooser.office, chooser.office.sign_in("E001"))
    refused(sam.post("/console/connections/tool/choose"), "admins_only")


def test_the_request_says_what_may_be_chosen(chooser: Chooser) -> None:
    chooser.office.change_tool(deep_linking_uri=f"{TOOL}/choose", custom={"mode": "pick", "who": "$User.id"})
    message = chooser.message()
    assert message[f"{CLAIM}message_type"] == "LtiDeepLinkingRequest"
    assert message[f"{CLAIM}version"] == "1.3.0"
    assert message[f"{CLAIM}target_link_uri"] == f"{TOOL}/choose"
    assert f"{CLAIM}resource_link" not in message
    assert set(message[f"{CLAIM}roles"]) == {
        "http://purl.imsglobal.org/vocab/lis/v2/institution/person#Administrator",
        "http://purl.imsglobal.org/vocab/lis/v2/membership#Instructor",
    }
    assert message[f"{CLAIM}custom"] == {"mode": "pick", "who": message["sub"]}
    settings = message[f"{DL}deep_linking_settings"]
    data = settings.pop("data")
    assert settings == {
        "deep_link_return_url": f"{ISSUER}/lti/deeplink/return",
        "accept_types": ["ltiResourceLink", "link"],
        "accept_presentation_document_targets": ["window", "iframe"],
        "accept_multiple": True,
        "auto_create": False,
    }
    with chooser.office.runtime.db.read() as session:
        row = session.scalars(select(tables.ContentSelection)).one()
    assert data.encode() not in row.data_hash
    assert bytes.fromhex(data) != row.data_hash


def test_the_configuration_offers_the_message(office: Any) -> None:
    answer = office.client.get("/.well-known/openid-configuration").json()
    lti = answer["https://purl.imsglobal.org/spec/lti-platform-configuration"]
    assert {"type": "LtiDeepLinkingRequest"} in lti["messages_supported"]


def test_a_request_is_the_admins_and_the_tools_own(chooser: Chooser) -> None:
    _, fields = chooser.start()
    request = chooser.request(fields)
    chooser.office.sign_in("A2")
    assert chooser.office.authorize(request)[1]["error"] == "login_required"
    chooser.office.client.cookies.set("flowbridge_session", chooser.token)
    other = request | {"client_id": "client-2"}
    assert chooser.office.authorize(other)[1]["error"] == "invalid_request"
    assert "id_token" in chooser.office.authorize(request)[1]
    assert chooser.office.authorize(request)[1]["error"] == "launch_no_longer_valid"


def test_what_was_chosen_is_shown_then_added_to_the_catalogue(chooser: Chooser) -> None:
    page = {"type": "link", "title": "Price <b>list</b>", "url": f"{TOOL}/prices", "text": "All &amp; everything"}
    path = chooser.choose(LINK, page, **{f"{DL}msg": "Two <i>things</i>"})
    shown = chooser.office.client.get(path, headers=HTML).text
    assert "Negotiation" in shown
    assert "Price list" in shown
    assert "Two things" in shown
    assert chooser.resources() == []
    done = chooser.add(path, "quiz", "link")
    assert done.headers["location"].startswith("/console/connections/tool?done=chosen")
    first, second = chooser.resources()
    assert first.items() >= {"title": "Negotiation", "kind": "quiz", "custom": {"id": "7"}}.items()
    assert second.items() >= {"title": "Price list", "summary": "All & everything", "plain_link": True}.items()
    assets = chooser.assets()
    assert assets["Negotiation"].opening == {
        "how": "lti",
        "tool": "tool",
        "url": f"{TOOL}/quiz",
        "custom": {"id": "7"},
    }
    assert assets["Price list"].opening == {"how": "link", "url": f"{TOOL}/prices"}
    exported = yaml.safe_load(configure.export(chooser.office.runtime))
    tool = next(row for row in exported["connections"] if row["name"] == "tool")
    assert tool["config"]["resources"] == [first, second]
    with chooser.office.runtime.db.read() as session:
        audit = session.scalars(select(tables.Audit).where(tables.Audit.action == "content.add")).one()
    assert (audit.actor, audit.subject) == ("A1", "tool")


def test_added_once_and_not_after_it_was_discarded(chooser: Chooser) -> None:
    path = chooser.choose(LINK)
    assert chooser.add(path, "quiz").status_code == 303
    assert chooser.add(path, "quiz").status_code == 404
    path = chooser.choose(LINK | {"url": f"{TOOL}/other"})
    assert chooser.post(f"{path}/discard").headers["location"].endswith("done=discarded")
    assert chooser.add(path, "quiz").status_code == 404
    assert len(chooser.resources()) == 1


def test_a_choice_is_seen_and_added_only_in_the_sign_in_that_began_it(chooser: Chooser) -> None:
    path = chooser.choose(LINK)
    other = Chooser(chooser.office, chooser.office.sign_in("A2"))
    assert other.office.client.get(path).status_code == 404
    assert other.add(path, "quiz").status_code == 404
    assert chooser.resources() == []


@pytest.mark.parametrize("kinds", [(), ("quiz", "quiz"), ("poem",)])
def test_each_item_has_one_kind(chooser: Chooser, kinds: tuple[str, ...]) -> None:
    path = chooser.choose(LINK)
    assert chooser.add(path, *kinds).status_code == 400
    assert chooser.add(path, "quiz").status_code == 303


def test_the_same_place_chosen_again_is_updated(chooser: Chooser) -> None:
    chooser.add(chooser.choose(LINK, LINK | {"custom": {"id": "8"}}), "quiz", "quiz")
    before = chooser.resources()
    assert len({row["id"] for row in before}) == 2
    path = chooser.choose(LINK | {"title": "Negotiation 2", "text": "new"})
    assert "Updates" in chooser.office.client.get(path).text
    chooser.add(path, "module")
    after = chooser.resources()
    assert [row["id"] for row in after] == [row["id"] for row in before]
    assert (after[0]["title"], after[0]["summary"], after[0]["kind"]) == ("Negotiation 2", "new", "module")
    assert after[1] == before[1]


def test_a_resource_that_was_written_by_hand_keeps_its_id(chooser: Chooser) -> None:
    chooser.office.change_tool(resources=[{"id": "mine", "title": "Old", "tags": ["sales"]}])
    chooser.add(chooser.choose({"type": "ltiResourceLink", "title": "New", "url": f"{TOOL}/quiz"}), "course")
    (resource,) = chooser.resources()
    assert resource == {"id": "mine", "title": "New", "tags": ["sales"], "url": f"{TOOL}/quiz", "kind": "course"}


def test_the_column_that_a_tool_wants_is_made_at_the_first_launch(chooser: Chooser) -> None:
    wanted = {
        "scoreMaximum": "50",
        "label": None,
        "resourceId": "r-1",
        "tag": "exam",
        "submission": {"endDateTime": "2026-11-30T00:00:00Z"},
    }
    chooser.add(chooser.choose(LINK | {"title": "Exam", "lineItem": wanted}), "quiz")
    office = chooser.office
    claims = office.claims(asset=chooser.assets()["Exam"].external_id)
    item = office.client.get(claims[ENDPOINT]["lineitem"], headers=office.bearer()).json()
    assert (item["label"], item["scoreMaximum"]) == ("Exam", 50)
    assert (item["resourceId"], item["tag"]) == ("r-1", "exam")
    assert "submission" not in item


def test_nothing_chosen_is_an_answer(chooser: Chooser) -> None:
    message = chooser.message()
    response = chooser.answer(message, **{f"{DL}content_items": None, f"{DL}errormsg": "<script>x</script>no & none"})
    page = chooser.office.client.get(response.headers["location"]).text
    assert "Nothing was chosen" in page
    assert "no &amp; none" in page
    assert "<script>x" not in page


@pytest.mark.parametrize("several", [[ISSUER], [ISSUER, "https://other.test"]])
def test_an_audience_may_be_a_list(chooser: Chooser, several: list[str]) -> None:
    assert chooser.answer(chooser.message(), LINK, aud=several, azp=ISSUER).status_code == 303


def test_of_several_audiences_one_is_the_party(chooser: Chooser) -> None:
    message = chooser.message()
    refused(chooser.answer(message, LINK, aud=[ISSUER, "https://other.test"]), "response_azp")
    refused(chooser.answer(message, LINK, azp="https://other.test"), "response_azp")


def _now(seconds: int) -> int:
    return int(time.time()) + seconds


WRONG_CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "another audience": ({"aud": "https://other.test"}, "response_invalid"),
    "the audience with a slash": ({"aud": f"{ISSUER}/"}, "response_invalid"),
    "nobody's client id": ({"iss": "client-9"}, "client_unknown"),
    "no issuer": ({"iss": None}, "client_unknown"),
    "no end": ({"exp": None}, "response_invalid"),
    "no beginning": ({"iat": None}, "response_invalid"),
    "no nonce": ({"nonce": None}, "response_invalid"),
    "an empty nonce": ({"nonce": ""}, "response_nonce"),
    "a long nonce": ({"nonce": "n" * 513}, "response_nonce"),
    "a number as nonce": ({"nonce": 7}, "response_nonce"),
    "another deployment": ({f"{CLAIM}deployment_id": "2"}, "deployment_wrong"),
    "no deployment": ({f"{CLAIM}deployment_id": None}, "deployment_wrong"),
    "another message": ({f"{CLAIM}message_type": "LtiResourceLinkRequest"}, "message_type_wrong"),
    "no message": ({f"{CLAIM}message_type": None}, "message_type_wrong"),
    "another version": ({f"{CLAIM}version": "1.1"}, "version_wrong"),
    "no data": ({f"{DL}data": None}, "data_missing"),
    "empty data": ({f"{DL}data": ""}, "data_missing"),
    "data that is no text": ({f"{DL}data": {"a": 1}}, "data_missing"),
    "items that are no list": ({f"{DL}content_items": {"0": LINK}}, "items_malformed"),
    "items that are texts": ({f"{DL}content_items": ["x"]}, "items_malformed"),
    "no end of time": ({"exp": float("inf")}, "response_malformed"),
    "an end that is no time": ({"exp": "soon"}, "response_invalid"),
    "an end that is a list": ({"exp": [1]}, "response_invalid"),
    "a half of a character": ({f"{DL}msg": "\ud800"}, "response_malformed"),
    "a nul": ({f"{DL}msg": "\x00"}, "response_malformed"),
}


@pytest.mark.parametrize("case", WRONG_CLAIMS)
def test_an_answer_with_wrong_claims_is_refused(chooser: Chooser, case: str) -> None:
    changes, code = WRONG_CLAIMS[case]
    message = chooser.message()
    refused(chooser.answer(message, LINK, **changes), code)
    assert chooser.answer(message, LINK).status_code == 303, "the refused answer must not have used the request up"


@pytest.mark.parametrize(
    ("begins", "ends", "code"),
    [
        (-400, -61, "response_invalid"),
        (61, 300, "response_invalid"),
        (0, 3601, "response_life"),
        (-60 * 60 * 24 * 3650, 300, "response_life"),
    ],
)
def test_an_answer_out_of_time_is_refused(chooser: Chooser, begins: int, ends: int, code: str) -> None:
    refused(
        chooser.answer(chooser.message(), LINK, iat=_now(begins + 1 if begins == 61 else begins), exp=_now(ends)), code
    )


@pytest.mark.parametrize(("begins", "ends"), [(-300, -50), (50, 300)])
def test_clocks_may_differ_by_a_minute(chooser: Chooser, begins: int, ends: int) -> None:
    assert chooser.answer(chooser.message(), LINK, iat=_now(begins), exp=_now(ends)).status_code == 303


def test_data_of_null_is_missing_data(chooser: Chooser) -> None:
    claims = chooser.claims(chooser.message(), LINK) | {f"{DL}data": None}
    refused(chooser.send(chooser.signed(claims)), "data_missing")


def test_data_is_compared_whole(chooser: Chooser) -> None:
    message = chooser.message()
    data = message[f"{DL}deep_linking_settings"]["data"]
    for changed in (data[:-1], data + "0", data.upper() if data.upper() != data else data + " ", f" {data}"):
        refused(chooser.answer(message, LINK, **{f"{DL}data": changed}), "selection_unknown")


def test_an_answer_is_signed_by_the_tool_that_was_asked(chooser: Chooser, other_key: Any) -> None:
    message = chooser.message()
    claims = chooser.claims(message, LINK)
    refused(chooser.send(chooser.signed(claims, key=other_key)), "response_invalid")
    refused(chooser.send(chooser.signed(claims, kid=None)), "response_kid_missing")
    refused(chooser.send(chooser.signed(claims, kid="../k1")), "kid_unknown")
    refused(chooser.send(chooser.signed(claims, alg="RS512")), "response_algorithm")
    refused(chooser.send(chooser.signed(claims, key="k" * 64, alg="HS256")), "response_algorithm")
    refused(chooser.send(jwt.encode(claims, None, algorithm="none", headers={"kid": "k1"})), "response_algorithm")
    refused(chooser.send(chooser.signed(claims | {"iss": "client-2"})), "selection_unknown")
    refused(chooser.send("a.b.c"), "response_malformed")
    refused(chooser.send(""), "response_missing")


def test_our_own_tokens_and_other_messages_do_not_pass(chooser: Chooser) -> None:
    _, answer = chooser.office.authorize(chooser.request(chooser.start()[1]))
    refused(chooser.send(answer["id_token"]), "client_unknown")
    refused(chooser.send(chooser.office.assertion(aud=ISSUER)), "response_invalid")
    ours = chooser.claims(chooser.message(), LINK)
    refused(chooser.send(keys.sign(chooser.office.runtime, ours)), "kid_unknown")


def test_the_answer_counts_in_the_browser_that_asked(chooser: Chooser) -> None:
    token = chooser.signed(chooser.claims(chooser.message(), LINK))
    chooser.office.sign_in("A2")
    refused(chooser.send(token), "session_other")
    chooser.office.sign_in("A1")
    refused(chooser.send(token), "session_other")
    chooser.office.client.cookies.set("flowbridge_session", chooser.token)
    assert chooser.send(token).status_code == 303


def test_without_a_session_the_browser_is_asked_once_to_send_it_from_here(chooser: Chooser) -> None:
    token = chooser.signed(chooser.claims(chooser.message(), LINK))
    chooser.office.client.cookies.clear()
    page = chooser.send(token)
    action, fields = chooser.office.form_of(page.text)
    assert (page.status_code, action, fields["JWT"]) == (200, "/lti/deeplink/return", token)
    assert page.headers["content-security-policy"].endswith("form-action 'self'")
    refused(chooser.office.client.post(action, data=fields), "session_missing")
    chooser.office.client.cookies.set("flowbridge_session", chooser.token)
    again = chooser.office.client.post(action, data=fields, follow_redirects=False)
    assert again.headers["location"].startswith("/console/content/")


def test_a_selection_that_took_too_long_is_over(chooser: Chooser, expire: Callable[..., None]) -> None:
    message = chooser.message()
    expire(chooser.office.runtime, tables.ContentSelection)
    refused(chooser.answer(message, LINK), "selection_expired")


def test_an_answer_counts_once_and_so_does_its_nonce(chooser: Chooser) -> None:
    message = chooser.message()
    assert chooser.answer(message, LINK, nonce="n-1").status_code == 303
    refused(chooser.answer(message, LINK), "selection_answered")
    other = chooser.message()
    refused(chooser.answer(other, LINK, nonce="n-1"), "nonce_used")
    assert chooser.answer(other, LINK).status_code == 303


def test_one_item_means_one(chooser: Chooser) -> None:
    message = chooser.message(one="true")
    assert message[f"{DL}deep_linking_settings"]["accept_multiple"] is False
    refused(chooser.answer(message, LINK, LINK | {"url": f"{TOOL}/b"}), "items_more_than_one")
    assert chooser.answer(message, LINK).status_code == 303


WRONG_ITEMS: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown type": ({"type": "poem"}, "item_type_not_asked"),
    "a type not asked for": ({"type": "file"}, "item_type_not_asked"),
    "html": ({"type": "html", "html": "<script>alert(1)</script>"}, "item_type_not_asked"),
    "no type": ({"type": None}, "item_type_not_asked"),
    "another origin": ({"url": "http://evil.test/quiz"}, "item_url_foreign"),
    "the tool's name before another": ({"url": "http://tool.test.evil.test/"}, "item_url_foreign"),
    "the tool's name as a user": ({"url": "http://tool.test@evil.test/"}, "item_url_foreign"),
    "another port": ({"url": "http://tool.test:81/"}, "item_url_foreign"),
    "another scheme": ({"url": "https://tool.test/"}, "item_url_foreign"),
    "a backslash": ({"url": "http:\\\\tool.test/"}, "item_url_foreign"),
    "no scheme": ({"url": "//tool.test/"}, "item_url_refused"),
    "a script": ({"url": "javascript:alert(1)"}, "item_url_refused"),
    "data": ({"url": "data:text/html,x"}, "item_url_refused"),
    "a line break": ({"url": "http://tool\n.test/"}, "item_url_refused"),
    "a long address": ({"url": f"{TOOL}/{'x' * 3000}"}, "item_url_refused"),
    "a number as address": ({"url": 7}, "item_url_refused"),
    "a broken address": ({"url": "http://[tool.test/"}, "item_url_refused"),
    "a link without address": ({"type": "link", "url": None}, "item_url_refused"),
    "a link elsewhere": ({"type": "link", "url": "https://evil.test/"}, "item_url_foreign"),
    "a custom value that is a number": ({"custom": {"id": 7}}, "item_custom_refused"),
    "a custom value that is an object": ({"custom": {"id": {}}}, "item_custom_refused"),
    "a long custom value": ({"custom": {"id": "x" * 1025}}, "item_custom_refused"),
    "many custom values": ({"custom": {str(n): "" for n in range(51)}}, "item_custom_refused"),
    "custom that is a list": ({"custom": ["a"]}, "item_custom_refused"),
    "a title of half a megabyte": ({"title": "x" * 500_000}, "item_text_refused"),
    "a title that is a number": ({"title": 7}, "item_text_refused"),
    "a long text": ({"text": "x" * 5000}, "item_text_refused"),
    "a column of nothing": ({"lineItem": {"scoreMaximum": 0}}, "field_invalid"),
    "a column of no number": ({"lineItem": {"scoreMaximum": "NaN"}}, "field_invalid"),
    "a column that is a text": ({"lineItem": "x"}, "field_invalid"),
}


@pytest.mark.parametrize("case", WRONG_ITEMS)
def test_an_answer_with_a_wrong_item_is_refused_whole(chooser: Chooser, case: str) -> None:
    changes, code = WRONG_ITEMS[case]
    message = chooser.message()
    refused(chooser.answer(message, LINK, LINK | changes), code)
    with chooser.office.runtime.db.read() as session:
        assert session.scalars(select(tables.ContentSelection)).one().chosen is None
    assert chooser.answer(message, LINK).status_code == 303


def test_too_many_items_are_refused(chooser: Chooser) -> None:
    items = [LINK | {"url": f"{TOOL}/{number}"} for number in range(201)]
    message = chooser.message()
    refused(chooser.answer(message, *items), "items_too_many")
    assert chooser.answer(message, *items[:200]).status_code == 303


def test_markup_in_texts_is_only_text(chooser: Chooser) -> None:
    title = 'A <img src=x onerror="alert(1)">B &lt;script&gt; "quoted"'
    path = chooser.choose(LINK | {"title": title, "text": "a < b<script>alert(1)</script>"})
    shown = chooser.office.client.get(path).text
    assert "<img" not in shown
    assert "<script>alert" not in shown
    chooser.add(path, "quiz")
    assert chooser.resources()[0]["title"] == 'A B <script> "quoted"'
    assert chooser.resources()[0]["summary"] == "a < b"


def test_an_item_needs_neither_title_nor_address(chooser: Chooser) -> None:
    chooser.add(chooser.choose({"type": "ltiResourceLink"}, {"type": "link", "url": f"{TOOL}/x"}), "module", "link")
    assert [row["title"] for row in chooser.resources()] == ["tool", f"{TOOL}/x"]
    assert chooser.assets()["tool"].opening == {"how": "lti", "tool": "tool"}


@pytest.mark.parametrize(
    "name",
    [
        "moodle-tool-13-deep-link-response-token",
        "ltijs-tool-12-deep-link-response-token",
        "moodle-platform-18-deep-link-response-token",
    ],
)
def test_answers_of_real_tools_are_taken(chooser: Chooser, recorded: Any, name: str) -> None:
    claims = recorded(name)["claims"]
    address = claims[f"{DL}content_items"][0]["url"]
    chooser.office.change_tool(initiate_login_uri=address, redirect_uris=[address], target_link_uri=address)
    _, fields = chooser.start()
    _, answer = chooser.office.authorize(chooser.request(fields, redirect_uri=address))
    ours = chooser.claims(chooser.office.claims_of(answer["id_token"]))
    fresh = {name: ours[name] for name in ("iss", "iat", "exp", f"{CLAIM}deployment_id", f"{DL}data")}
    audience = [ISSUER] if isinstance(claims["aud"], list) else ISSUER
    response = chooser.send(chooser.signed(claims | fresh | {"aud": audience}))
    assert response.status_code == 303, response.text
    items = claims[f"{DL}content_items"]
    chooser.add(response.headers["location"], *["course"] * len(items))
    added = chooser.resources()
    assert [row["title"] for row in added] == [item["title"] for item in items]
    assert [row.get("custom", {}) for row in added] == [item.get("custom", {}) for item in items]
    for row, item in zip(added, items, strict=True):
        wanted = (
            {"label": item["title"], "score_maximum": item["lineItem"]["scoreMaximum"]} if "lineItem" in item else None
        )
        assert row.get("line_item") == wanted


CALLERS = 20


def at_once(call: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(CALLERS) as pool:
        return list(pool.map(call, range(CALLERS)))


def test_one_of_many_answers_wins(either_office: Any) -> None:
    chooser = chooser_in(either_office)
    message = chooser.message()
    tokens = [chooser.signed(chooser.claims(message, LINK | {"title": str(n)})) for n in range(CALLERS)]
    statuses = Counter(response.status_code for response in at_once(lambda n: chooser.send(tokens[n])))
    assert statuses == {303: 1, 409: CALLERS - 1}


def test_one_of_many_clicks_adds(either_office: Any) -> None:
    chooser = chooser_in(either_office)
    path, csrf = chooser.choose(LINK), chooser.csrf
    form = {"csrf": csrf, "kind": "quiz"}
    answers = at_once(lambda _: either_office.client.post(f"{path}/add", data=form, follow_redirects=False))
    assert Counter(answer.status_code for answer in answers) == {303: 1, 404: CALLERS - 1}
    assert len(chooser.resources()) == 1
