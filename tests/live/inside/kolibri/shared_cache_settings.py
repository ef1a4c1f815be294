"""Kolibri's own settings, but with its page cache in files.

By default that cache lives in the memory of the server process, where a change of the catalogue made by another process
would stay unseen for an hour. Kolibri's Redis backend is shared between processes in the same way.
"""

# mypy: disable-error-code="import-not-found"

from pathlib import Path

from kolibri.deployment.default.settings.base import *  # noqa: F403
from kolibri.deployment.default.settings.base import CACHES
from kolibri.utils.conf import KOLIBRI_HOME

CACHES["default"] |= {
    "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
    "LOCATION": str(Path(KOLIBRI_HOME, "page_cache")),
}
