"""What every connector keeps to."""

from __future__ import annotations

import contextlib
import importlib.metadata
import inspect
import json
import re
import tomllib
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote_plus

import pytest
import requests
from pydantic import BaseModel, SecretStr, ValidationError

from bridge.connect import (
    ConfigError,
    Connector,
    ConnectorError,
    Health,
    Http,
    Retryable,
    capabilities_of,
)
from bridge.connect.testing.played import (
    SIGN_IN_PAGE,
    Answer,
    Answers,
    everything,
    system_played_by,
    unreachable,
)

Calls = list[requests.PreparedRequest]
ENTRY_POINTS = "flowbridge.connectors"
#: Statuses with what the bridge must make of them.
FAILURES: Mapping[int, type[ConnectorError]] = {
    401: ConfigError,
    403: ConfigError,
    429: Retryable,
    500: Retryable,
    502: Retryable,
    503: Retryable,
}


def registered_names(connector: type[Connector[Any]]) -> set[str]:
    """The entry point names of a connector: of installed distributions, and of the pyproject.toml above its module."""
    points = list(importlib.metadata.entry_points(group=ENTRY_POINTS))
    for folder in Path(inspect.getfile(connector)).resolve().parents:
        if (file := folder / "pyproject.toml").is_file():
            project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
            named = project.get("entry-points", {}).get(ENTRY_POINTS, {})
            points += [importlib.metadata.EntryPoint(name, value, ENTRY_POINTS) for name, value in named.items()]
            break
    # Only its own is loaded: another connector may be broken.
    return {point.name for point in points if point.attr == connector.__qualname__ and point.load() is connector}


def covered_capabilities(test_class: type[ConnectorContract]) -> set[str]:
    """The capabilities whose suites a test class subclasses."""
    return {vars(base)["capability"] for base in test_class.__mro__ if "capability" in vars(base)}


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        yield from _secrets(dict(value))
    elif isinstance(value, Mapping):
        yield from (secret for item in value.values() for secret in _secrets(item))
    elif isinstance(value, list | tuple | set | frozenset):
        yield from (secret for item in value for secret in _secrets(item))


def _echo(request: requests.PreparedRequest) -> str:
    """What a careless system repeats in its error page: the address, the credentials, the body."""
    headers = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
    body = request.body or ""
    return f"{request.url}\n{headers}\n{body if isinstance(body, str) else bytes(body).decode(errors='replace')}"


