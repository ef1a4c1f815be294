"""The command: what it did on standard output, everything else beside it, and errors in words without a traceback."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import io
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
import yaml
from sqlalchemy import select

from bridge import cli
from bridge.domain.events import BusinessEvent
from bridge.flows import accept_event, open_launch, record_outcome, show_prompts
from bridge.flows.errors import Refused
from bridge.flows.runtime import Runtime
from bridge.settings import Settings
from bridge.store import tables
from tests.flows.conftest import CHECKLIST, CONFIGURATION, GUIDE, SECRET, event

__all__ = ["event"]


@dataclasses.dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def home(tmp_path: Path, fresh_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The installation that the command finds."""
    made = Path(shutil.copytree(fresh_home, tmp_path / "home"))
    monkeypatch.setenv("FLOWBRIDGE_HOME", str(made))
    return made


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Runs ``flowbridge ARGUMENTS`` within this process."""
    runtimes: list[Runtime] = []
    start = Runtime.start

    def started(settings: object) -> Runtime:
        runtimes.append(start(settings))  # type: ignore[arg-type]
        return runtimes[-1]

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def ran(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["flowbridge", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        shown = capsys.readouterr()
        return Ran(code if isinstance(code, int) else int(bool(code)), shown.out, shown.err)

    monkeypatch.setattr(Runtime, "start", started)
    yield ran
    for runtime in runtimes:
        runtime.db.close()
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
def file(tmp_path: Path, home: Path) -> Path:
    """The configuration of the flows' tests, with its guides."""
    del home
    guides = tmp_path / "guides"
    guides.mkdir()
    (guides / "pricing.md").write_text(GUIDE)
    (guides / "stakeholders.md").write_text(CHECKLIST)
    made = tmp_path / "bridge.yaml"
    made.write_text(CONFIGURATION % {"secret": SECRET, "guides": guides})
    return made


def told(ran: Ran) -> str:
    """The words of an error, which are all that there is."""
    assert ran.code == 1
    assert ran.out == ""
    assert "Traceback" not in ran.err
    return ran.err


def test_apply_says_what_it_changed_and_the_second_time_nothing(run: Run, file: Path) -> None:
    shown = run("apply", file, "--dry-run")
    assert shown.code == 0
    assert "add connection desk" in shown.out
    assert "    + name: desk" in shown.out
    assert shown.out.endswith("8 would change, 0 as they were.\n")
    assert run("apply", file).out.endswith("8 changed, 0 as they were.\n")
    assert run("apply", file) == Ran(0, "0 changed, 8 as they were.\n", "")
    file.write_text(file.read_text().replace("100000", "50000"))
    changed = run("apply", file).out.splitlines()
    assert changed == [
        "change rule enterprise-pricing",
        "    - when: event.data.amount > 100000",
        "    + when: event.data.amount > 50000",
        "1 changed, 7 as they were.",
    ]


def test_apply_tells_every_mistake_with_its_place(run: Run, file: Path) -> None:
    file.write_text(
        file.read_text().replace("connector: files", "connector: filse").replace("for: owner", "fro: owner", 1)
    )
    assert told(run("apply", file)).splitlines()[-1] == "Nothing was changed."
    file.write_text(file.read_text().replace("fro: owner", "for: owner"))
    first, last = told(run("apply", file)).splitlines()
    assert first.startswith(
        "bridge.yaml:7: connections[1].connector: there is no connector 'filse'; did you mean 'files'?"
    )
    assert last == "Nothing was changed."
    assert "can't be read" in told(run("apply", "nowhere.yaml"))


def test_export_is_what_apply_takes(run: Run, file: Path, tmp_path: Path) -> None:
    run("apply", file)
    exported = run("export")
    assert (exported.code, exported.err) == (0, "")
    assert SECRET not in exported.out
    assert [connection["name"] for connection in yaml.safe_load(exported.out)["connections"]] == ["desk", "guides"]
    assert run("export", tmp_path / "out.yaml") == Ran(0, "", "")
    assert (tmp_path / "out.yaml").read_text() == exported.out
    assert run("apply", tmp_path / "out.yaml").out == "0 changed, 8 as they were.\n"
    assert "No such file or directory" in told(run("export", tmp_path / "nowhere" / "out.yaml"))


