"""The documentation as its reader meets it: fenced blocks in order, files to write, commands to type.

The words behind a block's language say what a reader does with it::

    console                  type each line that begins with "$ " ("> " goes on with it); what is shown must come
    console background       the same, and leave the last command running until the document ends
    console norun why="..."  only the real thing can run this; why says what that is
    yaml file=rules.yaml     save it under that name (any language)

Shown output may leave parts out with "...". Addresses 127.0.0.1:8000 and the like get free ports.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
#: How long a command may take, in seconds, and how long until something that the bridge does by itself is seen.
COMMAND_SECONDS, PATIENCE = 120, 20.0
_FENCE = re.compile(r"^(?P<fence>`{3,})(?P<info>[^`\n]*)\n(?P<text>.*?)^(?P=fence)[ \t]*$", re.DOTALL | re.MULTILINE)
_PORT = re.compile(r'(?:(?<=127\.0\.0\.1:)|(?<=127\.0\.0\.1", ))\d{4}\b')


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """A command, and what the document shows of its output."""

    command: str
    shown: tuple[str, ...]

    @property
    def only_looks(self) -> bool:
        """Asks for what comes about by itself, so a reader would ask again a moment later."""
        return self.command.startswith(("curl", "flowbridge report", "tail")) and "--data" not in self.command


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: ``place`` is its file and line, ``words`` what its info string says."""

    place: str
    language: str
    words: dict[str, str]
    text: str

    def steps(self) -> list[Step]:
        steps: list[Step] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                steps.append(Step(line[2:], ()))
            elif line.startswith("> ") and steps and not steps[-1].shown:
                steps[-1] = Step(f"{steps[-1].command}\n{line[2:]}", ())
            else:
                assert steps, f"{self.place}: a console block begins with a line that begins with '$ '"
                steps[-1] = dataclasses.replace(steps[-1], shown=(*steps[-1].shown, line))
        return steps


def blocks(document: Path) -> Iterator[Block]:
    """The fenced blocks of a document, in order."""
    text = document.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        language, *words = shlex.split(found["info"]) or [""]
        pairs = dict(word.partition("=")[::2] for word in words)
        place = f"{document.relative_to(ROOT)}:{text.count(chr(10), 0, found.start()) + 1}"
        yield Block(place, language, pairs, found["text"])


class Reader:
    """Follows a document in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports: dict[str, int] = {}
        self._variables = folder / ".variables"
        self._variables.touch()
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "FLOWBRIDGE_PORT": self._here("127.0.0.1:8000").rpartition(":")[2],
        }

    def follow(self, block: Block) -> None:
        """Do what a block says; fails where something else comes of it than the document shows."""
        if name := block.words.get("file"):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._here(block.text), encoding="utf-8")
        if block.language != "console" or "norun" in block.words:
            return
        *first, last = block.steps()
        for step in first:
            self._type(block, step)
        if "background" in block.words:
            self._leave_running(block, last)
        else:
            self._type(block, last)

    def _here(self, text: str) -> str:
        """The text with the ports of this run."""
        return _PORT.sub(lambda port: str(self._ports.setdefault(port[0], free_port())), text)

    def _type(self, block: Block, step: Step) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            done = self._run(step.command)
            told = f"{block.place}: {step.command}\n{done.stdout}"
            assert done.returncode == 0, f"{told}\nended with {done.returncode}"
            missing = self._missing(step, done.stdout)
            if missing is None:
                return
            assert step.only_looks and time.monotonic() < deadline, f"{told}\ndid not say: {missing}"
            time.sleep(0.1)

    def _run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a shell that knows the variables of those before it."""
        kept = shlex.quote(str(self._variables))
        script = f"set -a; . {kept}\n{self._here(command)}\nstatus=$?; declare -px > {kept}; exit $status"
        return subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def _leave_running(self, block: Block, step: Step) -> None:
        log = self.folder / f"background-{len(self._running)}.log"
        kept = shlex.quote(str(self._variables))
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"set -a; . {kept}\nexec {self._here(step.command)}"],
                cwd=self.folder,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.append((f"{block.place}: {step.command}", process))
        deadline = time.monotonic() + 2 * PATIENCE
        while (missing := self._missing(step, log.read_text())) is not None:
            over = process.poll() is not None or time.monotonic() > deadline
            assert not over, f"{block.place}: {step.command}\ndid not say: {missing}\nbut:\n{log.read_text()}"
            time.sleep(0.05)

    def _missing(self, step: Step, said: str) -> str | None:
        """The first shown line that is not there, after those before it; None when all are."""
        left = said.splitlines()
        for line in (self._here(line) for line in step.shown if line.strip() not in ("", "...")):
            pattern = re.compile(".*".join(re.escape(part) for part in line.rstrip().split("...")))
            while left and not pattern.fullmatch(left[0].rstrip()):
                left.pop(0)
            if not left:
                return line
            left.pop(0)
        return None

    def leave(self) -> None:
        """End what still runs, as Ctrl-C does."""
        ended = []
        for what, process in reversed(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            ended.append((what, process.wait(30)))
        bad = [(what, code) for what, code in ended if code not in (0, 130, -signal.SIGINT)]
        assert not bad, bad
