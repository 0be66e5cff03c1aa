"""Starts Chromium for the tests of the pages. Without it they fail and say what to install."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

COMMANDS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class NoBrowserError(Exception):
    """There is no Chromium on this machine; the message says what to install."""


def chromium_command() -> str:
    """Return the path of Chromium: `CHROMIUM`, or a command that Debian and others install. Raises `NoBrowserError`."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, COMMANDS)), None)
    if found is None:
        raise NoBrowserError(
            "the tests of the pages need Chromium: apt-get install chromium-headless-shell (Debian), or set CHROMIUM to its path"
        )
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser. Raises `NoBrowserError`."""
    command = chromium_command()
    with sync_playwright() as driver, driver.chromium.launch(executable_path=command, args=ARGUMENTS) as browser:
        yield browser
