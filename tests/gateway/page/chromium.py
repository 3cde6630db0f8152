"""A headless Chromium, where there is one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

_COMMAND = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# What a module is marked with whose tests need it.
NEEDED = pytest.mark.skipif(_COMMAND is None, reason="there is no browser: sudo apt install chromium")


@contextmanager
def started() -> Iterator[Browser]:
    """Start it; it has ended afterwards."""
    with sync_playwright() as playwright:
        # Chromium as root has no sandbox.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        found = playwright.chromium.launch(executable_path=_COMMAND, args=arguments)
        yield found
        found.close()
