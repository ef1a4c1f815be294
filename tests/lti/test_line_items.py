"""Line items: what a tool sees, makes, changes and deletes (AGS 2.0 section 3.2)."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
ENDPOINT = "https://purl.imsglobal.org/spec/lti-ags/claim/endpoint"
AGS = "https://purl.imsglobal.org/spec/lti-ags/scope/"
LINE_ITEM, READ, RESULT, SCORE = (AGS + name for name in ("lineitem", "lineitem.readonly", "result.readonly", "score"))
ITEM_TYPE = "application/vnd.ims.lis.v2.lineitem+json"


@pytest.fixture
def items(office: Any) -> str:
    """The line items address of a context in which the tool was launched."""
    address: str = office.claims()[ENDPOINT]["lineitems"]
    return address


def add(office: Any, items: str, **changes: Any) -> dict[str, Any]:
    body = {"label": "Extra", "scoreMaximum": 10} | changes
    answer = office.client.post(items, json=body, headers=office.bearer(LINE_ITEM))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def test_a_launch_makes_the_links_own_line_item(office: Any) -> None:
    claims = office.claims()
    endpoint = claims[ENDPOINT]
    answer = office.client.get(endpoint["lineitem"], headers=office.bearer(LINE_ITEM))
    assert answer.headers["content-type"] == ITEM_TYPE
    assert answer.json() == {
        "id": endpoint["lineitem"],
        "label": "The quiz <quiz>",
        "scoreMaximum": 100,
        "resourceLinkId": claims[CLAIM + "resource_link"]["id"],
    }


def test_a_line_item_that_is_made_can_be_read_changed_and_deleted(office: Any, items: str) -> None:
    bearer = office.bearer(LINE_ITEM)
    made = add(office, items, resourceId="r-1", tag=" grade ", scoreMaximum="20.5")
    assert made["id"].startswith(items + "/")
    assert (made["label"], made["scoreMaximum"], made["resourceId"], made["tag"]) == ("Extra", 20.5, "r-1", "grade")
    assert "resourceLinkId" not in made
    assert office.client.get(made["id"], headers=bearer).json() == made
    changed = office.client.put(made["id"], json={"label": "Renamed", "scoreMaximum": 30}, headers=bearer)
    assert changed.json() == {"id": made["id"], "label": "Renamed", "scoreMaximum": 30}
    assert office.client.delete(made["id"], headers=bearer).status_code == 204
    assert office.client.get(made["id"], headers=bearer).status_code == 404
    assert office.client.delete(made["id"], headers=bearer).status_code == 404


def test_a_recorded_request_of_another_platforms_tool_is_understood(office: Any, items: str, recorded: Any) -> None:
    request = recorded("moodle-platform-12-ags-lineitem-create")["request"]
    headers = office.bearer(LINE_ITEM) | {"content-type": request["headers"]["content-type"]}
    answer = office.client.post(items, content=request["body"], headers=headers)
    assert answer.status_code == 201
    sent = {name: value for name, value in request["json"].items() if value != ""}
    assert sent.items() <= answer.json().items()


def test_line_items_are_filtered(office: Any, items: str) -> None:
    link = office.claims()[CLAIM + "resource_link"]["id"]
    add(office, items, label="A", tag="t1", resourceId="r1")
    add(office, items, label="B", tag="t2", resourceId="r1")
    add(office, items, label="C", tag="t1", resourceLinkId=link)

    def labels(**query: str) -> set[str]:
        answer = office.client.get(items, params=query, headers=office.bearer(READ))
        assert answer.headers["content-type"] == "application/vnd.ims.lis.v2.lineitemcontainer+json"
        return {row["label"] for row in answer.json()}

    assert labels() == {"A", "B", "C", "The quiz <quiz>"}
    assert labels(tag="t1") == {"A", "C"}
    assert labels(resource_id="r1", tag="t2") == {"B"}
    assert labels(resource_link_id=link) == {"C", "The quiz <quiz>"}
    assert labels(tag="t9") == set()


def test_pages_follow_the_link_header_until_there_is_none(office: Any, items: str) -> None:
    for number in range(5):
        add(office, items, label=f"L{number}", tag="many")
    bearer = office.bearer(LINE_ITEM)
    url, seen, pages = f"{items}?tag=many&limit=2", [], 0
    while url:
        answer = office.client.get(url, headers=bearer)
        seen += [row["label"] for row in answer.json()]
        url, pages = answer.links.get("next", {}).get("url", ""), pages + 1
        assert url == url.lower(), "pylti1p3 lower-cases the address of the next page"
    assert (sorted(seen), pages) == (["L0", "L1", "L2", "L3", "L4"], 3)


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5", "", "9" * 20])
def test_a_limit_that_is_no_number_is_refused(office: Any, items: str, limit: str) -> None:
    answer = office.client.get(items, params={"limit": limit}, headers=office.bearer(LINE_ITEM))
    assert (answer.status_code, answer.json()["error"]) == (400, "field_invalid")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scoreMaximum": 10}, "label"),
        ({"label": " ", "scoreMaximum": 10}, "label"),
        ({"label": 7, "scoreMaximum": 10}, "label"),
        ({"label": "x" * 1025, "scoreMaximum": 10}, "label"),
        ({"label": "a\x00b", "scoreMaximum": 10}, "label"),
        ({"label": "L"}, "scoreMaximum"),
        ({"label": "L", "scoreMaximum": 0}, "scoreMaximum"),
        ({"label": "L", "scoreMaximum": -1}, "scoreMaximum"),
        ({"label": "L", "scoreMaximum": True}, "scoreMaximum"),
        ({"label": "L", "scoreMaximum": "ten"}, "scoreMaximum"),
        ({"label": "L", "scoreMaximum": "NaN"}, "scoreMaximum"),
        ({"label": "L", "scoreMaximum": 1e300}, "scoreMaximum"),
        ({"label": "L", "scoreMaximum": 1e-300}, "scoreMaximum"),
        ({"label": "L", "scoreMaximum": 10, "tag": ["t"]}, "tag"),
    ],
)
def test_a_line_item_that_makes_no_sense_is_refused_by_the_fields_name(
    office: Any, items: str, body: dict[str, Any], field: str
) -> None:
    answer = office.client.post(items, json=body, headers=office.bearer(LINE_ITEM))
    assert (answer.status_code, answer.json()["error"]) == (400, "field_invalid")
    assert answer.json()["error_description"].startswith(f"{field}:")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b'{"label": "L", "scoreMaximum": NaN}', b"\xff", b"[" * 5000])
def test_a_body_that_is_no_json_object_is_refused(office: Any, items: str, body: bytes) -> None:
    answer = office.client.post(items, content=body, headers=office.bearer(LINE_ITEM))
    assert (answer.status_code, answer.json()["error"]) == (400, "body_malformed")


def test_a_link_of_nobody_can_not_be_coupled(office: Any, items: str) -> None:
    body = {"label": "L", "scoreMaximum": 10, "resourceLinkId": str(uuid.uuid4())}
    answer = office.client.post(items, json=body, headers=office.bearer(LINE_ITEM))
    assert (answer.status_code, answer.json()["error"]) == (404, "resource_link_unknown")


def test_a_line_item_can_not_be_moved_to_another_link(office: Any, items: str) -> None:
    link = office.claims()[CLAIM + "resource_link"]["id"]
    made = add(office, items, resourceLinkId=link)
    bearer = office.bearer(LINE_ITEM)
    moved = {"label": "L", "scoreMaximum": 10, "resourceLinkId": str(uuid.uuid4())}
    answer = office.client.put(made["id"], json=moved, headers=bearer)
    assert (answer.status_code, answer.json()["error"]) == (400, "resource_link_fixed")
    same = office.client.put(made["id"], json=moved | {"resourceLinkId": link}, headers=bearer)
    assert same.json()["resourceLinkId"] == link


def test_the_links_own_line_item_stays(office: Any) -> None:
    own = office.claims()[ENDPOINT]["lineitem"]
    answer = office.client.delete(own, headers=office.bearer(LINE_ITEM))
    assert (answer.status_code, answer.json()["error"]) == (403, "line_item_of_platform")
    assert office.client.get(own, headers=office.bearer(LINE_ITEM)).status_code == 200


@pytest.mark.parametrize(
    ("call", "enough"),
    [
        ("GET /", {LINE_ITEM, READ}),
        ("POST /", {LINE_ITEM}),
        ("GET /item", {LINE_ITEM, READ}),
        ("PUT /item", {LINE_ITEM}),
        ("DELETE /item", {LINE_ITEM}),
        ("GET /item/results", {RESULT}),
        ("POST /item/scores", {SCORE}),
    ],
)
def test_each_method_needs_its_scope(office: Any, items: str, call: str, enough: set[str]) -> None:
    method, _, below = call.partition(" ")
    url = items + below.rstrip("/").replace("/item", add(office, items)["id"].removeprefix(items))
    score = {"userId": "u", "activityProgress": "Started", "gradingProgress": "Pending"}
    body = {"label": "L", "scoreMaximum": 5, "timestamp": "2026-11-22T08:00:00Z", **score} if method != "GET" else None
    assert office.client.request(method, url, json=body).status_code == 401
    for scope in sorted({LINE_ITEM, READ, RESULT, SCORE} - enough):
        answer = office.client.request(method, url, json=body, headers=office.bearer(scope))
        assert (answer.status_code, answer.json()["error"]) == (403, "scope_missing")
    for scope in sorted(enough):
        answer = office.client.request(method, url, json=body, headers=office.bearer(scope))
        assert answer.status_code in (200, 201, 204) or answer.json()["error"] == "user_unknown"


def test_a_tool_sees_nothing_of_another_tools(office: Any, items: str) -> None:
    made = add(office, items)["id"]
    office.add_asset("second", "other")
    theirs = office.claims(asset="other")[ENDPOINT]
    bearer = office.bearer(LINE_ITEM, RESULT, SCORE, client_id="client-2")
    assert len(office.client.get(theirs["lineitems"], headers=bearer).json()) == 1
    assert office.client.get(items, headers=bearer).status_code == 404
    assert office.client.post(items, json={"label": "L", "scoreMaximum": 1}, headers=bearer).status_code == 404
    for method, url in (("GET", made), ("PUT", made), ("DELETE", made), ("GET", made + "/results")):
        body = {"label": "L", "scoreMaximum": 1} if method == "PUT" else None
        assert office.client.request(method, url, json=body, headers=bearer).status_code == 404
    assert office.client.get(made, headers=office.bearer(LINE_ITEM)).json()["label"] == "Extra"


@pytest.mark.parametrize("context", ["desk", "0" * 32, "a%00b", "x" * 2000])
def test_a_context_in_which_the_tool_was_never_launched_is_not_there(office: Any, items: str, context: str) -> None:
    url = f"http://bridge.test/lti/ags/{context}/lineitems"
    assert office.client.get(url, headers=office.bearer(LINE_ITEM)).status_code in (400, 404)
    body = {"label": "L", "scoreMaximum": 1}
    assert office.client.post(url, json=body, headers=office.bearer(LINE_ITEM)).status_code in (400, 404)


@pytest.mark.parametrize("item", ["x", "0", "f9f10844-67af-4543-a136-a553fce8262e", "a%00b"])
def test_a_line_item_that_is_not_there_is_404(office: Any, items: str, item: str) -> None:
    assert office.client.get(f"{items}/{item}", headers=office.bearer(LINE_ITEM)).status_code == 404


def test_one_token_serves_every_context_of_the_tool(office: Any, items: str) -> None:
    elsewhere = office.claims(system="crm")[ENDPOINT]["lineitems"]
    bearer = office.bearer(LINE_ITEM)
    assert elsewhere != items
    for url in (items, elsewhere):
        assert [row["label"] for row in office.client.get(url, headers=bearer).json()] == ["The quiz <quiz>"]
