"""What a launch tells the tool (1EdTech conformance list for platforms, LTI Core 1.3 section 5.3)."""

from __future__ import annotations

import time
from typing import Any

import pytest

CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
ENDPOINT = "https://purl.imsglobal.org/spec/lti-ags/claim/endpoint"
SCOPES = "https://purl.imsglobal.org/spec/lti-ags/scope/"


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for part in value.values() for text in texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in texts(part)]
    return [value] if isinstance(value, str) else []


def test_a_launch_is_complete(office: Any) -> None:
    claims = office.claims()
    assert claims["iss"] == "http://bridge.test"
    assert claims["aud"] == claims["azp"] == "client-1"
    assert isinstance(claims["sub"], str)
    assert 0 < len(claims["sub"]) <= 255
    assert claims[CLAIM + "message_type"] == "LtiResourceLinkRequest"
    assert claims[CLAIM + "version"] == "1.3.0"
    assert claims[CLAIM + "deployment_id"] == "1"
    assert claims[CLAIM + "target_link_uri"] == "http://tool.test/quiz"
    assert claims[CLAIM + "roles"] == ["http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"]
    assert claims[CLAIM + "resource_link"]["title"] == "The quiz <quiz>"
    assert claims[CLAIM + "resource_link"]["description"] == "Five questions"
    assert claims[CLAIM + "context"]["title"] == "desk"
    assert claims[CLAIM + "context"]["type"] == ["http://purl.imsglobal.org/vocab/lis/v2/course#CourseSection"]
    assert claims[CLAIM + "tool_platform"]["product_family_code"] == "flowbridge"
    presentation = claims[CLAIM + "launch_presentation"]
    assert (presentation["document_target"], presentation["locale"]) == ("window", "en-GB")
    assert office.client.get(presentation["return_url"]).status_code == 200


def test_a_token_is_short_lived_and_never_of_the_future(office: Any) -> None:
    claims = office.claims()
    assert 60 <= claims["exp"] - claims["iat"] <= 300
    assert claims["iat"] < time.time() < claims["exp"]


def test_no_value_has_white_space_around_it(office: Any) -> None:
    office.change_tool(send_name=True, send_email=True, custom={"x": "  padded "})
    values = texts(office.claims())
    assert len(values) > 20
    assert [value for value in values if value != value.strip()] == []


def test_nothing_personal_is_told_unless_the_connection_says_so(office: Any) -> None:
    claims = office.claims()
    assert not {"name", "given_name", "family_name", "email", CLAIM + "lis"} & set(claims)
    assert not any("Sam" in text or "sam@" in text or "E001" in text for text in texts(claims))


def test_a_tool_learns_the_name_or_the_address_where_it_may(office: Any) -> None:
    office.change_tool(send_name=True)
    named = office.claims()
    assert (named["name"], named["given_name"]) == ("Sam Seller", "Sam")
    assert named[CLAIM + "lis"] == {"person_sourcedid": "E001"}
    assert "family_name" not in named, "what is not known is not invented"
    assert "email" not in named
    office.change_tool(send_name=False, send_email=True)
    addressed = office.claims()
    assert addressed["email"] == "sam@example.com"
    assert "name" not in addressed


def test_a_link_keeps_its_id_and_has_another_one_in_another_place(office: Any) -> None:
    first, again, elsewhere = office.claims(), office.claims("E002"), office.claims(system="crm")
    links = [claims[CLAIM + "resource_link"]["id"] for claims in (first, again, elsewhere)]
    contexts = [claims[CLAIM + "context"]["id"] for claims in (first, again, elsewhere)]
    assert links[0] == links[1] != links[2]
    assert contexts[0] == contexts[1] != contexts[2]
    assert first["sub"] != again["sub"]
    assert first["sub"] == elsewhere["sub"]


def test_custom_parameters_carry_the_business_record(office: Any) -> None:
    office.change_tool(
        custom={
            "level": "1",
            "fixed": "as it is, $5",
            "amount": "$FlowBridge.event.data.amount",
            "hot": "$FlowBridge.event.data.hot",
            "team": "$FlowBridge.event.data.owner.team",
            "whole": "$FlowBridge.event.data.owner",
            "none": "$FlowBridge.event.data.note",
            "gone": "$FlowBridge.event.data.customer.name",
            "type": "$FlowBridge.event.type",
            "about": "$FlowBridge.event.subject",
            "user": "$User.id",
            "name": "$Person.name.full",
            "link": "$ResourceLink.title",
            "odd": "$Course.id",
            "class": "$FlowBridge.event.data.__class__",
        }
    )
    claims = office.claims()
    custom = claims[CLAIM + "custom"]
    assert custom == {
        "level": "2",  # the link's own wins over the tool's
        "deal": "Acme & Söhne",
        "fixed": "as it is, $5",
        "amount": "120000",
        "hot": "true",
        "team": "north",
        "whole": "",
        "none": "",
        "gone": "",
        "type": "desk.opportunity.created",
        "about": "opportunity,42",
        "user": claims["sub"],
        "name": "",
        "link": "The quiz <quiz>",
        "odd": "$Course.id",
        "class": "",
    }


def test_grade_addresses_are_offered_as_far_as_they_were_granted(office: Any) -> None:
    endpoint = office.claims()[ENDPOINT]
    assert set(endpoint["scope"]) == {
        SCOPES + name for name in ("lineitem", "lineitem.readonly", "result.readonly", "score")
    }
    assert endpoint["lineitem"].startswith(endpoint["lineitems"] + "/")
    office.change_tool(scopes=[SCOPES + "score"])
    assert office.claims()[ENDPOINT]["scope"] == [SCOPES + "score"]
    office.change_tool(scopes=[])
    assert ENDPOINT not in office.claims()


def test_one_line_item_is_named_only_where_there_is_no_other(office: Any) -> None:
    first = office.claims()
    endpoint = first[ENDPOINT]
    assert office.claims("E002")[ENDPOINT]["lineitem"] == endpoint["lineitem"]
    more = {"label": "Part two", "scoreMaximum": 10, "resourceLinkId": first[CLAIM + "resource_link"]["id"]}
    assert office.client.post(endpoint["lineitems"], json=more, headers=office.bearer()).status_code == 201
    assert "lineitem" not in office.claims()[ENDPOINT]


@pytest.mark.parametrize("length", [1000, 1001, 50_000])
def test_a_long_field_of_a_record_is_cut(office: Any, length: int) -> None:
    office.change_tool(custom={"long": "x" * length})
    assert len(office.claims()[CLAIM + "custom"]["long"]) == 1000
