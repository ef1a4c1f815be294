"""The real systems as fixtures, each started once per test run, and their logs beside the failures."""

from collections.abc import Generator, Iterator

import pytest

from tests.live.company import Company
from tests.live.systems import Kolibri, LearningLocker, Ltijs, PyLti1p3, Ralph, System, Tryton


@pytest.fixture(scope="session")
def kolibri() -> Iterator[Kolibri]:
    with Kolibri() as system:
        yield system


@pytest.fixture(scope="session")
def tryton() -> Iterator[Tryton]:
    with Tryton() as system:
        yield system


@pytest.fixture(scope="session")
def ltijs() -> Iterator[Ltijs]:
    with Ltijs() as system:
        yield system


@pytest.fixture(scope="session")
def pylti1p3() -> Iterator[PyLti1p3]:
    with PyLti1p3() as system:
        yield system


@pytest.fixture(scope="session")
def learning_locker() -> Iterator[LearningLocker]:
    with LearningLocker() as system:
        yield system


@pytest.fixture(scope="session")
def ralph() -> Iterator[Ralph]:
    with Ralph() as system:
        yield system


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        systems = [value for value in item.funcargs.values() if isinstance(value, System)]
        report.sections += [(f"log of {system.name}", system.log_tail()) for system in systems]
        companies = [value for value in item.funcargs.values() if isinstance(value, Company)]
        report.sections += [(f"log of {one.url}", one.bridge.log.read_text()[-4000:]) for one in companies]
    return report
