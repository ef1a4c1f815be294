"""Fills a new Tryton database with one company at work. Run by the Python of Tryton's environment.

Standard input: {"database", "facts", "password", "users": {login: {"name", "email", "employee", "groups"}}}.
Leaves in the file `facts`: company, currency, party (a customer) and, by login, users, employees and REST API keys.
"""

# mypy: disable-error-code="import-not-found"

import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

from trytond.pool import Pool
from trytond.transaction import Transaction


def save(model: str, **values: Any) -> Any:
    record = Pool().get(model)(**values)
    record.save()
    return record


def make_company() -> Any:
    euro = save(
        "currency.currency", name="Euro", symbol="€", code="EUR", rounding=Decimal("0.01"), digits=2, numeric_code="978"
    )
    return save("company.company", party=save("party.party", name="Acme"), currency=euro)


def make_user(
    login: str, company: Any, password: str, *, name: str, email: str, employee: bool, groups: list[str]
) -> Any:
    known = {group.name: group for group in Pool().get("res.group").search([])}
    user = save(
        "res.user",
        login=login,
        name=name,
        email=email,
        password=password,
        companies=[company],
        company=company,
        groups=[known[group] for group in groups],
    )
    if employee:
        party = save("party.party", name=name)
        save("party.contact_mechanism", party=party, type="email", value=email)
        user.employees = [save("company.employee", party=party, company=company)]
        user.employee = user.employees[0]
        user.save()
    return user


def main(database: str, facts: str, password: str, users: dict[str, dict[str, Any]]) -> None:
    Pool.start()
    Pool(database).init()
    with Transaction().start(database, 1) as transaction:
        company = make_company()
        made = {login: make_user(login, company, password, **user) for login, user in users.items()}
        customer = save("party.party", name="Umbrella Retail")
        keys = {login: save("res.user.application", user=user, application="rest").key for login, user in made.items()}
        transaction.commit()
        found = {
            "company": company.id,
            "currency": company.currency.id,
            "party": customer.id,
            "keys": keys,
            "users": {login: user.id for login, user in made.items()},
            "employees": {login: user.employee.id for login, user in made.items() if user.employee},
        }
    Path(facts).write_text(json.dumps(found))


if __name__ == "__main__":
    main(**json.load(sys.stdin))
