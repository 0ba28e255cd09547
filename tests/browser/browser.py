"""A headless Chromium that opens local pages offline, at any width."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

BROWSERS, DRIVERS = ("chromium", "chromium-browser", "google-chrome"), ("chromedriver",)
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
_MOST_PX = 16_000
"""Height of the largest picture that Chromium draws."""

# Elements that reach beyond the page's width, apart from those that may be scrolled sideways.
_TOO_WIDE = """
const width = document.documentElement.clientWidth;
const scrolls = e => e && (getComputedStyle(e).overflowX === 'auto' || scrolls(e.parentElement));
return [...document.body.querySelectorAll('*')]
  .filter(e => e.getBoundingClientRect().right > width + 1 && !scrolls(e))
  .map(e => e.outerHTML.slice(0, 120));
"""
_OVERFLOW = "const e = document.documentElement; return e.scrollWidth - e.clientWidth"
_BROKEN = """
return [...document.images].filter(i => !i.complete || i.naturalWidth === 0).map(i => i.alt);
"""


@dataclass(frozen=True)
class Seen:
    """State of a page in a browser of some width.

    Attributes:
        console: messages of the browser's console, errors and warnings.
        requests: addresses that were asked for other than the page and the data within it.
        broken: what pictures that could not be shown are of.
        overflow_px: by so much the content is wider than the window.
        too_wide: elements that do.
        tallest_px: height of the whole page.
        text: what can be read.
    """

    console: list[str]
    requests: list[str]
    broken: list[str]
    overflow_px: int
    too_wide: list[str]
    tallest_px: int
    text: str


class Browser:
    """Opens pages; see `browser`."""

    def __init__(self, driver: WebDriver) -> None:
        self._driver = driver

    def look(self, page: Path, width: int, picture: Path, *, dark: bool = False) -> Seen:
        """Open a page in a window of `width` pixels, and take a picture of the whole page."""
        emulate_window(self._driver, width, 900, dark)
        self._driver.get("about:blank")
        for log in ("browser", "performance"):  # reading empties them: what comes is the page's
            self._driver.get_log(log)
        self._driver.get(page.absolute().as_uri())
        run = self._driver.execute_script
        tallest = int(run("return document.documentElement.scrollHeight"))
        seen = Seen(
            console=[str(entry["message"]) for entry in self._driver.get_log("browser")],
            requests=self._requests(page),
            broken=run(_BROKEN),
            overflow_px=int(run(_OVERFLOW)),
            too_wide=run(_TOO_WIDE),
            tallest_px=tallest,
            text=run("return document.body.innerText"),
        )
        emulate_window(self._driver, width, min(tallest, _MOST_PX), dark)
        picture.parent.mkdir(parents=True, exist_ok=True)
        self._driver.save_screenshot(str(picture))
        return seen

    def _requests(self, page: Path) -> list[str]:
        """Addresses that the page requested; reading the log empties it."""
        entries = [json.loads(entry["message"])["message"]
                   for entry in self._driver.get_log("performance")]  # fmt: skip
        asked = [entry["params"]["request"]["url"] for entry in entries
                 if entry["method"] == "Network.requestWillBeSent"]  # fmt: skip
        own = page.absolute().as_uri()
        return [url for url in asked if url != own and not url.startswith("data:")]


def emulate_window(driver: WebDriver, width: int, height: int, dark: bool) -> None:
    """Give a page so many pixels, on a phone if few, and light or dark colours."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})


@contextmanager
def chromium_driver(profile: Path, *flags: str) -> Iterator[WebDriver]:
    """A headless Chromium with its own profile; the test is skipped if none is installed."""
    binary, driver = (next(filter(None, map(shutil.which, names)), None)
                      for names in (BROWSERS, DRIVERS))  # fmt: skip
    if binary is None or driver is None:
        pytest.skip("no Chromium with its chromedriver here; Debian: chromium, chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*_FLAGS, f"--user-data-dir={profile}", *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield opened
    finally:
        opened.quit()


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser for pages on disk; see `chromium_driver`."""
    with chromium_driver(profile) as opened:
        # What a page asks for elsewhere then fails, as it would offline.
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        opened.execute_cdp_cmd("Network.enable", {})
        opened.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
        yield Browser(opened)
