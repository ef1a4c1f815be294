"""Database and broker of the run's own, from the programs that are installed, to be ended as a crash ends them."""

from __future__ import annotations

import abc
import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.journeys.bridge_process import until
from tests.ports import free_port

#: How long a service may take to start, in seconds; RabbitMQ needs about 5 on two cores.
START_SECONDS = 60.0


class Service(abc.ABC):
    """One server on a port of its own, with its data in a folder of its own; ``url`` is how flowbridge names it."""

    #: The user that it runs as where the run has the right to choose: PostgreSQL refuses to be root.
    user: str | None = None
    #: How it is ended.
    crash = signal.SIGKILL

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._log = (folder / "server.log").open("ab")

    @property
    @abc.abstractmethod
    def url(self) -> str: ...

    @abc.abstractmethod
    def command(self) -> list[str]: ...

    def environment(self) -> Mapping[str, str]:
        return {}

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def start(self) -> None:
        """Start it, and return without waiting."""
        self._process = subprocess.Popen(
            self.command(),
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **self.environment()},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=self.user,
        )

    def wait(self) -> None:
        """Return when it answers; fails with its log where it does not."""

        def look() -> bool:
            assert self._process is not None
            ended = self._process.poll()
            assert ended is None, f"{self.command()[0]}: {(self.folder / 'server.log').read_text()[-2000:]}"
            return self.answers()

        until(f"{self.command()[0]} to answer", look, seconds=START_SECONDS)

    def stop(self) -> None:
        """End it without giving it time for anything."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, self.crash)
            self._process.wait(START_SECONDS)
            until(f"the end of {self.command()[0]}", lambda: not self.answers())  # what it had started ends by itself

    def close(self) -> None:
        self.stop()
        self._log.close()


class PostgreSql(Service):
    """Ended by SIGQUIT, its immediate shutdown: no checkpoint, and what was in memory is gone, as after a crash."""

    user = "postgres" if os.geteuid() == 0 else None
    crash = signal.SIGQUIT

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        if self.user:
            shutil.chown(folder, self.user)
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
        self._programs = programs[-1] if programs else Path(shutil.which("initdb") or "initdb").parent
        made = [str(self._programs / "initdb"), "--pgdata", "data", "--auth=trust", "--username=postgres", "--no-sync"]
        subprocess.run(made, cwd=folder, user=self.user, check=True, capture_output=True)

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def command(self) -> list[str]:
        settings = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": ""}
        # Only programs are killed here, never the machine: what the kernel has, it will write.
        settings["fsync"] = "off"
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self._programs / "postgres"), "-D", "data", *options]

    def answers(self) -> bool:
        ready = [str(self._programs / "pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={self.port}"]
        return subprocess.run(ready, check=False).returncode == 0


class Redis(Service):
    """Keeps nothing on disk: after a crash it is empty."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        return ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]


class RabbitMq(Service):
    """A node of its own, under a name of its own, with a port mapper of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._mapper, self._distribution = free_port(), free_port()
        for name, text in (("plugins", "[].\n"), ("rabbitmq.conf", ""), ("environment", "")):
            (folder / name).write_text(text)
        self._names: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def command(self) -> list[str]:
        # What is in PATH may be a wrapper of the system's that starts the system's own node.
        installed = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
        return [str(installed[-1]) if installed else "rabbitmq-server"]

    def environment(self) -> Mapping[str, str]:
        own = {
            "NODENAME": "chaos@localhost",
            "NODE_IP_ADDRESS": "127.0.0.1",
            "NODE_PORT": str(self.port),
            "DIST_PORT": str(self._distribution),
            "MNESIA_BASE": str(self.folder / "data"),
            "LOG_BASE": str(self.folder / "log"),
            "ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "CONFIG_FILE": str(self.folder / "rabbitmq"),
            "CONF_ENV_FILE": str(self.folder / "environment"),
        }
        mapper = {"ERL_EPMD_PORT": str(self._mapper), "ERL_EPMD_ADDRESS": "127.0.0.1"}
        return {f"RABBITMQ_{name}": value for name, value in own.items()} | mapper

    def start(self) -> None:
        if self._names is None:
            mapper = ["epmd", "-address", "127.0.0.1", "-port", str(self._mapper)]
            self._names = subprocess.Popen(mapper, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)
        super().start()

    def close(self) -> None:
        super().close()
        if self._names is not None:
            self._names.kill()
            self._names.wait()


@contextlib.contextmanager
def running(kinds: Mapping[str, type[Service]], folder: Path) -> Iterator[Mapping[str, Service]]:
    """Services of these kinds under the same names, started side by side; whoever needs one waits for it."""
    services: dict[str, Service] = {}
    try:
        for name, kind in kinds.items():
            own = folder / name
            own.mkdir()
            services[name] = kind(own)
            services[name].start()
        yield services
    finally:
        for service in services.values():
            service.close()
