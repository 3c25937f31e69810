"""Debian's chromium, headless, for the tests of pages."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any


def missing() -> str:
    """Why there is no browser to test with; empty if there is one."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        return "chromium and chromedriver are not installed (Debian: chromium, chromium-driver)"
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed"
    return ""


def chromium(folder: Path) -> Any:
    """A browser that keeps its profile in `folder` and asks no other machine for anything; the caller quits it."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for word in ("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
                 "disable-component-update", "disable-sync", "window-size=1400,900", f"user-data-dir={folder / 'profile'}"):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
