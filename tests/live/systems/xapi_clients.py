"""Clients of an LRS from npm, `@xapi/xapi` and `@xapi/cmi5`, each in a script of our own: `node/xapi_clients/`."""

import json
from pathlib import Path
from typing import Any

from tests.live.systems.install import LIVE_TESTS, NotInstalled, bare_environment, find_node, node_part, run

NODE = node_part("xapi_clients")
SCRIPTS = LIVE_TESTS / "node" / "xapi_clients"


class XapiClients:
    """What is installed of them; they run to their end, and no server belongs to them."""

    name = "xapi_clients"
    needs_node = True
    parts = (NODE,)

    def __init__(self) -> None:
        if not NODE.is_current:
            raise NotInstalled(self.name)

    @property
    def cmi5(self) -> Path:
        """The bundle of @xapi/cmi5 for browsers, which is all that there is of it."""
        return NODE.path / "node_modules" / "@xapi" / "cmi5" / "dist" / "Cmi5.umd.js"

    @property
    def unit(self) -> Path:
        """An assignable unit that uses it, for the same page."""
        return SCRIPTS / "unit.js"

    def run(self, script: str, *arguments: str) -> Any:
        """What a script prints; raises InstallError with its words when it fails."""
        modules = {"NODE_PATH": str(NODE.path / "node_modules")}
        environment = bare_environment(NODE.path, modules)
        return json.loads(run([find_node(), SCRIPTS / script, *arguments], environment=environment, seconds=120))
