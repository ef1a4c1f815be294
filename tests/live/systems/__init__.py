"""Real systems from the package registries: installed once, then started per test run, clean and within seconds.

`python -m tests.live.systems install` installs all of them below .live/ (or FLOWBRIDGE_LIVE_DIR).
"""

from tests.live.systems.install import InstallError, NotInstalled
from tests.live.systems.kolibri import Kolibri
from tests.live.systems.learning_locker import LearningLocker
from tests.live.systems.ltijs import Ltijs
from tests.live.systems.pylti1p3 import PyLti1p3
from tests.live.systems.ralph import Ralph
from tests.live.systems.system import StartFailed, System
from tests.live.systems.tryton import Tryton
from tests.live.systems.xapi_clients import XapiClients

__all__ = [
    "InstallError",
    "Kolibri",
    "LearningLocker",
    "Ltijs",
    "NotInstalled",
    "PyLti1p3",
    "Ralph",
    "StartFailed",
    "System",
    "Tryton",
    "XapiClients",
]
