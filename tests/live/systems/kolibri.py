"""Kolibri (PyPI `kolibri`), a learning platform for places without internet, with a small catalogue of our own."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tests.live.systems.install import LIVE_TESTS, Part, bare_environment, fast_folder, python_part, run
from tests.live.systems.system import System
from tests.ports import free_port

INSIDE = LIVE_TESTS / "inside" / "kolibri"
VENV = python_part("kolibri")


@dataclass(frozen=True)
class KolibriUser:
    """A person with an account in the facility."""

    username: str
    password: str
    full_name: str


ADMIN = KolibriUser("admin", "admin-for-live-tests", "admin")
LEARNERS = {
    "ana": KolibriUser("ana", "ana-for-live-tests", "Ana Sales"),
    "bob": KolibriUser("bob", "bob-for-live-tests", "Bob Project"),
}

TOPICS: dict[str, list[dict[str, object]]] = {
    "Negotiation": [
        {
            "title": "Negotiating a renewal",
            "description": "How to defend the price when a customer renews",
            "duration": 300,
            "text": "Say what the customer gained last year before anybody says a number.",
        },
        {
            "title": "Handling objections",
            "description": "Answers to the five objections that come up most",
            "duration": 600,
            "text": "Let the customer finish, then ask what would have to be true for a yes.",
        },
    ],
    "Products": [
        {
            "title": "SSO set-up",
            "description": "Single sign-on for the customer's administrators, step by step",
            "duration": 420,
            "text": "Exchange the metadata first, then test with one person.",
        },
    ],
}


def _environment(home: Path) -> dict[str, str]:
    return {
        "KOLIBRI_HOME": str(home),
        "KOLIBRI_LISTEN_ADDRESS": "127.0.0.1",
        "KOLIBRI_DISABLE_PING": "1",
        "KOLIBRI_ZEROCONF_ENABLED": "0",
        "DJANGO_SETTINGS_MODULE": "shared_cache_settings",
        "PYTHONPATH": str(INSIDE),
    }


def _change(home: Path, action: str, arguments: Mapping[str, object]) -> None:
    script: list[str | Path] = [VENV.path / "bin" / "python", INSIDE / "catalogue.py", action]
    environment = bare_environment(home, _environment(home))
    run(script, environment=environment, cwd=home, text=json.dumps(arguments), seconds=120)


SEED = {
    "admin": ADMIN.username,
    "admin_password": ADMIN.password,
    "learners": {user.username: {"full_name": user.full_name, "password": user.password} for user in LEARNERS.values()},
    "topics": TOPICS,
}


def _build_home(folder: Path) -> None:
    with fast_folder() as fast:
        home = fast / "home"
        home.mkdir()
        _change(home, "seed", SEED)
        shutil.copytree(home, folder, dirs_exist_ok=True)


HOME = Part(
    "kolibri/home",
    (*VENV.inputs, INSIDE / "catalogue.py", INSIDE / "shared_cache_settings.py"),
    _build_home,
    json.dumps(SEED),
)


class Kolibri(System):
    """A provisioned Kolibri device with the channel 'Sales academy', an administrator and two learners.

    The public catalogue is at `/api/public/v2/contentnode/` and `/api/public/v2/channel/`, without a login.
    """

    name = "kolibri"
    parts = (VENV, HOME)
    ready_path = "/api/public/v2/channel/"
    channel_name: ClassVar[str] = "Sales academy"
    admin: ClassVar[KolibriUser] = ADMIN
    learners: ClassVar[dict[str, KolibriUser]] = LEARNERS

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def channel_id(self) -> str:
        return str(self._facts()["channel_id"])

    @property
    def facility_id(self) -> str:
        return str(self._facts()["facility_id"])

    @property
    def node_ids(self) -> dict[str, str]:
        """The id of every node that can be seen now, topics included, by title."""
        return dict(self._facts()["node_ids"])

    def prepare(self) -> None:
        shutil.copytree(HOME.path, self.home)
        self.content_port = free_port()

    def command(self) -> Sequence[str | Path]:
        kolibri = VENV.path / "bin" / "kolibri"
        return [kolibri, "start", "--foreground", "--port", str(self.port), "--zip-port", str(self.content_port)]

    def environment(self) -> Mapping[str, str]:
        return _environment(self.home)

    def add_resource(
        self, title: str, description: str = "", *, topic: str = "Negotiation", duration: int = 300, text: str = ""
    ) -> str:
        """Put an HTML5 resource under a topic, or change the one with this title, as a new version of the channel.

        `duration` is in seconds. Returns the node id. The running server shows it at once.
        """
        resource = {"title": title, "description": description, "topic": topic, "duration": duration, "text": text}
        _change(self.home, "add", resource)
        return self.node_ids[title]

    def remove_resource(self, title: str) -> None:
        """Delete a resource as an administrator does: it leaves the catalogue, the version of the channel stays."""
        _change(self.home, "remove", {"title": title})

    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.home / "facts.json").read_text())
        return facts