def test_the_first_start_is_told_beside_the_output(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWBRIDGE_HOME", str(tmp_path / "new"))
    first = run("export")
    assert yaml.safe_load(first.out) == {}
    assert first.err.startswith("First start: sign in as admin@localhost with the one-time password ")
    assert run("export") == Ran(0, first.out, "")


def test_check_says_what_works_and_what_is_missing(run: Run, file: Path, tmp_path: Path) -> None:
    run("apply", file)
    good = run("check", "guides")
    assert (good.code, good.out.splitlines()[0]) == (0, "works    2 guides and checklists are offered")
    (tmp_path / "guides" / "broken.md").write_text("no front matter")
    bad = run("check", "guides")
    assert bad.code == 1
    assert "missing  broken.md is left out" in bad.out
    shutil.rmtree(tmp_path / "guides")
    assert "the folder" in told(run("check", "guides"))
    assert "there is no connection 'guidse'" in told(run("check", "guidse"))


def test_sync_tells_its_progress_beside_its_result(run: Run, file: Path) -> None:
    run("apply", file)
    assert run("sync", "guides") == Ran(
        0,
        "guides: 2 assets seen, 2 changed, 0 retired.\n",
        "page 1: 2 assets seen, 2 changed\n",
    )
    assert "1 retired" not in run("sync", "guides", "--full").out
    assert "has no catalogue" in told(run("sync", "desk"))


def test_poll_and_decide_by_hand(run: Run, file: Path) -> None:
    run("apply", file)
    assert "can't be asked for events" in told(run("poll", "desk"))
    assert run("decide").out == "0 events decided.\n"


def test_connectors_are_listed_with_what_they_can(run: Run, home: Path) -> None:
    del home
    lines = run("connectors").out.splitlines()
    assert "files        Files: catalogue" in lines
    assert any(line.startswith("webhook      Webhook: channel, trigger") for line in lines)
    assert sum("proved: " in line for line in lines) >= 7


def test_credentials_show_their_secret_once(run: Run, file: Path) -> None:
    run("apply", file)
    made = run("credentials", "create", "--scope", "reports:read", "--label", "the auditors", "--connection", "desk")
    key, secret = (line.split()[1] for line in made.out.splitlines())
    assert (made.code, key.startswith("fb_"), len(secret)) == (0, True, 43)
    listed = run("credentials", "list")
    assert listed.out == f"{key}  valid    reports:read  the auditors\n"
    assert run("credentials", "revoke", key).out == f"{key} is revoked.\n"
    assert "revoked" in run("credentials", "list").out
    assert "the scopes are events:write" in told(run("credentials", "create", "--scope", "everything"))
    assert "there is no credential 'fb_x'" in told(run("credentials", "revoke", "fb_x"))


def test_a_password_is_reset_for_a_person(run: Run, file: Path) -> None:
    run("apply", file)
    assert run("people", "password", "sam@example.com").out.startswith("one-time password  ")
    assert "nobody has the address" in told(run("people", "password", "nobody@example.com"))


def test_the_report_is_csv_or_json(run: Run, file: Path, event: Callable[..., BusinessEvent]) -> None:
    run("apply", file)
    run("sync", "guides")
    bridge = Runtime.start(Settings.load())
    accept_event.accept(bridge, "desk", [event()])
    assert run("decide").out == "1 events decided.\n"
    with bridge.db.read() as session:
        sam = session.scalars(select(tables.Person.id).where(tables.Person.key == "E001")).one()
    (prompt,) = show_prompts.open_prompts(bridge, sam)
    opened = open_launch.open_prompt(bridge, prompt.id, sam)
    record_outcome.finish(bridge, opened.launch_id, sam)
    (row,) = csv.DictReader(io.StringIO(run("report", "completions").out))
    assert (row["person"], row["launch"]) == ("E001", str(opened.launch_id))
    (same,) = json.loads(run("report", "completions", "--format", "json").out)
    assert same["outcome"] == row["outcome"]
    assert json.loads(run("report", "completions", "--format", "json", "--until", "2020-01-01").out) == []
    assert "'yesterday' is not a date or time; write 2026-01-31" in told(
        run("report", "completions", "--since", "yesterday")
    )


def test_the_links_of_a_prompt_are_taken_back(run: Run, file: Path, event: Callable[..., BusinessEvent]) -> None:
    run("apply", file)
    run("sync", "guides")
    bridge = Runtime.start(Settings.load())
    accept_event.accept(bridge, "desk", [event()])
    run("decide")
    with bridge.db.read() as session:
        prompt_id = session.scalars(select(tables.Prompt.id)).one()
    ticket = open_launch.ticket_for(bridge, prompt_id)
    assert run("revoke", str(prompt_id)).out == f"{prompt_id}: 1 launch links taken back.\n"
    with pytest.raises(Refused, match="taken back"):
        open_launch.look(bridge, ticket)
    assert "there is no prompt" in told(run("revoke", "00000000-0000-0000-0000-000000000000"))


def test_keys_are_listed_and_rotated(run: Run, home: Path) -> None:
    del home
    before = run("keys", "list").out
    assert before.count("current") == 1
    assert "--now" in told(run("keys", "rotate")), "the next key was published a moment ago"
    assert run("keys", "list").out == before
    assert run("keys", "rotate", "--now").code == 0
    assert run("keys", "list").out.count("previous") == 1


def test_keys_are_rotated_when_every_peer_can_know_the_next_one(run: Run, home: Path) -> None:
    del home
    bridge = Runtime.start(Settings.load())
    with bridge.db.write() as session:
        for key in session.scalars(select(tables.SigningKey)):
            key.created_at -= dt.timedelta(hours=1)
    assert run("keys", "rotate").code == 0


def test_the_schema_is_told(run: Run, home: Path) -> None:
    del home
    assert run("db", "upgrade").out.startswith("The schema is at ")


def test_a_setting_that_can_not_work_is_told_in_one_line(run: Run, home: Path) -> None:
    for name, value, words in (
        ("PORT", "many", "FLOWBRIDGE_PORT: Input should be a valid integer"),
        ("DATABASE_URL", "mysql://x", "FLOWBRIDGE_DATABASE_URL: it begins with sqlite:/// or postgresql"),
        ("DATABASE_URL", "postgresql+psycopg://x:hunter2@127.0.0.1:1/x", "The database can't be used: "),
        ("DATABASE_URL", "sqlite:////no/such/folder/x.db", "The database can't be used: unable to open"),
        ("HOME", str(home / "secret.key" / "inside"), "Not a directory"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(f"FLOWBRIDGE_{name}", value)
            said = told(run("export"))
        assert words in said
        assert said.count("\n") == 1
        assert "hunter2" not in said


def test_a_file_that_is_no_database_is_told(run: Run, home: Path) -> None:
    (home / "flowbridge.db").write_text("not a database, and long enough to be sure of that " * 50)
    assert "The database can't be used: file is not a database" in told(run("export"))


def test_a_secret_of_another_key_is_told(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("apply", file)
    monkeypatch.setenv("FLOWBRIDGE_SECRET_KEY", "another key than the one in the home")
    assert "sealed with another key; enter it again, or restore secret.key" in told(run("check", "desk"))


def test_wrong_usage_is_code_2(run: Run, home: Path) -> None:
    del home
    for arguments in (("frobnicate",), ("apply",), ("report", "completions", "--format", "xml")):
        ran = run(*arguments)
        assert ran.code == 2
        assert "Traceback" not in ran.err
    assert run("--help").code == 0


def test_who_reads_only_the_beginning_sees_no_traceback(home: Path) -> None:
    env = {**os.environ, "FLOWBRIDGE_HOME": str(home)}
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        ran = subprocess.run(
            [sys.executable, "-m", "bridge.cli", "report", "completions"],
            env=env,
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert "Traceback" not in ran.stderr
    assert "BrokenPipe" not in ran.stderr
