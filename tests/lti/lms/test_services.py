"""The services of an LMS, as a real Moodle answered: tokens, pages, scores, and what each refusal means."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest

from bridge.connect import ConfigError, Rejected, Retryable, UnexpectedPayload
from bridge.lti import keys
from bridge.lti.keysets import usable
from bridge.lti.tool import service_tokens
from bridge.lti.tool.services import LinkRefused, Score, Services, next_page
from bridge.store import now

ROLE = "http://purl.imsglobal.org/vocab/lis/v2/membership#"
SCORE = Score("3", 80.0, True)


@pytest.fixture
def services(course: Any) -> Services:
    return Services(course.runtime, course.platform)


def put(services: Services, course: Any) -> bool:
    return services.put_score(course.link().line_item, SCORE, now())


def test_a_token_is_asked_for_with_an_assertion_that_no_clock_refuses(services: Services, course: Any) -> None:
    course.lms.on("POST", course.scores, course.Answer())
    put(services, course)
    (asked,) = course.lms.sent("POST", course.token)
    form = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
    assert form["grant_type"] == "client_credentials"
    assert form["scope"] == "https://purl.imsglobal.org/spec/lti-ags/scope/score"
    header = jwt.get_unverified_header(form["client_assertion"])
    key = usable(keys.key_set(course.runtime))[header["kid"]]
    claims = jwt.decode(
        form["client_assertion"], key, algorithms=["RS256"], audience=f"{course.lms.address}{course.token}"
    )
    assert claims["iss"] == claims["sub"] == "bridge-at-moodle"
    assert claims["jti"]
    assert claims["iat"] <= time.time() - 29
    assert claims["exp"] - claims["iat"] <= 120


def test_a_token_is_kept_for_its_time_and_for_its_scopes(
    services: Services, course: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    course.lms.on("POST", course.scores, course.Answer())
    course.lms.on("GET", course.results, course.Answer(body="[]"))
    put(services, course)
    put(services, course)
    services.result_of(course.link().line_item, "3")
    assert course.lms.issued == 2
    late = time.monotonic() + 3600 - service_tokens.MARGIN_SECONDS
    monkeypatch.setattr(service_tokens.time, "monotonic", lambda: late)
    put(services, course)
    assert course.lms.issued == 3
    sent = [asked.headers["Authorization"] for asked in course.lms.sent("POST", course.scores)]
    assert sent == ["Bearer token-1", "Bearer token-1", "Bearer token-3"]


def test_a_refused_token_is_asked_for_again_once(services: Services, course: Any, recorded: Any) -> None:
    unauthorized = course.lms.replay(recorded("moodle-platform-10-nrps-401"))
    course.lms.on("POST", course.scores, unauthorized, course.Answer())
    assert put(services, course)
    assert course.lms.issued == 2
    course.lms.on("POST", course.scores, unauthorized)
    with pytest.raises(LinkRefused, match="401"):
        put(services, course)
    assert course.lms.issued == 3


def test_threads_that_need_a_token_at_once_ask_for_one(services: Services, course: Any) -> None:
    course.lms.on("POST", course.scores, course.Answer())
    threads = [threading.Thread(target=put, args=(services, course)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (course.lms.issued, len(course.lms.sent("POST", course.scores))) == (1, 6)


def test_an_lms_that_gives_no_token_is_for_the_admin(services: Services, course: Any, recorded: Any) -> None:
    course.lms.on("POST", course.token, course.lms.replay(recorded("moodle-platform-09-token-bad-signature")))
    with pytest.raises(ConfigError, match=r"400 .*[Ss]ignature"):
        put(services, course)


@pytest.mark.parametrize("body", ["[]", "{}", '{"access_token": 5}', '{"access_token": "a\\nb"}', "<html>"])
def test_a_token_reply_without_a_token_is_not_taken(services: Services, course: Any, body: str) -> None:
    course.lms.on("POST", course.token, course.Answer(body=body))
    with pytest.raises(UnexpectedPayload):
        put(services, course)


def test_scores_go_below_the_line_items_path_with_its_query(services: Services, course: Any, recorded: Any) -> None:
    course.lms.on("POST", course.scores, course.lms.replay(recorded("moodle-platform-13-ags-score")))
    before = now()
    assert put(services, course)
    (asked,) = course.lms.sent("POST", course.scores)
    assert asked.query == {"type_id": "6"}
    assert asked.headers["Content-Type"] == "application/vnd.ims.lis.v1.score+json"
    body = asked.json
    assert body.pop("timestamp") >= before.isoformat(timespec="milliseconds")
    real = recorded("moodle-platform-13-ags-score")["request"]["json"]
    assert body == {name: value for name, value in real.items() if name != "timestamp"}


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_every_success_counts(services: Services, course: Any, status: int) -> None:
    course.lms.on("POST", course.scores, course.Answer(status))
    assert put(services, course)


def test_a_later_score_of_the_lms_is_told_apart(services: Services, course: Any, recorded: Any) -> None:
    course.lms.on("POST", course.scores, course.lms.replay(recorded("moodle-platform-14-ags-score-409-late-newer")))
    assert not put(services, course)


def test_the_reason_of_a_refusal_is_read_without_what_was_sent(services: Services, course: Any, recorded: Any) -> None:
    course.lms.on("POST", course.scores, course.lms.replay(recorded("moodle-platform-15-ags-score-400-not-gradable")))
    with pytest.raises(Rejected) as caught:
        put(services, course)
    assert str(caught.value).endswith(": Incorrect score received")
    assert not isinstance(caught.value, LinkRefused)


@pytest.mark.parametrize(
    ("status", "error"),
    [(403, LinkRefused), (404, LinkRefused), (410, LinkRefused), (302, Rejected), (500, Retryable), (408, Retryable)],
)
def test_each_refusal_says_what_comes_next(
    services: Services, course: Any, status: int, error: type[Exception]
) -> None:
    course.lms.on("POST", course.scores, course.Answer(status, "<html>token-1</html>"))
    with pytest.raises(error) as caught:
        put(services, course)
    assert "token-1" not in str(caught.value)


def test_an_lms_that_asks_for_patience_gets_it(services: Services, course: Any) -> None:
    course.lms.on("POST", course.scores, course.Answer(429, headers={"Retry-After": "77"}))
    with pytest.raises(Retryable) as caught:
        put(services, course)
    assert caught.value.retry_after == 77


def test_results_are_asked_without_a_limit(services: Services, course: Any, recorded: Any) -> None:
    course.lms.on("GET", course.results, course.lms.replay(recorded("moodle-platform-16-ags-results-one-user")))
    has = services.result_of(course.link().line_item, "3")
    assert has is not None and (has.share, has.at.isoformat()) == (0.8, "2026-11-22T07:55:38+00:00")
    (asked,) = course.lms.sent("GET", course.results)
    assert asked.query == {"type_id": "6", "user_id": "3"}
    assert services.result_of(course.link().line_item, "4") is None
    course.lms.on("GET", course.results, course.lms.replay(recorded("moodle-platform-16-ags-results-page-1")))
    with pytest.raises(LinkRefused):
        services.result_of(course.link().line_item, "3")


def test_members_have_full_roles_and_what_the_lms_tells(services: Services, course: Any, recorded: Any) -> None:
    course.lms.on("GET", course.memberships, course.lms.replay(recorded("moodle-platform-10-nrps")))
    (page,) = services.members(course.link().memberships)
    first = next(member for member in page if member.subject == "3")
    assert (first.roles, first.active) == ((f"{ROLE}Learner",), True)
    assert first.told == {
        "name": "Emp No1",
        "given_name": "Emp",
        "family_name": "No1",
        "email": "emp1@example.test",
        "sourcedid": "E001",
    }
    (asked,) = course.lms.sent("GET", course.memberships)
    assert asked.headers["Accept"] == "application/vnd.ims.lti-nrps.v2.membershipcontainer+json"


def members(*subjects: str) -> str:
    return json.dumps({"members": [{"user_id": subject, "roles": ["Learner"]} for subject in subjects]})


@pytest.mark.parametrize(
    "link",
    [
        '<{address}{path}?limit=2&from=2>; rel="next"',
        "<{address}{path}?limit=2&amp;from=2>; rel=“next”",
        "<{address}{path}?from=0>; rel=“first”, <{address}{path}?limit=2&amp;from=2>; rel=“next”, <x>; rel=“last”",
        "<{path}?limit=2&from=2>;rel=next",
        '<{path}?limit=2&from=2>; title="a, b"; rel="last next"',
    ],
)
def test_pages_are_followed_however_the_link_is_written(services: Services, course: Any, link: str) -> None:
    header = {"Link": link.format(address=course.lms.address, path=course.memberships)}
    course.lms.on("GET", course.memberships, course.Answer(body=members("3", "9"), headers=header))
    course.lms.on("GET", f"{course.memberships}?limit=2&from=2", course.Answer(body=members("12")))
    assert [[member.subject for member in page] for page in services.members(course.link().memberships)] == [
        ["3", "9"],
        ["12"],
    ]


def test_moodles_own_page_links_are_followed(services: Services, course: Any, recorded: Any) -> None:
    course.lms.on("GET", course.memberships, course.lms.replay(recorded("moodle-platform-10-nrps-page-1")))
    course.lms.on("GET", f"{course.memberships}?limit=2&from=2", course.Answer(body=members("12")))
    pages = list(services.members(course.link().memberships))
    assert [member.subject for page in pages for member in page] == ["3", "9", "12"]


def test_the_next_page_is_found_in_moodles_header_of_line_items(course: Any, recorded: Any) -> None:
    course.lms.on("GET", course.items, course.lms.replay(recorded("moodle-platform-11-ags-lineitems-page-1")))
    first = course.runtime.http.to(course.lms.address).request("GET", course.items)
    assert next_page(first) == f"{course.lms.address}{course.items}?type_id=6&limit=1&from=1"


@pytest.mark.parametrize("following", ["http://127.0.0.2:9/elsewhere", "{path}?limit=200"])
def test_pages_lead_neither_elsewhere_nor_in_a_circle(services: Services, course: Any, following: str) -> None:
    header = {"Link": f'<{following.format(path=course.memberships)}>; rel="next"'}
    course.lms.on("GET", course.memberships, course.Answer(body=members("3"), headers=header))
    with pytest.raises(UnexpectedPayload):
        list(services.members(course.link().memberships))
    assert len(course.lms.sent("GET", course.memberships)) == 1


@pytest.mark.parametrize("body", ["[]", "{}", '{"members": 3}', "<html>", ""])
def test_a_list_that_is_none_is_not_taken(services: Services, course: Any, body: str) -> None:
    course.lms.on("GET", course.memberships, course.Answer(body=body))
    with pytest.raises(UnexpectedPayload):
        list(services.members(course.link().memberships))


def test_members_without_a_usable_id_are_left_out(services: Services, course: Any) -> None:
    rows = [{"user_id": value} for value in (None, 5, "", "a\x00", "x" * 256)]
    rows += [
        {"user_id": "7", "status": "Inactive", "roles": "Learner", "name": 5},
        {"user_id": "8", "status": "Deleted"},
    ]
    course.lms.on("GET", course.memberships, course.Answer(body=json.dumps({"members": [*rows, "x"]})))
    (page,) = services.members(course.link().memberships)
    assert [(member.subject, member.roles, member.active, member.told) for member in page] == [
        ("7", (), False, {}),
        ("8", (), False, {}),
    ]


def own(services: Services, course: Any) -> str:
    return services.line_item(course.link().line_items, "5", "Pricing", "asset-10")


def test_a_links_line_item_is_found(services: Services, course: Any, recorded: Any) -> None:
    course.lms.on("GET", course.items, course.lms.replay(recorded("moodle-platform-11-ags-lineitems")))
    assert own(services, course) == f"{course.lms.address}{course.items}/21/lineitem?type_id=6"
    assert not course.lms.sent("POST", course.items)


def test_the_bridges_own_is_preferred(services: Services, course: Any) -> None:
    rows: list[Any] = [
        {"id": "https://lms.test/1", "resourceLinkId": "5"},
        {"id": "https://lms.test/2", "resourceLinkId": "5", "tag": "flowbridge"},
        {"id": "https://lms.test/3", "resourceLinkId": "6", "tag": "flowbridge", "resourceId": "asset-10"},
        "x",
    ]
    course.lms.on("GET", course.items, course.Answer(body=json.dumps(rows)))
    assert own(services, course) == "https://lms.test/2"


def test_a_line_item_is_made_where_there_is_none(services: Services, course: Any, recorded: Any) -> None:
    course.lms.on("GET", course.items, course.Answer(body="[]"))
    course.lms.on("POST", course.items, course.lms.replay(recorded("moodle-platform-12-ags-lineitem-create-linked")))
    assert own(services, course) == f"{course.lms.address}{course.items}/23/lineitem?type_id=6"
    assert [asked.query for asked in course.lms.sent("GET", course.items)] == [
        {"type_id": "6", "resource_link_id": "5"},
        {"type_id": "6", "resource_id": "asset-10", "tag": "flowbridge"},
    ]
    (asked,) = course.lms.sent("POST", course.items)
    assert asked.headers["Content-Type"] == "application/vnd.ims.lis.v2.lineitem+json"
    assert asked.json == {
        "label": "Pricing",
        "scoreMaximum": 100,
        "resourceLinkId": "5",
        "resourceId": "asset-10",
        "tag": "flowbridge",
    }


Call = Callable[[Services, Any], object]


@pytest.mark.parametrize("call", [put, own])
def test_an_lms_that_registered_itself_leads_into_no_private_network(course: Any, call: Call) -> None:
    import dataclasses

    from bridge.connect.http import EgressRefused
    from bridge.settings import Settings

    strict = dataclasses.replace(
        course.runtime, settings=Settings.load(home=course.runtime.settings.home, base_url="http://bridge.test")
    )
    stranger = dataclasses.replace(course.platform, trusted_network=False)
    with pytest.raises(EgressRefused):
        call(Services(strict, stranger), course)
    assert not course.lms.asked
