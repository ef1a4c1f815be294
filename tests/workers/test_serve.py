"""``flowbridge serve``: what it prints, what it refuses, what it restarts, and that nothing outlives it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workers.conftest import Bridge, Process, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

PASSWORD = "once-and-never-again"  # of the stand-in for the first start

WITH_EXTRA = """
import sys
from bridge import observe
from bridge.serve import Child, serve
from bridge.settings import Settings

settings = Settings.load()
observe.configure()
code = "import os, time; print('hello from', os.environ['WHO'], flush=True); time.sleep(60)"
sys.exit(serve(settings, [Child("desk", [sys.executable, "-c", code, "desk"], {"WHO": "the desk"})]))
"""


def served(bridge: Bridge, **env: str) -> Process:
    serve = bridge.run("serve", **env)
    serve.says("flowbridge is ready at")
    return serve


def gone(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def all_up(serve: Process, *names: str) -> dict[str, int]:
    until(lambda: set(names) <= set(serve.children()), seconds=60, what=f"{names} running")
    return serve.children()


def test_start_and_stop(bridge: Bridge, record_property: Callable[[str, object], None]) -> None:
    del bridge.env["FLOWBRIDGE_PORT"]
    first = bridge.run("serve", "--port", str(bridge.port))
    first.says(f"flowbridge is ready at http://127.0.0.1:{bridge.port}")
    ready = time.monotonic() - first.began
    first.says("worker | ")
    children = all_up(first, "web", "worker")
    bridge.decided(bridge.add_event())
    begun = time.monotonic()
    assert first.end(signal.SIGINT, seconds=10) == 0
    stopped = time.monotonic() - begun
    record_property("seconds to start, to stop", (ready, stopped))
    print(f"start {ready:.1f} s, stop {stopped:.1f} s")
    assert all(gone(pid) for pid in children.values())
    again = bridge.run("serve", "--port", str(bridge.port))
    again.says("flowbridge is ready at")
    assert again.end() == 0
    assert sum(PASSWORD in line for line in first.out) == 1
    assert PASSWORD not in "".join(first.err + again.out + again.err)


def test_a_second_start_is_refused_with_a_reason(make_bridge: Callable[..., Bridge]) -> None:
    first, other = make_bridge(), make_bridge()
    serving = served(first)
    same_database = first.run("serve", FLOWBRIDGE_PORT=str(other.port))
    same_port = other.run("serve", FLOWBRIDGE_PORT=str(first.port))
    assert same_database.popen.wait(60) == same_port.popen.wait(20) == 1
    assert f"served already, by process {serving.popen.pid}" in same_database.says("is being served already")
    assert f"127.0.0.1:{first.port}" in same_port.says("is listening")
    assert f"--port {first.port + 1}" in same_port.says("choose another port")
    assert first.ready()


@pytest.mark.postgres
def test_another_serve_on_the_same_postgresql_database_is_refused(
    make_bridge: Callable[..., Bridge], postgres_url: str
) -> None:
    first, second = make_bridge(DATABASE_URL=postgres_url), make_bridge(DATABASE_URL=postgres_url)
    served(first)
    refused = second.run("serve")
    assert refused.popen.wait(60) == 1
    refused.says("is being served already")


def test_a_database_that_is_not_there_is_named_without_its_password(bridge: Bridge) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"postgresql+psycopg://me:hidden-word@127.0.0.1:{nobody.getsockname()[1]}/nothing"
        refused = bridge.run("serve", FLOWBRIDGE_DATABASE_URL=url)
        assert refused.popen.wait(60) == 1
    refused.says("can't be reached")
    refused.says("FLOWBRIDGE_DATABASE_URL")
    assert "hidden-word" not in "".join(refused.out + refused.err)


def test_a_database_in_memory_is_refused(bridge: Bridge) -> None:
    refused = bridge.run("serve", FLOWBRIDGE_DATABASE_URL="sqlite:///:memory:")
    assert refused.popen.wait(60) == 1
    refused.says("name a file")


def test_a_child_that_is_killed_is_started_again_and_nothing_is_lost(
    bridge: Bridge, record_property: Callable[[str, object], None]
) -> None:
    serve = served(bridge)
    event = bridge.add_event(data={"stall": True})
    stalled = until(lambda: (bridge.home / "stalled").exists() and (bridge.home / "stalled").read_text(), seconds=10,
                    what="the task under way")  # fmt: skip
    assert int(stalled) == serve.children()["worker"]
    os.kill(int(stalled), signal.SIGKILL)
    killed = time.monotonic()
    bridge.decided(event, seconds=15)
    took = time.monotonic() - killed
    record_property("seconds from kill -9 to done, with a lease of 1 s", took)
    print(f"kill -9 to done {took:.1f} s")
    serve.says("worker ended by signal 9")
    assert serve.children()["worker"] != int(stalled)
    os.kill(bridge.get("/")["pid"], signal.SIGKILL)
    serve.says("web ended by signal 9")
    until(bridge.ready, seconds=60, what="web again")


def test_nothing_outlives_a_killed_supervisor(bridge: Bridge, record_property: Callable[[str, object], None]) -> None:
    serve = served(bridge)
    children = all_up(serve, "web", "worker")
    serve.says("The worker is ready")
    serve.popen.kill()
    begun = time.monotonic()
    until(lambda: all(gone(pid) for pid in children.values()), seconds=10, what="no orphans")
    took = time.monotonic() - begun
    record_property("seconds from kill -9 of the supervisor to the last child's end", took)
    print(f"orphans gone after {took:.1f} s")
    serve.popen.wait(5)
    assert served(bridge).end() == 0, "neither lock nor port may be left behind"


def test_neither_a_stuck_task_nor_an_open_stream_holds_up_the_end(bridge: Bridge) -> None:
    serve = served(bridge)
    bridge.add_event(data={"stall": True})
    until((bridge.home / "stalled").exists, seconds=10, what="the task under way")
    children = all_up(serve, "web", "worker")
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as browser:
        browser.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert browser.recv(1024)
        assert serve.end(signal.SIGINT, seconds=10) == 0
    assert all(gone(pid) for pid in children.values())
    serve.says("worker did not end in time")


def test_what_never_starts_ends_the_supervisor_with_a_reason(bridge: Bridge) -> None:
    serve = bridge.run("serve", STAND_IN_BROKEN="1")
    assert serve.popen.wait(60) == 1
    serve.says("broken on purpose")
    serve.says("web ended 3 times")


def test_extra_children_run_beside(bridge: Bridge, tmp_path: Path) -> None:
    script = tmp_path / "with_extra.py"
    script.write_text(WITH_EXTRA)
    serve = bridge.run(str(script))
    serve.says("desk   | hello from the desk")
    serve.says("flowbridge is ready at")
    desk = all_up(serve, "desk")["desk"]
    assert serve.end() == 0
    assert gone(desk)


def test_a_wrong_setting_is_named(bridge: Bridge) -> None:
    serve = bridge.run("serve", FLOWBRIDGE_POLL_SECONDS="soon")
    assert serve.popen.wait(60) == 2
    serve.says("FLOWBRIDGE_POLL_SECONDS")
