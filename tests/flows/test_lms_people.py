"""Who an LMS's account is: its owner, the person whom a trusted key names, or somebody new; never by an address."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import select

from bridge.flows import lms_people
from bridge.flows.runtime import Runtime
from bridge.lti.tool.platforms import Platform
from bridge.store import tables


def platform(name: str = "moodle", match_people: Any = "nobody") -> Platform:
    return Platform(
        connection_id=1,
        name=name,
        issuer="https://lms.test",
        client_id="c1",
        auth_login_url="https://lms.test/auth",
        auth_token_url="https://lms.test/token",
        auth_audience="https://lms.test/token",
        jwks_uri="https://lms.test/jwks",
        jwks=None,
        deployment_ids=("1",),
        match_people=match_people,
        console_for="nobody",
        trusted_network=True,
    )


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def either(request: pytest.FixtureRequest) -> Runtime:
    made: Runtime = request.getfixturevalue("runtime" if request.param == "sqlite" else "pg_runtime")
    with made.db.write() as session:
        session.add(tables.Person(key="E001", name="Sam Seller", email="sam@example.com"))
    return made


def owner(runtime: Runtime, subject: str, of: Platform | None = None, **told: str) -> str:
    with runtime.db.write() as session:
        return lms_people.account_owner(session, of or platform(), subject, **told).key


def person(runtime: Runtime, key: str) -> tables.Person:
    with runtime.db.read() as session:
        return session.scalars(select(tables.Person).where(tables.Person.key == key)).one()


def test_an_unknown_account_is_somebody_new_and_the_same_from_then_on(either: Runtime) -> None:
    told = {"name": " Emp No1 ", "given_name": "Emp", "email": "Emp1@Example.test", "sourcedid": "E001"}
    assert owner(either, "3", **told) == "moodle:3"
    assert owner(either, "3") == "moodle:3"
    assert owner(either, "3", platform("other")) == "other:3"
    made = person(either, "moodle:3")
    assert made.name == "Emp No1"
    assert made.attributes == {"given_name": "Emp", "sourcedid": "E001", "email": "emp1@example.test"}


@pytest.mark.parametrize("address", ["SAM@example.com", "boss@example.com"])
def test_an_address_that_an_lms_tells_names_nobody(either: Runtime, address: str) -> None:
    assert owner(either, "3", platform(match_people="sourcedid"), email=address) == "moodle:3"
    made = person(either, "moodle:3")
    assert (made.email, made.attributes) == ("", {"email": address.lower()})


def test_a_trusted_key_names_the_person_who_has_no_other_account_there(either: Runtime) -> None:
    trusted = platform(match_people="sourcedid")
    assert owner(either, "3", trusted, sourcedid="E001", name="Somebody Else") == "E001"
    assert person(either, "E001").name == "Sam Seller"
    assert owner(either, "3", trusted) == "E001"
    assert owner(either, "4", trusted, sourcedid="E001") == "moodle:4"
    assert owner(either, "5", trusted, sourcedid="E999") == "moodle:5"


def test_a_key_never_names_who_is_no_part_of_the_configuration(either: Runtime) -> None:
    trusted = platform(match_people="sourcedid")
    assert owner(either, "7", platform("other")) == "other:7"
    assert owner(either, "3", trusted, sourcedid="admin") == "moodle:3"
    assert owner(either, "4", trusted, sourcedid="other:7") == "moodle:4"


def test_what_the_lms_tells_later_is_learned_and_what_it_hides_stays(either: Runtime) -> None:
    owner(either, "3", given_name="Emp", family_name="No1")
    assert person(either, "moodle:3").name == "Emp No1"
    owner(either, "3", name="Emp New\x00", sourcedid="E7")
    made = person(either, "moodle:3")
    assert made.name == "Emp New"
    assert made.attributes == {"given_name": "Emp", "family_name": "No1", "sourcedid": "E7"}


def test_parallel_launches_of_one_account_make_one_person(either: Runtime) -> None:
    trusted, found, gate = platform(match_people="sourcedid"), [], threading.Barrier(6)

    def launch(subject: str, sourcedid: str) -> None:
        gate.wait()
        found.append(owner(either, subject, trusted, sourcedid=sourcedid))

    wanted = [("3", ""), ("3", ""), ("3", ""), ("8", "E001"), ("8", "E001"), ("9", "E001")]
    threads = [threading.Thread(target=launch, args=each) for each in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.count("moodle:3") == 3
    assert found.count("E001") in (1, 2)
    with either.db.read() as session:
        people = set(session.scalars(select(tables.Person.key)))
        accounts = session.scalars(select(tables.Account.subject).where(tables.Account.issuer == "moodle")).all()
    assert sorted(accounts) == ["3", "8", "9"]
    assert people & {"moodle:3", "moodle:8", "moodle:9"} == {"moodle:3", *(set(found) - {"E001"})}
