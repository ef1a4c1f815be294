"""Installs the real systems from the package registries into one folder outside of version control.

An installation consists of parts. A part is one folder that is made from a few committed files, its inputs, and is made
again only when the content of an input changes, so that a second installation is quick.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LIVE_TESTS = Path(__file__).parents[1]
ROOT = LIVE_TESTS.parents[1]
STAMP = ".stamp"


class InstallError(Exception):
    """A system could not be installed. The message names the step and ends with what the step printed."""


class NotInstalled(Exception):
    """A system is missing or out of date. The message is the command that installs it."""

    def __init__(self, system: str) -> None:
        super().__init__(f"{system} is not installed, or its lock has changed: run `{install_command(system)}`")


def install_command(system: str) -> str:
    """The command line that installs one system, as one types it at the root of the repository."""
    return f"python -m tests.live.systems install {system}"


def live_directory() -> Path:
    """Where everything is installed: FLOWBRIDGE_LIVE_DIR, or .live at the root of the repository."""
    return Path(os.environ.get("FLOWBRIDGE_LIVE_DIR") or ROOT / ".live").resolve()


@dataclass(frozen=True)
class Part:
    """One folder of an installation, made from files and data by `build`.

    `build` gets the folder, empty, and raises InstallError when it cannot fill it.
    """

    folder: str
    inputs: tuple[Path, ...]
    build: Callable[[Path], None]
    data: str = ""

    @property
    def path(self) -> Path:
        return live_directory() / self.folder

    @property
    def is_current(self) -> bool:
        stamp = self.path / STAMP
        return stamp.is_file() and stamp.read_text() == self._digest()

    def make(self) -> bool:
        """Fill the folder unless it is current. True when there was something to do."""
        if self.is_current:
            return False
        if self.path.exists():
            shutil.rmtree(self.path)
        self.path.mkdir(parents=True)
        self.build(self.path)
        (self.path / STAMP).write_text(self._digest())
        return True

    def _digest(self) -> str:
        digest = hashlib.sha256(f"{self.path}\n{self.data}".encode())
        for path in self.inputs:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()


def python_part(system: str) -> Part:
    """A virtual environment with exactly the packages of the system's committed lock."""
    lock = LIVE_TESTS / "locks" / f"{system}.txt"

    def build(folder: Path) -> None:
        uv = _uv()
        python = folder / "bin" / "python"
        run([uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, folder])
        run([uv, "pip", "sync", "--quiet", "--no-build", "--require-hashes", "--python", python, lock])

    return Part(f"{system}/venv", (lock,), build)


def node_part(system: str) -> Part:
    """A node_modules folder with exactly the packages of the system's committed lock; install scripts are not run."""
    source = LIVE_TESTS / "node" / system
    inputs = tuple(source / name for name in ("package.json", "package-lock.json", ".npmrc"))

    def build(folder: Path) -> None:
        for path in inputs:
            shutil.copy(path, folder)
        run([find_node("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-progress"], cwd=folder)

    return Part(f"{system}/node", inputs, build)


def find_node(program: str = "node") -> str:
    """The path of `node` or `npm`; raises InstallError with the command that installs both."""
    found = shutil.which(program)
    if found is None:
        raise InstallError(f"Node.js ({program}) is missing: run `apt-get install nodejs npm` as root")
    return found


def provide_node() -> None:
    """Install Node.js from Debian's packages where it is missing and this process may; raise InstallError otherwise."""
    may_install = os.geteuid() == 0 and shutil.which("apt-get") is not None
    if may_install and not (shutil.which("node") and shutil.which("npm")):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-q"], environment=environment)
        run(["apt-get", "install", "-q", "-y", "--no-install-recommends", "nodejs", "npm"], environment=environment)
    find_node("node")
    find_node("npm")


def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    text: str | None = None,
    seconds: float = 900,
) -> str:
    """Run a program to its end, `text` being its standard input, and return what it printed on either stream."""
    shown = " ".join(str(word) for word in command[:4])
    try:
        done = subprocess.run(
            [str(word) for word in command],
            env=environment,
            cwd=cwd,
            input=text or "",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InstallError(f"`{shown} ...` had not ended after {seconds:.0f} s") from None
    if done.returncode:
        raise InstallError(f"`{shown} ...` ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


def bare_environment(home: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """What a system gets to see of this process's environment, so that it behaves alike on every machine."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), **extra}


@contextmanager
def fast_folder() -> Iterator[Path]:
    """A temporary folder in memory where the system has one: databases are built far quicker without a disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        raise InstallError("uv is missing: use the Python of the project's environment, which has it")
    return found
