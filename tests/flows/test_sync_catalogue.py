"""A catalogue is walked page by page: resumable, cheap where nothing changed, and nothing is ever deleted."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import event, select, text

from bridge.connect import ConfigError, Retryable, UnexpectedPayload, Unsupported
from bridge.domain.assets import Opening
from bridge.flows import configure, sync_catalogue
from bridge.flows.errors import NotFound, Refused
from bridge.flows.runtime import Runtime
from bridge.flows.sync_catalogue import Progress
from bridge.store import tables
from tests.flows.scripted import Script, asset, page

CONFIGURATION = """
connections:
  - {name: lms, connector: scripted_lms}
  - {name: crm, connector: scripted_crm}
"""


def configured(runtime: Runtime, tmp_path: Path, text_: str = CONFIGURATION) -> Runtime:
    file = tmp_path / "flowbridge.yaml"
    file.write_text(text_)
    configure.apply(runtime, file)
    return runtime


@pytest.fixture
def bridge(runtime: Runtime, script: Script, tmp_path: Path) -> Runtime:
    del script  # its connectors must be there
    return configured(runtime, tmp_path)


def catalogue(runtime: Runtime) -> dict[str, bool]:
    """External ids, and whether each is in use."""
    with runtime.db.read() as session:
        return {row.external_id: row.retired_at is None for row in session.scalars(select(tables.Asset))}


def newest_run(runtime: Runtime) -> tables.SyncRun:
    with runtime.db.read() as session:
        return session.scalars(select(tables.SyncRun).order_by(tables.SyncRun.id.desc())).first()  # type: ignore[return-value]


def three_pages(script: Script) -> None:
    script.pages = [page(1, asset(1), asset(2), total=5), page(2, asset(3), asset(4)), page(3, asset(5))]


def test_a_walk_keeps_every_asset_and_tells_how_far_it_is(bridge: Runtime, script: Script) -> None:
    three_pages(script)
    told: list[Progress] = []
    done = sync_catalogue.sync(bridge, "lms", progress=told.append)
    assert catalogue(bridge) == dict.fromkeys([f"course-{n}" for n in range(1, 6)], True)
    assert [(p.pages, p.seen, p.total) for p in told] == [(1, 2, 5), (2, 4, 5), (3, 5, 5)]
    assert dataclasses.astuple(done) == (3, 5, 5, 0, 5, False)


def test_assets_that_are_as_they_were_cost_no_write(bridge: Runtime, script: Script) -> None:
    three_pages(script)
    sync_catalogue.sync(bridge, "lms")
    script.pages[1] = page(2, asset(3), asset(4, title="Another title"))
    writes: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.upper().startswith(("INSERT INTO ASSET", "UPDATE ASSET")):
            writes.append(statement)

    event.listen(bridge.db.engine, "before_cursor_execute", note)
    assert sync_catalogue.sync(bridge, "lms").changed == 1
    assert len(writes) == 1
    assert sync_catalogue.sync(bridge, "lms").changed == 0
    assert len(writes) == 1


def test_what_is_shown_no_more_is_retired_and_comes_back(bridge: Runtime, script: Script) -> None:
    three_pages(script)
    sync_catalogue.sync(bridge, "lms")
    script.pages = [page(1, asset(1), asset(3)), page(2, asset(5))]
    assert sync_catalogue.sync(bridge, "lms").retired == 2
    assert catalogue(bridge) == {f"course-{n}": n in (1, 3, 5) for n in range(1, 6)}
    three_pages(script)
    assert dataclasses.astuple(sync_catalogue.sync(bridge, "lms"))[2:4] == (2, 0)
    assert all(catalogue(bridge).values())


def test_a_catalogue_that_became_empty_retires_all(bridge: Runtime, script: Script) -> None:
    three_pages(script)
    sync_catalogue.sync(bridge, "lms")
    script.pages = []
    assert sync_catalogue.sync(bridge, "lms").retired == 5
    assert not any(catalogue(bridge).values())


def test_a_failing_page_keeps_what_came_before_and_the_next_walk_goes_on_there(bridge: Runtime, script: Script) -> None:
    sync_catalogue.sync(bridge, "lms")
    three_pages(script)
    last = script.pages[2]
    script.pages[2] = UnexpectedPayload("the LMS 'lms' answered GET /courses with text/html instead of JSON")
    with pytest.raises(UnexpectedPayload):
        sync_catalogue.sync(bridge, "lms")
    assert len(catalogue(bridge)) == 4
    assert newest_run(bridge).error == "the LMS 'lms' answered GET /courses with text/html instead of JSON"
    script.pages[2] = last
    done = sync_catalogue.sync(bridge, "lms")
    assert script.asked_from[-1] == {"page": 2}
    assert dataclasses.astuple(done) == (3, 5, 5, 0, 5, True)
    assert all(catalogue(bridge).values()), "what the first half showed must not be retired by the second"
    assert newest_run(bridge).error is None


def test_full_begins_again(bridge: Runtime, script: Script) -> None:
    three_pages(script)
    script.pages[1] = Retryable("the LMS is down")
    with pytest.raises(Retryable):
        sync_catalogue.sync(bridge, "lms")
    script.pages = [page(1, asset(7))]
    done = sync_catalogue.sync(bridge, "lms", full=True)
    assert (script.asked_from[-1], done.resumed, done.retired) == (None, False, 2)
    assert catalogue(bridge) == {"course-1": False, "course-2": False, "course-7": True}


def test_a_feed_of_changes_goes_on_after_its_last_page(bridge: Runtime, script: Script) -> None:
    script.pages = [page(1, asset(1), asset(2), sweep=False)]
    sync_catalogue.sync(bridge, "lms")
    assert sync_catalogue.sync(bridge, "lms").retired == 0
    assert all(catalogue(bridge).values()), "a feed without news says nothing about what is gone"
    script.pages.append(page(2, asset(3), gone=("course-1",), sweep=False))
    done = sync_catalogue.sync(bridge, "lms")
    assert script.asked_from == [None, {"page": 1}, {"page": 1}]
    assert (done.seen, done.retired) == (1, 1)
    assert catalogue(bridge) == {"course-1": False, "course-2": True, "course-3": True}


def test_a_wrong_token_is_told_to_the_admin_until_it_works(bridge: Runtime, script: Script) -> None:
    script.pages = [ConfigError("the LMS refuses the token")]
    with pytest.raises(ConfigError):
        sync_catalogue.sync(bridge, "lms")

    def problem() -> str | None:
        with bridge.db.read() as session:
            return session.scalars(select(tables.Connection.problem).where(tables.Connection.name == "lms")).one()

    assert problem() == "the LMS refuses the token"
    script.pages = [page(1, asset(1))]
    sync_catalogue.sync(bridge, "lms")
    assert problem() is None


def test_settings_that_can_not_work_are_told_to_the_admin(bridge: Runtime) -> None:
    with bridge.db.write() as session:
        lms = session.scalars(select(tables.Connection).where(tables.Connection.name == "lms")).one()
        lms.config = {"token": "env:BRIDGE_TEST_NOT_SET"}
    sync_catalogue.sync_due(bridge)
    with bridge.db.read() as session:
        problem = session.scalars(select(tables.Connection.problem).where(tables.Connection.name == "lms")).one()
    assert "the environment variable BRIDGE_TEST_NOT_SET is not set" in (problem or "")


def test_only_a_connection_with_a_catalogue_can_be_walked(bridge: Runtime) -> None:
    with pytest.raises(Unsupported, match=r"the connection 'crm' .* has no catalogue"):
        sync_catalogue.sync(bridge, "crm")
    with pytest.raises(NotFound, match="there is no connection 'moodel'"):
        sync_catalogue.sync(bridge, "moodel")


def test_links_are_opened_through_the_tool_that_the_admin_names(
    runtime: Runtime, script: Script, tmp_path: Path
) -> None:
    configured(
        runtime,
        tmp_path,
        """
