"""An organisation with one LTI tool: Sam sells in Desk, and a prompt offers the tool's quiz."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import html.parser
import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi.testclient import TestClient
from jwt.algorithms import RSAAlgorithm
from sqlalchemy import select

from bridge.flows import identity, setup
from bridge.flows.runtime import Runtime
from bridge.lti.platform import authorize
from bridge.settings import Settings
from bridge.store import now, tables
from bridge.web.auth import SESSION_COOKIE
from tests.lti.launching_lms import Lms

ISSUER = "http://bridge.test"
TOOL = "http://tool.test"
CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"
AGS = "https://purl.imsglobal.org/spec/lti-ags/"
LINE_ITEM, READ, RESULT, SCORE = (
    AGS + f"scope/{name}" for name in ("lineitem", "lineitem.readonly", "result.readonly", "score")
)
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture(scope="session")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="session")
def other_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwk(key: rsa.RSAPrivateKey, kid: str, **members: str) -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", "alg": "RS256", **members}


class _Form(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.action, self.fields = "", dict[str, str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = found["action"]
        if tag == "input" and found.get("type") == "hidden":
            self.fields[found["name"]] = found["value"]


def form_of(text: str) -> tuple[str, dict[str, str]]:
    """Where the one form of a page goes, and its hidden fields."""
    form = _Form(text)
    return form.action, form.fields


def claims_of(id_token: str) -> dict[str, Any]:
    """The claims of a token, unverified."""
    payload = id_token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


@dataclasses.dataclass
class Office:
    """What the tests do as the bridge, as the browser of a person, and as the tool."""

    runtime: Runtime
    client: TestClient
    key: rsa.RSAPrivateKey
    form_of = staticmethod(form_of)
    claims_of = staticmethod(claims_of)
    jwk = staticmethod(jwk)

    def add_tool(self, name: str, client_id: str, **changes: Any) -> None:
        config: dict[str, Any] = {
            "client_id": client_id,
            "initiate_login_uri": f"{TOOL}/login?id=7",
            "redirect_uris": [f"{TOOL}/launch", f"{TOOL}/launch?second=1"],
            "target_link_uri": f"{TOOL}/quiz",
            "jwks": {"keys": [jwk(self.key, "k1")]},
            "scopes": [LINE_ITEM, READ, RESULT, SCORE],
        }
        merged = {key: value for key, value in (config | changes).items() if value is not None}
        self.add(tables.Connection(name=name, connector="lti_tool", config=merged))

    def change_tool(self, name: str = "tool", *, enabled: bool = True, **changes: Any) -> None:
        with self.runtime.db.write() as session:
            row = session.scalars(select(tables.Connection).where(tables.Connection.name == name)).one()
            row.config, row.enabled = {**row.config, **changes}, enabled

    def add_asset(self, connection: str, external_id: str, **opening: Any) -> uuid.UUID:
        asset = tables.Asset(
            id=uuid.uuid4(),
            connection_id=self.connection(connection),
            external_id=external_id,
            kind="quiz",
            title=f"  The quiz <{external_id}> ",
            summary="Five questions",
            language="en-GB",
            tags=[],
            activity_id=f"https://bridge.test/assets/{external_id}",
            opening={"how": "lti", **opening},
            fingerprint="0",
        )
        return self.add(asset).id

    def add(self, row: Any) -> Any:
        with self.runtime.db.write() as session:
            session.add(row)
        return row

    def connection(self, name: str) -> int:
        with self.runtime.db.read() as session:
            return session.scalars(select(tables.Connection.id).where(tables.Connection.name == name)).one()

    def launch(self, person: str = "E001", asset: str = "quiz", system: str = "desk") -> uuid.UUID:
        """A prompt on a new event in that system, opened."""
        with self.runtime.db.write() as session:
            who = session.scalars(select(tables.Person).where(tables.Person.key == person)).one()
            what = session.scalars(select(tables.Asset).where(tables.Asset.external_id == asset)).one()
            event = tables.Event(
                id=uuid.uuid4(),
                connection_id=self.connection(system),
                external_id=uuid.uuid4().hex,
                type="desk.opportunity.created",
                source="https://desk.test",
                subject="opportunity,42",
                time=dt.datetime(2026, 11, 22, 8, 0, tzinfo=dt.UTC),
                data={
                    "customer": " Acme & Söhne",
                    "amount": 120000,
                    "hot": True,
                    "owner": {"team": "north"},
                    "note": None,
                },
                people={},
                due_at=None,
            )
            rule = session.scalars(select(tables.Rule)).one()
            prompt = tables.Prompt(
                id=uuid.uuid4(),
                event=event,
                rule_id=rule.id,
                rule_version=1,
                person_id=who.id,
                asset_id=what.id,
                offered=True,
                reason="offered",
                say="Take the quiz",
            )
            launch = tables.Launch(id=uuid.uuid4(), prompt=prompt, person_id=who.id, asset_id=what.id, how="lti")
            session.add_all([event, prompt, launch])
        return launch.id

    def sign_in(self, person: str = "E001") -> str:
        """A session of that person, whose cookie the browser keeps from now on."""
        with self.runtime.db.read() as session:
            who = session.scalars(select(tables.Person).where(tables.Person.key == person)).one()
        token, _ = identity.open_session(self.runtime, who.id, via="password")
        self.client.cookies.set(SESSION_COOKIE, token)
        return token

    def begin(self, token: str, launch: uuid.UUID) -> authorize.Initiation:
        with self.runtime.db.write() as session:
            row = session.get_one(tables.Launch, launch)
            return authorize.begin(self.runtime, session.connection(), row, identity.token_hash(token))

    def request(self, start: authorize.Initiation, **changes: str | None) -> dict[str, str]:
        """The authentication request that a tool makes of a login initiation."""
        params: dict[str, str | None] = {
            "scope": "openid",
            "response_type": "id_token",
            "response_mode": "form_post",
            "prompt": "none",
            "client_id": start.fields["client_id"],
            "redirect_uri": f"{TOOL}/launch",
            "login_hint": start.fields["login_hint"],
            "lti_message_hint": start.fields["lti_message_hint"],
            "state": "state-1",
            "nonce": "nonce-1",
        }
        return {name: value for name, value in (params | changes).items() if value is not None}

    def started(self, **changes: str | None) -> dict[str, str]:
        """An authentication request for a new launch of Sam's, in Sam's browser."""
        return self.request(self.begin(self.sign_in(), self.launch()), **changes)

    def authorize(self, params: dict[str, str]) -> tuple[str, dict[str, str]]:
        """Send an authentication request; the form that the browser would post to the tool."""
        response = self.client.get("/lti/authorize", params=params)
        assert response.status_code == 200, response.text
        return form_of(response.text)

    def claims(self, person: str = "E001", asset: str = "quiz", system: str = "desk") -> dict[str, Any]:
        """The claims of a whole new launch."""
        start = self.begin(self.sign_in(person), self.launch(person, asset, system))
        return claims_of(self.authorize(self.request(start))[1]["id_token"])

    def assertion(
        self,
        *,
        client_id: str = "client-1",
        kid: str | None = "k1",
        key: Any = None,
        alg: str = "RS256",
        **changes: Any,
    ) -> str:
        at = int(time.time())
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": f"{ISSUER}/lti/token",
            "iat": at,
            "exp": at + 60,
            "jti": uuid.uuid4().hex,
        }
        told = {name: value for name, value in (claims | changes).items() if value is not None}
        return jwt.encode(told, key or self.key, algorithm=alg, headers={"kid": kid} if kid else None)

    def ask_token(self, assertion: str, scope: str = SCORE, **changes: str) -> Any:
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": JWT_BEARER,
            "client_assertion": assertion,
            "scope": scope,
        }
        content = urlencode({name: value for name, value in (form | changes).items() if value})
        return self.client.post(
            "/lti/token", content=content, headers={"content-type": "application/x-www-form-urlencoded"}
        )

    def bearer(self, *scopes: str, client_id: str = "client-1") -> dict[str, str]:
        """The Authorization header of a new service token."""
        answer = self.ask_token(self.assertion(client_id=client_id), " ".join(scopes or (LINE_ITEM, RESULT, SCORE)))
        assert answer.status_code == 200, answer.text
        return {"authorization": f"Bearer {answer.json()['access_token']}"}


def furnish(runtime: Runtime, client: TestClient, key: rsa.RSAPrivateKey) -> Office:
    office = Office(runtime, client, key)
    for name in ("desk", "crm"):
        office.add(tables.Connection(name=name, connector="webhook", config={}))
    office.add(tables.Person(key="E001", name="Sam Seller", email="sam@example.com", attributes={"given_name": "Sam"}))
    office.add(tables.Person(key="E002", name="Priya Planner", email="priya@example.com"))
    office.add(tables.Rule(name="quiz", event_type="desk.opportunity.created", definition={}))
    office.add_tool("tool", "client-1")
    office.add_tool("second", "client-2")
    office.add_asset("tool", "quiz", custom={"deal": "$FlowBridge.event.data.customer", "level": "2"})
    return office


@pytest.fixture(scope="session")
def prepared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a bridge that has been started once: migrating and making keys takes most of a test's time."""
    home = tmp_path_factory.mktemp("prepared") / "home"
    made = Runtime.start(Settings.load(home=home, base_url=ISSUER))
    setup.prepare(made)
    made.db.close()
    return home


