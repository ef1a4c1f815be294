"""Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, expect, sync_playwright

#: Without these it looks for its maker's servers at every start, and has no sandbox to run in as root.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)

#: A page is looked at until it is as expected; only on a busy machine that takes long.
expect.set_options(timeout=30_000)


@contextlib.contextmanager
def chromium(*more: str) -> Iterator[Browser]:
    """A headless browser; fails with the command that installs it where there is none."""
    path = shutil.which("chromium")
    assert path, "Chromium is missing; install it with: make browser"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS, *more])
        try:
            yield browser
        finally:
            browser.close()
