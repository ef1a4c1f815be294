"""Tryton (PyPI `trytond` and modules), an ERP, with a sales team of two and one customer.

Its REST API is described in the server's documentation, topics "user application" and "REST".
"""

import base64
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from tests.live.systems.install import LIVE_TESTS, Part, bare_environment, fast_folder, python_part, run
from tests.live.systems.system import REQUEST_SECONDS, System

DATABASE = "tryton"
MODULES = ("party", "project", "sale", "sale_complaint", "sale_opportunity")
PASSWORD = "a-password-for-live-tests"
SCRIPT = LIVE_TESTS / "inside" / "tryton" / "company.py"
VENV = python_part("tryton")


@dataclass(frozen=True)
class TrytonUser:
    """A Tryton user; an employee is a person, the others are programs."""

    login: str
    name: str
    email: str
    employee: bool
    groups: tuple[str, ...]


SELLER = ("Sales", "Sale Opportunity")
USERS = {
    "ana": TrytonUser("ana", "Ana Sales", "ana@example.com", True, SELLER),
    "bob": TrytonUser("bob", "Bob Project", "bob@example.com", True, (*SELLER, "Project Administration")),
    "bridge": TrytonUser("bridge", "Learning bridge", "bridge@example.com", False, SELLER),
}


def _environment(folder: Path) -> dict[str, str]:
    return {"TRYTOND_DATABASE__URI": "sqlite://", "TRYTOND_DATABASE__PATH": str(folder)}


SEED = {
    "database": DATABASE,
    "password": PASSWORD,
    "users": {
        user.login: {"name": user.name, "email": user.email, "employee": user.employee, "groups": user.groups}
        for user in USERS.values()
    },
}


def _build_database(folder: Path) -> None:
    admin: list[str | Path] = [VENV.path / "bin" / "trytond-admin", "--database", DATABASE]
    with fast_folder() as fast:
        environment = bare_environment(fast, _environment(fast) | {"TRYTONPASSFILE": str(fast / "password")})
        (fast / "password").write_text(PASSWORD)
        (fast / f"{DATABASE}.sqlite").touch()
        command = [*admin, "--email", "admin@example.com", "--activate-dependencies", "--update", *MODULES]
        run(command, environment=environment, cwd=fast)
        arguments = SEED | {"facts": str(folder / "facts.json")}
        run([VENV.path / "bin" / "python", SCRIPT], environment=environment, cwd=fast, text=json.dumps(arguments))
        shutil.copy(fast / f"{DATABASE}.sqlite", folder)


TEMPLATE = Part("tryton/database", (*VENV.inputs, SCRIPT), _build_database, json.dumps([MODULES, SEED]))


class Tryton(System):
    """One company on SQLite: ana and bob sell, 'bridge' is the account of a program, Umbrella Retail is a customer.

    Each user has a key of the user application "rest" in `keys`. All ids are Tryton's, those of people by login.
    """

    name = "tryton"
    parts = (VENV, TEMPLATE)
    ready_path = f"/{DATABASE}/rest/model/res.user"
    database: ClassVar[str] = DATABASE
    users: ClassVar[dict[str, TrytonUser]] = USERS

    company: int
    currency: int
    party: int
    keys: dict[str, str]
    employees: dict[str, int]

    def prepare(self) -> None:
        shutil.copy(TEMPLATE.path / f"{DATABASE}.sqlite", self.folder)
        facts = json.loads((TEMPLATE.path / "facts.json").read_text())
        self.company, self.currency, self.party = facts["company"], facts["currency"], facts["party"]
        self.keys, self.employees = facts["keys"], facts["employees"]

    def command(self) -> Sequence[str | Path]:
        return [VENV.path / "bin" / "trytond", "--database", DATABASE]

    def environment(self) -> Mapping[str, str]:
        return _environment(self.folder) | {"TRYTOND_WEB__LISTEN": f"127.0.0.1:{self.port}"}

    def ready_headers(self) -> Mapping[str, str]:
        return {"Authorization": f"bearer {self.keys['bridge']}"}

    def enter_opportunity(self, user: str = "ana", *, description: str, amount: Decimal | int = 0) -> int:
        """Record a sales opportunity with the customer as that person would, through the REST API; returns its id."""
        values = {
            "description": description,
            "amount": {"__class__": "Decimal", "decimal": str(amount)},
            "party": self.party,
            "company": self.company,
            "currency": self.currency,
            "employee": self.employees[user],
        }
        return int(self.rest("POST", "sale.opportunity", user=user, json=values)["id"])

    def notes(self, opportunity: int) -> list[dict[str, Any]]:
        """The notes on an opportunity, oldest first: id, message, create_uid with login and email."""
        return self._attached("ir.note", opportunity, ["message", "create_uid.login", "create_uid.email"])

    def attachments(self, opportunity: int) -> list[dict[str, Any]]:
        """The attachments of an opportunity, oldest first: id, type ("link" or "data"), name, link."""
        return self._attached("ir.attachment", opportunity, ["type", "name", "link"])

    def rest(self, method: str, path: str, *, user: str = "bridge", **options: Any) -> Any:
        """One call of the REST API below `/model/` as a user; returns the decoded body, raises HTTPError."""
        url = f"{self.base_url}/{DATABASE}/rest/model/{path}"
        headers = {"Authorization": f"bearer {self.keys[user]}"}
        answer = self.http.request(method, url, headers=headers, timeout=REQUEST_SECONDS, **options)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def _attached(self, model: str, opportunity: int, fields: list[str]) -> list[dict[str, Any]]:
        query = {
            "f": fields,
            "d": encoded([["resource", "=", f"sale.opportunity,{opportunity}"]]),
            "o": encoded([["id", "ASC"]]),
        }
        found: list[dict[str, Any]] = self.rest("GET", model, params=query)
        return found


def encoded(value: object) -> str:
    """A search domain or an order as the REST API takes it in its query: URL-safe base64 of JSON."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()