connections:
  - {name: lms, connector: scripted_lms, options: {open_with: player}}
  - name: player
    connector: lti_tool
    config:
      client_id: tool
      initiate_login_uri: http://tool.test/login
      redirect_uris: [http://tool.test/launch]
      target_link_uri: http://tool.test/launch
      jwks_uri: http://tool.test/jwks
""",
    )
    script.pages = [
        page(
            1,
            asset(1),
            asset(2, opening=Opening.lti(url="http://lms.test/lti/2")),
            asset(3, opening=None),
            asset(4, opening=Opening.inline("---\ntitle: A\nkind: guide\n---\nRead.\n")),
        )
    ]
    sync_catalogue.sync(runtime, "lms")
    with runtime.db.read() as session:
        openings = dict(session.execute(select(tables.Asset.external_id, tables.Asset.opening)).all())
    custom = {"asset_url": "http://lms.test/course/1", "asset_id": "course-1"}
    assert openings["course-1"] == {"how": "lti", "tool": "player", "custom": custom}
    assert openings["course-2"] == {"how": "lti", "tool": "lms", "url": "http://lms.test/lti/2"}
    assert openings["course-3"] is None
    assert openings["course-4"]["how"] == "inline"
    assert sync_catalogue.sync(runtime, "lms").changed == 0


def test_what_can_not_be_opened_is_listed_and_never_found_by_a_rule(bridge: Runtime, script: Script) -> None:
    broken = Opening.inline("---\ntitle: A\nkind: guide\n---\nRead {{ event.data.customer.\n")
    script.pages = [page(1, asset(1, opening=None), asset(2, opening=broken), asset(3))]
    sync_catalogue.sync(bridge, "lms")
    assert len(catalogue(bridge)) == 3
    with bridge.db.read() as session:
        openable = session.scalars(select(tables.Asset.external_id).where(tables.Asset.opening.is_not(None))).all()
        nulls = session.scalar(text("select count(*) from asset where opening is null"))
    assert (openable, nulls) == (["course-3"], 2)
    assert sync_catalogue.sync(bridge, "lms").changed == 0


def test_two_walks_at_once_do_no_harm(bridge: Runtime, script: Script) -> None:
    """A second process takes over in the middle: the first one stops, and nothing is retired by half a walk."""
    three_pages(script)
    inner: list[Progress] = []

    def overtake(progress: Progress) -> None:
        if progress.pages == 1 and not inner:
            inner.append(sync_catalogue.sync(bridge, "lms"))

    with pytest.raises(Refused, match="another process synchronises this catalogue"):
        sync_catalogue.sync(bridge, "lms", progress=overtake)
    assert (inner[0].pages, inner[0].resumed) == (3, True)
    assert len(catalogue(bridge)) == 5
    assert all(catalogue(bridge).values())


def test_a_walk_that_begins_again_ends_the_one_before(bridge: Runtime, script: Script) -> None:
    three_pages(script)
    with pytest.raises(Refused):
        sync_catalogue.sync(
            bridge, "lms", progress=lambda p: p.pages == 2 and sync_catalogue.sync(bridge, "lms", full=True)
        )
    assert all(catalogue(bridge).values())
    assert newest_run(bridge).pages == 3


class _Stopped(Exception):
    """A walk ended as if its process had."""


def _stop(_progress: Progress) -> None:
    raise _Stopped


def test_every_catalogue_is_walked_when_its_time_has_come(bridge: Runtime, script: Script, tmp_path: Path) -> None:
    configured(bridge, tmp_path, "connections: [{name: second, connector: scripted_lms}]")
    script.pages = [KeyError("a fault of the connector")]
    assert sync_catalogue.sync_due(bridge) == 2, "one that fails does not keep the others from their turn"
    assert newest_run(bridge).error == "the connector failed (KeyError); see the log"
    assert len(script.asked_from) == 2
    assert sync_catalogue.sync_due(bridge) == 0, "and each is asked again after its hour"


def test_one_that_is_under_way_is_left_alone(bridge: Runtime, script: Script) -> None:
    three_pages(script)
    with pytest.raises(_Stopped):
        sync_catalogue.sync(bridge, "lms", progress=_stop)
    assert sync_catalogue.sync_due(bridge) == 0
    with bridge.db.write() as session:  # two minutes later nobody can be walking it any more
        run = session.scalars(select(tables.SyncRun)).one()
        run.moved_at -= sync_catalogue._STALE
    assert sync_catalogue.sync_due(bridge) == 1
    assert len(catalogue(bridge)) == 5
    assert sync_catalogue.sync_due(bridge) == 0


def test_one_that_keeps_failing_is_asked_again_once_an_hour(bridge: Runtime, script: Script) -> None:
    script.pages = [Retryable("the LMS is down")]
    assert sync_catalogue.sync_due(bridge) == 1
    with bridge.db.write() as session:
        session.scalars(select(tables.SyncRun)).one().started_at -= dt.timedelta(hours=2)
    assert sync_catalogue.sync_due(bridge) == 1
    assert sync_catalogue.sync_due(bridge) == 0
    assert len(script.asked_from) == 2


# A real process against a real server, killed between two pages.


class Kolibri(http.server.ThreadingHTTPServer):
    """Plays the public interface of a Kolibri with three pages; the second is held back until it is let go."""

    daemon_threads = True
    channel = "a" * 32

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Kolibri)
        self.asked: list[str] = []
        self.second_was_asked, self.go_on = threading.Event(), threading.Event()
        self.html = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Kolibri(http.server.BaseHTTPRequestHandler):
    server: Kolibri

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if self.server.html:
            self._answer(b"<html>Please sign in</html>", "text/html")
        elif parts.path.endswith("/channels"):
            self._answer(json.dumps([{"id": self.server.channel, "name": "Academy"}]).encode())
        else:
            self._answer(json.dumps(self._nodes(parse_qs(parts.query).get("cursor", ["1"])[0])).encode())

    def _nodes(self, cursor: str) -> dict[str, Any]:
        self.server.asked.append(cursor)
        if cursor == "2":
            self.server.second_was_asked.set()
            self.server.go_on.wait(20)
        node = {"kind": "video", "description": "", "duration": 60, "tags": [], "lang": None}
        results = [{**node, "id": f"{cursor}-{n}", "title": f"Video {cursor}-{n}"} for n in range(2)]
        return {"more": {"cursor": str(int(cursor) + 1)} if cursor != "3" else None, "results": results}

    def _answer(self, body: bytes, kind: str = "application/json") -> None:
        with contextlib.suppress(OSError):
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def kolibri() -> Iterator[Kolibri]:
    server = Kolibri()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.go_on.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_walk_that_is_killed_goes_on_where_it_was(runtime: Runtime, kolibri: Kolibri, tmp_path: Path) -> None:
    configured(
        runtime, tmp_path, f"connections: [{{name: academy, connector: kolibri, config: {{base_url: {kolibri.url}}}}}]"
    )
    env = {**os.environ, "FLOWBRIDGE_HOME": str(runtime.settings.home)}
    argv = [sys.executable, "-m", "bridge.cli", "sync", "academy"]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert kolibri.second_was_asked.wait(30)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert len(catalogue(runtime)) == 2
    kolibri.go_on.set()
    done = sync_catalogue.sync(runtime, "academy")
    assert kolibri.asked == ["1", "2", "2", "3"]
    assert (done.resumed, done.pages, done.seen, done.retired) == (True, 3, 6, 0)
    assert list(catalogue(runtime).values()) == [True] * 6


def test_an_lms_that_answers_with_a_web_page_is_named_with_the_call(
    runtime: Runtime, kolibri: Kolibri, tmp_path: Path
) -> None:
    configured(
        runtime, tmp_path, f"connections: [{{name: academy, connector: kolibri, config: {{base_url: {kolibri.url}}}}}]"
    )
    kolibri.html = True
    with pytest.raises(UnexpectedPayload) as told:
        sync_catalogue.sync(runtime, "academy")
    assert "kolibri 'academy' answered GET" in str(told.value)
    assert "/api/public/v1/channels with text/html instead of JSON" in str(told.value)
    assert newest_run(runtime).error == str(told.value)