@pytest.fixture
def runtime(prepared_home: Path, tmp_path: Path) -> Iterator[Runtime]:
    """A ready bridge on SQLite."""
    home = shutil.copytree(prepared_home, tmp_path / "home")
    made = Runtime.start(Settings.load(home=home, base_url=ISSUER, allow_private_peers=True))
    yield made
    made.db.close()


@pytest.fixture
def office(runtime: Runtime, client: TestClient, rsa_key: rsa.RSAPrivateKey) -> Office:
    return furnish(runtime, client, rsa_key)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def either_office(request: pytest.FixtureRequest, rsa_key: rsa.RSAPrivateKey) -> Iterator[Office]:
    """The same on each kind of database."""
    from bridge.web.app import create_app

    runtime = request.getfixturevalue("runtime" if request.param == "sqlite" else "pg_runtime")
    with TestClient(create_app(runtime), base_url=ISSUER) as client:
        yield furnish(runtime, client, rsa_key)


@pytest.fixture
def lms(runtime: Runtime, client: TestClient, other_key: rsa.RSAPrivateKey) -> Lms:
    """An LMS that launches the bridge."""
    return Lms(runtime, client, other_key).register()


@pytest.fixture(scope="session")
def recorded() -> Callable[[str], dict[str, Any]]:
    """A recorded exchange by name; what each is stands in it."""
    folder = Path(__file__).parent / "recorded"

    def load(name: str) -> dict[str, Any]:
        exchange: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
        return exchange

    return load


@pytest.fixture
def expire() -> Callable[[Runtime, Any], None]:
    """Let every row of a table expire."""

    def run(runtime: Runtime, table: Any) -> None:
        with runtime.db.write() as session:
            for row in session.scalars(select(table)):
                row.expires_at = now() - dt.timedelta(seconds=1)

    return run