class ConnectorContract:
    """What every connector keeps to. Give as class attributes:

    - ``connector_class``: the connector.
    - ``config``: its settings as an admin would write them, with every secret filled in.
    - ``answers``: what the system answers when all is well, to ``check`` and to each capability that is tested.
    - ``faults``: the system's own ways to say no, where its errors are not HTTP statuses: pairs of answers and the
      error that every call must make of them, ``((everything(200, json={"exception": ...}), ConfigError),)``.
    - ``offline``: which of ``check`` and the capability names (``catalogue``, ...) need no call at all; they are then
      held to it.
    """

    connector_class: ClassVar[type[Connector[Any]]]
    config: ClassVar[Mapping[str, Any]]
    answers: ClassVar[Answers] = ()
    faults: ClassVar[Sequence[tuple[Answers, type[ConnectorError]]]] = ()
    offline: ClassVar[frozenset[str]] = frozenset()

    def connector(self) -> Any:
        """A fresh connector, as the bridge makes it."""
        http = Http(system=self.connector_class.manifest.name, pause=lambda seconds: None)
        return self.connector_class(self.connector_class.config_class(**self.config), http)

    def actions(self) -> dict[str, Callable[[Any], object]]:
        """One call of each capability, by its name; the suites add theirs."""
        return {"check": lambda connector: connector.check()}

    def fails(self, action: str, expected: type[ConnectorError] | tuple[type[ConnectorError], ...]) -> ConnectorError:
        """Run an action that must raise ``expected``; gives the error."""
        with pytest.raises(ConnectorError) as caught:
            self.actions()[action](self.connector())
        assert isinstance(caught.value, expected), f"{action} raised {caught.value!r}"
        assert str(caught.value).strip(), f"the error of {action} says nothing"
        return caught.value

    def each_fails(self, answers: Answers, expected: type[ConnectorError]) -> list[tuple[ConnectorError, Calls]]:
        """Run every action against ``answers``: it fails with ``expected``, or is offline and does not notice."""
        failed = []
        for action, run in self.actions().items():
            with system_played_by(answers) as calls:
                if action not in self.offline:
                    failed.append((self.fails(action, expected), calls))
                    assert calls, f"{action} failed without a call to the system"
                    continue
                with contextlib.suppress(ConnectorError):
                    run(self.connector())
                assert not calls, f"{action} is declared to be offline, and made a call"
        return failed

    def test_each_capability_has_its_suite_and_only_those(self) -> None:
        """The suites of a test class are those of the connector's capabilities."""
        able, tested = set(capabilities_of(self.connector_class)), covered_capabilities(type(self))
        assert not able - tested, f"{type(self).__name__} must also subclass the suites of {sorted(able - tested)}"
        assert not tested - able, f"{self.connector_class.__name__} has no {sorted(tested - able)}, but a suite for it"

    def test_the_manifest_introduces_the_connector(self) -> None:
        manifest = self.connector_class.manifest
        assert re.fullmatch(r"[a-z][a-z0-9_]*", manifest.key), "the key is a slug of lower-case letters, digits and _"
        assert registered_names(self.connector_class) == {manifest.key}, "the entry point is named as the key"
        assert manifest.api_docs.startswith("https://") and manifest.name
        assert " " in manifest.summary and " " in manifest.proof, "summary and proof are sentences"

    def test_an_unknown_setting_is_refused(self) -> None:
        with pytest.raises(ValidationError, match="no_such_setting"):
            self.connector_class.config_class(**{**self.config, "no_such_setting": 1})

    def test_secrets_are_in_no_representation(self) -> None:
        connector = self.connector()
        shown = [str(connector.config), repr(connector.config), connector.config.model_dump_json(), repr(connector)]
        shown.append(repr(vars(connector)))
        assert not [secret for secret in _secrets(connector.config) for text in shown if secret in text]

    @pytest.mark.parametrize("status", [400, 401, 500])
    def test_secrets_are_in_no_error(self, status: int) -> None:
        """The system repeats the whole request in its error page."""
        secrets = [form for secret in _secrets(self.connector().config) for form in (secret, quote_plus(secret))]

        def careless(request: requests.PreparedRequest) -> Answer:
            return Answer(status=status, text=_echo(request))

        for action, run in self.actions().items():
            with system_played_by([careless]) as calls:
                try:
                    found = str(run(self.connector()))
                except ConnectorError as error:
                    found = "".join([*traceback.format_exception(error), error.detail])
            shown = [call.headers.get("Authorization", "").split(" ")[-1] for call in calls]
            assert not [secret for secret in (*secrets, *shown) if secret and secret in found], f"{action} tells it"

    def test_the_check_says_what_works(self) -> None:
        with system_played_by(self.answers) as calls:
            health = self.connector().check()
        assert isinstance(health, Health) and health.ok, f"missing: {health.missing}"
        assert health.works and all(" " in words for words in health.works), "health is told in words"
        assert bool(calls) != ("check" in self.offline), "a check calls the system, unless it is declared offline"

    def test_an_error_says_what_the_bridge_does_next(self) -> None:
        for status, expected in FAILURES.items():
            self.each_fails(everything(status, text="refused"), expected)
        for answers, expected in self.faults:
            self.each_fails(answers, expected)

    @pytest.mark.parametrize("failure", [requests.ConnectionError, requests.ConnectTimeout, requests.ReadTimeout])
    def test_a_network_failure_is_tried_again(self, failure: type[Exception]) -> None:
        self.each_fails(unreachable(failure("the network is gone")), Retryable)

    def test_a_page_instead_of_data_names_the_system_and_the_call(self) -> None:
        page = everything(200, text=SIGN_IN_PAGE, headers={"Content-Type": "text/html"})
        for error, calls in self.each_fails(page, ConnectorError):
            assert self.connector_class.manifest.name in str(error), f"the system is not named: {error}"
            assert any(str(call.method) in str(error) for call in calls), f"the call is not named: {error}"

    @pytest.mark.parametrize("answer", [None, {}, [], [1], "text", 7, {"result": 7, "results": 7}, [{"id": None}]])
    def test_an_answer_of_another_shape_is_told_apart(self, answer: Any) -> None:
        """What the system's interface does not allow is an error of ours that names it, never a KeyError."""
        for run in self.actions().values():
            with system_played_by(everything(200, text=json.dumps(answer))), contextlib.suppress(ConnectorError):
                run(self.connector())
