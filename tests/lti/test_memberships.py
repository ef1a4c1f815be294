"""NRPS: a tool sees whom it knows in a context, as far as it may, page by page."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import delete, select

from bridge.store import tables

NRPS = "https://purl.imsglobal.org/spec/lti-nrps/"
MEMBERS = f"{NRPS}scope/contextmembership.readonly"
MEDIA_TYPE = "application/vnd.ims.lti-nrps.v2.membershipcontainer+json"
LEARNER = "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"


@pytest.fixture
def open_to_members(office: Any) -> Any:
    """The office, whose first tool was granted names and roles."""
    office.change_tool(scopes=[MEMBERS], send_name=True)
    return office


def address_of(claims: dict[str, Any]) -> str:
    service = claims[f"{NRPS}claim/namesroleservice"]
    assert service["service_versions"] == ["2.0"]
    return str(urlsplit(service["context_memberships_url"]).path)


def read(office: Any, address: str, **query: Any) -> Any:
    return office.client.get(address, params=query, headers=office.bearer(MEMBERS))


def many(office: Any, context: str, count: int) -> None:
    with office.runtime.db.write() as session:
        tool = session.scalars(select(tables.Connection.id).where(tables.Connection.name == "tool")).one()
        people = [tables.Person(key=f"P{number}") for number in range(count)]
        session.add_all(people)
        session.flush()
        session.add_all(
            tables.ContextMember(connection_id=tool, context=context, subject=f"{number:04x}", person_id=person.id)
            for number, person in enumerate(people)
        )


def test_members_are_those_who_were_launched_there_with_what_the_tool_may_know(open_to_members: Any) -> None:
    office = open_to_members
    sam, priya = office.claims("E001"), office.claims("E002")
    answer = read(office, address_of(sam))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == MEDIA_TYPE
    context = sam["https://purl.imsglobal.org/spec/lti/claim/context"]["id"]
    assert answer.json()["context"] == {"id": context, "label": "desk", "title": "desk"}
    assert answer.json()["id"] == f"http://bridge.test{address_of(sam)}"
    members = {member["user_id"]: member for member in answer.json()["members"]}
    assert set(members) == {sam["sub"], priya["sub"]}
    assert members[sam["sub"]] == {
        "status": "Active",
        "user_id": sam["sub"],
        "roles": [LEARNER],
        "name": "Sam Seller",
        "given_name": "Sam",
        "lis_person_sourcedid": "E001",
    }


@pytest.mark.parametrize(
    ("allowed", "told"),
    [
        ({"send_name": False}, set()),
        ({"send_email": True}, {"name", "given_name", "lis_person_sourcedid", "email"}),
        ({"send_name": False, "send_email": True}, {"email"}),
    ],
)
def test_names_and_addresses_are_told_only_where_the_tool_may_have_them(
    open_to_members: Any, allowed: dict[str, bool], told: set[str]
) -> None:
    open_to_members.change_tool(**allowed)
    claims = open_to_members.claims("E001")
    (member,) = read(open_to_members, address_of(claims)).json()["members"]
    assert set(member) == {"status", "user_id", "roles"} | told


def test_pages_lead_to_each_member_once_also_for_a_client_that_lower_cases_links(open_to_members: Any) -> None:
    office = open_to_members
    claims = office.claims()
    many(office, claims["https://purl.imsglobal.org/spec/lti/claim/context"]["id"], 5)
    url, seen, header = address_of(claims), [], office.bearer(MEMBERS)
    query: dict[str, Any] | None = {"limit": 2, "role": LEARNER}
    while url:
        answer = office.client.get(url, params=query, headers=header)
        seen += [member["user_id"] for member in answer.json()["members"]]
        url, query = answer.links.get("next", {}).get("url", "").lower(), None
    assert len(seen) == 6
    assert seen == sorted(set(seen))


def test_filters_by_role(open_to_members: Any) -> None:
    address = address_of(open_to_members.claims())
    for role, count in ((LEARNER, 1), ("Learner", 1), ("Instructor", 0), (LEARNER + "s", 0)):
        answer = read(open_to_members, address, role=role)
        assert (answer.status_code, len(answer.json()["members"])) == (200, count), role


def test_filters_by_resource_link(open_to_members: Any) -> None:
    office = open_to_members
    office.add_asset("tool", "other")
    claims = office.claims("E001")
    office.claims("E002", "other")
    link = claims["https://purl.imsglobal.org/spec/lti/claim/resource_link"]["id"]
    answer = read(office, address_of(claims), rlid=link)
    assert [member["user_id"] for member in answer.json()["members"]] == [claims["sub"]]


def test_links_of_another_context_or_tool_and_unknown_ones_are_not_there(open_to_members: Any) -> None:
    office = open_to_members
    office.add_asset("second", "theirs")
    here, elsewhere, theirs = office.claims(), office.claims(system="crm"), office.claims(asset="theirs")
    for claims in (elsewhere, theirs):
        link = claims["https://purl.imsglobal.org/spec/lti/claim/resource_link"]["id"]
        answer = read(office, address_of(here), rlid=link)
        assert (answer.status_code, answer.json()["error"]) == (404, "resource_link_unknown")
    assert read(office, address_of(here), rlid="nobody's").status_code == 404


def test_contexts_of_another_tool_and_unknown_ones_are_not_there(open_to_members: Any) -> None:
    office = open_to_members
    office.change_tool("second", scopes=[MEMBERS])
    office.add_asset("second", "theirs")
    theirs = address_of(office.claims(asset="theirs"))
    for address in (theirs, "/lti/nrps/no-such/memberships"):
        answer = read(office, address)
        assert (answer.status_code, answer.json()["error"]) == (404, "context_unknown")


def test_needs_a_token_and_its_scope(office: Any) -> None:
    score = "https://purl.imsglobal.org/spec/lti-ags/scope/score"
    office.change_tool(scopes=[MEMBERS, score])
    address = address_of(office.claims())
    missing = office.client.get(address)
    assert (missing.status_code, missing.json()["error"]) == (401, "token_missing")
    other = office.client.get(address, headers=office.bearer(score))
    assert (other.status_code, other.json()["error"]) == (403, "scope_missing")
    assert "insufficient_scope" in other.headers["www-authenticate"]


@pytest.mark.parametrize(("query", "field"), [({"limit": "0"}, "limit"), ({"limit": "x"}, "limit")])
def test_says_which_parameter_is_wrong(open_to_members: Any, query: dict[str, str], field: str) -> None:
    answer = read(open_to_members, address_of(open_to_members.claims()), **query)
    assert answer.status_code == 400
    assert answer.json()["error_description"].startswith(f"{field}:")


def test_a_deleted_person_is_no_member_any_more(open_to_members: Any) -> None:
    office = open_to_members
    claims = office.claims()
    many(office, claims["https://purl.imsglobal.org/spec/lti/claim/context"]["id"], 1)
    assert len(read(office, address_of(claims)).json()["members"]) == 2
    with office.runtime.db.write() as session:
        session.execute(delete(tables.Person).where(tables.Person.key == "P0"))
    (member,) = read(office, address_of(claims)).json()["members"]
    assert member["user_id"] == claims["sub"]


@pytest.mark.parametrize("name", ["moodle-tool-10-nrps-1", "ltijs-tool-10-nrps"])
def test_requests_of_real_tools_are_answered_as_they_expect(open_to_members: Any, recorded: Any, name: str) -> None:
    office, exchange = open_to_members, recorded(name)
    claims = office.claims()
    link = claims["https://purl.imsglobal.org/spec/lti/claim/resource_link"]["id"]
    query = {key: link for key in exchange["request"].get("query", {}) if key == "rlid"}
    accept = {"accept": exchange["request"]["headers"]["accept"]}
    answer = office.client.get(address_of(claims), params=query, headers=accept | office.bearer(MEMBERS))
    expected = exchange["response"]
    assert answer.status_code == expected["status"]
    assert answer.headers["content-type"] == expected["headers"]["content-type"]
    (member,) = answer.json()["members"]
    assert set(expected["json"]["members"][0]) - {"email", "family_name"} <= set(member)


def test_the_same_on_each_database(either_office: Any) -> None:
    either_office.change_tool(scopes=[MEMBERS])
    claims = either_office.claims()
    link = claims["https://purl.imsglobal.org/spec/lti/claim/resource_link"]["id"]
    assert len(read(either_office, address_of(claims), rlid=link, limit=1).json()["members"]) == 1
