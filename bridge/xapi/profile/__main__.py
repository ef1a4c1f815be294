"""``python -m bridge.xapi.profile``: print the profile document, as ``docs/xapi-profile.jsonld`` holds it."""

from __future__ import annotations

import json
import sys

from bridge.xapi.profile.document import as_jsonld


def main() -> None:
    sys.stdout.write(json.dumps(as_jsonld(), indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
