"""A headless Chromium, offline: it opens local pages at any width, or visits a server's page."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pytest
from PIL import Image

from tests.test_boundaries import PROJECT

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

BROWSERS, DRIVERS = ("chromium", "chromium-browser", "google-chrome"), ("chromedriver",)
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
_LOOPBACK_ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
_SECONDS = 300
"""Time for a server or a page to answer."""
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

Value = TypeVar("Value")


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


class Visit:
    """A visitor's browser on the page of a server."""

    ready = "button"
    """Selector of what is there when the page is."""

    def __init__(self, driver: WebDriver, address: str) -> None:
        self.driver, self.address = driver, address

    def open(self, width: int = 1200, *, dark: bool = False) -> None:
        emulate_window(self.driver, width, 1300, dark)
        self.driver.get(self.address)
        self.wait("the page", lambda: self.found(self.ready))

    def found(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def wait(self, what: str, look: Callable[[], Value]) -> Value:
        """Look until there is something, or fail."""
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            if seen := look():
                return seen
            time.sleep(0.1)
        pytest.fail(f"no {what}: {self.text()}")

    def text(self) -> str:
        return str(self.driver.execute_script("return document.body.innerText"))

    def click(self, name: str) -> None:
        self.found(f"#{name}")[0].click()

    def set(self, name: str, value: object) -> None:
        """Type a number."""
        field = self.found(f"#{name} input")[0]
        self.driver.execute_script("arguments[0].select()", field)
        field.send_keys(str(value))

    def wait_for_message(self, sentence: str) -> None:
        """Wait until a message on the page holds a sentence."""
        self.wait(
            f"message {sentence!r}",
            lambda: any(sentence in shown.text for shown in self.found("[data-testid=toast-body]")),
        )

    def check_widths(self, pictures: Path, name: str) -> None:
        """Take pictures, light as on a desktop and dark as on a phone; nothing reaches beyond."""
        pictures = Path(os.environ.get("DVDM_SCREENSHOTS") or pictures)
        pictures.mkdir(parents=True, exist_ok=True)
        for width, dark in ((1200, False), (390, True)):
            emulate_window(self.driver, width, 1300, dark)
            time.sleep(0.5)
            shot = pictures / f"{name}-{width}.png"
            self.driver.save_screenshot(str(shot))
            assert self.driver.execute_script(_OVERFLOW) == 0
            edge = np.asarray(Image.open(shot).convert("L"))[:, :4]
            assert edge.max() < 60 if dark else edge.min() > 240

    def log(self, name: str) -> list[dict[str, Any]]:
        return list(self.driver.get_log(name))  # type: ignore[no-untyped-call]

    def far_requests(self) -> list[str]:
        """Addresses on other hosts that were asked for."""
        events = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        asked = [event["params"]["request"]["url"] for event in events
                 if event["method"] == "Network.requestWillBeSent"]  # fmt: skip
        assert any(url.startswith(self.address) for url in asked)
        # A new tab's own page has addresses of other kinds.
        return [url for url in asked if url.startswith(("http", "ws")) and self.address not in url]


class Server:
    """A page's server in a process of its own.

    Attributes:
        place: holds its folders for home, temporary files and the working directory.
        address: of the page.
    """

    def __init__(self, place: Path, *command: object) -> None:
        self.place = place
        for name in ("home", "tmp", "cwd"):
            (place / name).mkdir()
        import matplotlib

        environment = os.environ | {
            "HOME": str(place / "home"),
            "TMPDIR": str(place / "tmp"),
            # Its list of the machine's fonts, which takes long to make.
            "MPLCONFIGDIR": matplotlib.get_cachedir(),
            "PYTHONPATH": str(PROJECT),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", *map(str, command), "--port", "0"], cwd=place / "cwd",
            env=environment, text=True, stdout=subprocess.PIPE,
            stderr=(place / "errors").open("w"),
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, (place / "errors").read_text()
        self.address = line.split()[0]
        assert self.address.startswith("http://127.0.0.1:")

    def check_end(self) -> None:
        """End it; it leaves no file behind, and its log has no traceback."""
        assert list((self.place / "tmp").iterdir())
        self.process.terminate()
        assert self.process.wait(_SECONDS) == 143
        assert "Traceback" not in (self.place / "errors").read_text()
        left = [path for name in ("cwd", "tmp", "home") for path in (self.place / name).rglob("*")]
        assert left == []


@contextmanager
def server(place: Path, *command: object) -> Iterator[Server]:
    """Serve a page: `python -m` with these words, at a free port."""
    started = Server(place, *command)
    try:
        yield started
    finally:
        started.process.kill()


@contextmanager
def visitor(profile: Path) -> Iterator[WebDriver]:
    """A browser that finds no host but this one."""
    with chromium_driver(profile, _LOOPBACK_ALONE) as driver:
        yield driver
