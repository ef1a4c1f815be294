"""Tryton's REST interface: search and create, and its JSON.

https://docs.tryton.org/latest/server/topics/user_application.html and trytond/protocols/rest.py of Tryton 8.2.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from bridge.connect import ConfigError, ConnectorError, Http, Rejected, UnexpectedPayload

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_UNITS = ("year", "month", "day", "hour", "minute", "second", "microsecond")

Row = Mapping[str, Any]


class Rest:
    """The models of one database, with the rights of the key's user."""

    page_size: ClassVar[int] = 100

    def __init__(self, http: Http, home: str, database: str, key: str) -> None:
        self.http = http.to(f"{home}/{database}/rest/model", headers={"Authorization": f"bearer {key}"}, secrets=(key,))
        self.system = self.http.system

    def search(
        self,
        model: str,
        domain: Sequence[Any],
        fields: Sequence[str],
        *,
        after: int = 0,
        order: Sequence[Any] = (("id", "ASC"),),
        limit: int = 0,
        refused: type[ConnectorError] = ConfigError,
    ) -> list[Row]:
        """The first ``limit`` records, a page's worth if 0, of those with an id above ``after``.

        What Tryton refuses, for want of rights or of a database, raises ``refused``.
        """
        params = [
            ("d", _encoded([domain, ["id", ">", after]])),
            ("o", _encoded(order)),
            *(("f", field) for field in fields),
        ]
        try:
            records = {"Range": f"records=0-{limit or self.page_size}"}
            rows = self.http.json("GET", model, params=params, headers=records)
        except Rejected as error:
            raise refused(str(error), detail=error.detail) from None
        found = self._rows("GET", model, rows)
        if any(row["id"] <= after for row in found):
            raise UnexpectedPayload(f"{self.system} answered GET {model} with records that were not asked for")
        return found

    def create(self, model: str, values: Mapping[str, Any], fields: Sequence[str]) -> Row:
        """Create one record, and read ``fields`` of it."""
        row = self.http.json("POST", model, params=[("f", field) for field in fields], json=values)
        return self._rows("POST", model, [row])[0]

    def access(self, models: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """What the key's user may do with each model: ``read``, ``write``, ``create``, ``delete``."""
        access = self.http.json("POST", "ir.model.access/get_access", json={"models": models})
        if isinstance(access, dict) and all(isinstance(access.get(model), dict) for model in models):
            return access
        raise UnexpectedPayload(
            f"{self.system} answered POST ir.model.access/get_access without the rights on {models}"
        )

    def _rows(self, method: str, model: str, rows: Any) -> list[Row]:
        if isinstance(rows, list) and all(isinstance(row, dict) and isinstance(row.get("id"), int) for row in rows):
            return rows
        raise UnexpectedPayload(f"{self.system} answered {method} {model} with something else than records")


def created(row: Row) -> dt.datetime:
    """When a record was created."""
    return _time(row.get("create_date"))


def written(row: Row) -> dt.datetime:
    """When a record was last written to; EPOCH where it never was."""
    return _time(row.get("write_date"))


def encoded_time(time: dt.datetime) -> dict[str, Any]:
    """A time in UTC as Tryton's JSON has it."""
    return {"__class__": "datetime", **{unit: getattr(time, unit) for unit in _UNITS}}


def plain(value: Any) -> Any:
    """A value as conditions and templates use it: numbers, texts, ISO dates; a related record is its name."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    return _PLAIN.get(value.get("__class__", ""), _name)(value)


def _encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def _time(value: Any) -> dt.datetime:
    if value is None:
        return EPOCH
    try:
        return dt.datetime(**{unit: value[unit] for unit in _UNITS}, tzinfo=dt.UTC)
    except (KeyError, TypeError, ValueError):
        raise UnexpectedPayload(f"Tryton sent {value!r} where a time was expected") from None


def _name(related: Mapping[str, Any]) -> Any:
    return related.get("rec_name") or related.get("code")


_PLAIN: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "Decimal": lambda value: float(value["decimal"]),
    "timedelta": lambda value: float(value["seconds"]),
    "date": lambda value: f"{value['year']:04}-{value['month']:02}-{value['day']:02}",
    "datetime": lambda value: _time(value).isoformat(),
}
