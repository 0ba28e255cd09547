"""The page of `serve` in headless Chromium, which finds no other host; see `test_pages`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import matplotlib
import numpy as np
import pytest
from PIL import Image

from tests.browser.browser import chromium_driver, emulate_window
from tests.test_boundaries import PROJECT
from tests.train.conftest import flow_run, picture, run, store  # noqa: F401, fixtures

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_spec("gradio") is None, reason="no gradio: pip install 'dvdm[serve]'"),
]

_SECONDS = 300
_LOOPBACK_ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
_VIDEOS = """
return [...document.querySelectorAll('video')].filter(v => v.checkVisibility())
  .map(v => [v.src, v.videoWidth, Math.round(v.duration * 8)]);
"""
Value = TypeVar("Value")


class Visit:
    """A visitor's browser on the page."""

    def __init__(self, driver: WebDriver, address: str) -> None:
        self.driver, self.address = driver, address

    def open(self, width: int = 1200, *, dark: bool = False) -> None:
        emulate_window(self.driver, width, 1300, dark)
        self.driver.get(self.address)
        self.wait("the page", lambda: self.found("#picture input[type=file]"))

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

    def upload(self, file: Path) -> None:
        """Give a file to the input, in place of another if there is one."""
        for close in self.found("#picture button[aria-label='Remove image']"):
            close.click()
        field = self.wait("input", lambda: self.found("#picture input[type=file]"))[0]
        field.send_keys(str(file))

    def shown(self) -> Any:
        return self.wait("uploaded picture", lambda: self.found("#picture img"))

    def click(self, name: str) -> None:
        self.found(f"#{name}")[0].click()

    def set(self, name: str, value: int) -> None:
        """Type a number."""
        field = self.found(f"#{name} input")[0]
        self.driver.execute_script("arguments[0].select()", field)
        field.send_keys(str(value))

    def videos(self) -> list[list[Any]]:
        """Address, width and frames of each visible video that can be played."""
        return [video for video in self.driver.execute_script(_VIDEOS) if video[1]]

    def wait_for_message(self, sentence: str) -> None:
        """Wait until a message on the page holds a sentence."""
        self.wait(
            f"message {sentence!r}",
            lambda: any(sentence in shown.text for shown in self.found("[data-testid=toast-body]")),
        )

    def download(self, name: str, folder: Path) -> Path:
        """Click the first run's button of a name, and wait for the file, alone in its folder."""
        folder = folder / name
        behaviour = {"behavior": "allow", "downloadPath": str(folder)}
        self.driver.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
        button = next(b for b in self.found("button") if b.text == name)
        button.click()
        complete = lambda: [f for f in folder.glob("*") if f.suffix != ".crdownload"]  # noqa: E731
        return self.wait(f"{name} file", complete)[0]

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


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server runs: folders for home, temporary files and the working directory."""
    root = tmp_path_factory.mktemp("place")
    for name in ("home", "tmp", "cwd"):
        (root / name).mkdir()
    return root


@pytest.fixture(scope="module")
def server(run: Path, flow_run: Path, store: Any, place: Path) -> Iterator[subprocess.Popen[str]]:  # noqa: F811
    command = (sys.executable, "-m", "train", "serve", run, flow_run, "--store", store.path)
    environment = os.environ | {
        "HOME": str(place / "home"),
        "TMPDIR": str(place / "tmp"),
        # Its list of the machine's fonts, which takes long to make.
        "MPLCONFIGDIR": matplotlib.get_cachedir(),
        "PYTHONPATH": str(PROJECT),
    }
    with subprocess.Popen(
        [*map(str, command), "--port", "0"], cwd=place / "cwd", env=environment, text=True,
        stdout=subprocess.PIPE, stderr=(place / "errors").open("w"),
    ) as process:  # fmt: skip
        yield process
        process.kill()


@pytest.fixture(scope="module")
def visit(
    server: subprocess.Popen[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Visit]:
    with chromium_driver(tmp_path_factory.mktemp("profile"), _LOOPBACK_ALONE) as driver:
        assert server.stdout is not None
        address = server.stdout.readline().split()[0]
        assert address.startswith("http://127.0.0.1:")
        yield Visit(driver, address)


def test_runs_side_by_side(visit: Visit, picture: Path, tmp_path: Path) -> None:  # noqa: F811
    pictures = Path(os.environ.get("DVDM_SCREENSHOTS") or tmp_path)
    pictures.mkdir(parents=True, exist_ok=True)
    visit.open()
    visit.upload(picture)
    visit.shown()
    visit.click("generate")
    # Of the codec: video, arrows, motion alone; of flow: video, colours, greys, motion alone.
    videos = visit.wait("videos", lambda: (v := visit.videos()) and len(v) == 7 and v)
    assert min(width for _, width, _ in videos) == 256
    assert {frames for *_, frames in videos} == {4}
    assert visit.download("mp4", tmp_path).name == "run-0.mp4"
    with Image.open(visit.download("GIF", tmp_path)) as animation:
        assert (animation.format, animation.n_frames, animation.width) == ("GIF", 4, 256)
    for width, dark in ((1200, False), (390, True)):
        emulate_window(visit.driver, width, 1300, dark)
        time.sleep(0.5)
        shot = pictures / f"serve-{width}.png"
        visit.driver.save_screenshot(str(shot))
        overflow = "const e = document.documentElement; return e.scrollWidth - e.clientWidth"
        assert visit.driver.execute_script(overflow) == 0
        edge = np.asarray(Image.open(shot).convert("L"))[:, :4]
        assert edge.max() < 60 if dark else edge.min() > 240
    assert visit.far_requests() == []
    assert [entry for entry in visit.log("browser") if entry["level"] == "SEVERE"] == []


def test_the_same_seed_gives_the_same_video(
    visit: Visit,
    picture: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    def made(seed: int) -> bytes:
        visit.set("seed", seed)
        visit.click("generate")
        visit.wait(
            "videos", lambda: any(f"/run-{seed}.mp4" in video[0] for video in visit.videos())
        )
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        return visit.download("GIF", folder).read_bytes()

    visit.open()
    visit.upload(picture)
    visit.shown()
    first, other, again = made(7), made(8), made(7)
    assert first == again != other


def test_an_example_fills_picture_and_text(visit: Visit) -> None:
    visit.open()
    visit.found("table tbody tr")[-1].click()
    visit.shown()
    text = visit.found("#text input")[0]
    assert visit.wait("text", lambda: text.get_attribute("value")) == "Turn Right"


def test_a_generation_is_cancelled(visit: Visit, picture: Path) -> None:  # noqa: F811
    visit.open()
    visit.upload(picture)
    visit.shown()
    visit.set("steps", 1000)
    visit.click("generate")
    visit.wait("progress by step", lambda: "/1000 steps" in visit.text())
    visit.click("cancel")
    visit.wait_for_message("cancelled")
    visit.set("steps", 1)
    visit.click("generate")
    visit.wait("videos of the next request", lambda: len(visit.videos()) == 7)


def test_hostile_pictures_and_options_end_in_a_sentence(
    visit: Visit,
    picture: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    (tmp_path / "text.png").write_text("<b>no picture</b>")
    Image.new("1", (40_000, 40_000)).save(tmp_path / "bomb.png")  # 200 kB
    with (tmp_path / "large.png").open("wb") as large:
        large.truncate(100_000_000)
    visit.open()
    visit.click("generate")
    visit.wait_for_message("give the picture that the video begins with")
    for hostile, sentence in (
        ("text.png", "text.png: not a readable picture (not an image"),
        ("bomb.png", "bomb.png: not a readable picture (Image size (1600000000 pixels) exceeds"),
    ):
        visit.open()
        visit.upload(tmp_path / hostile)
        visit.shown()
        visit.click("generate")
        visit.wait_for_message(sentence)
    visit.open()
    visit.upload(tmp_path / "large.png")
    visit.wait_for_message("exceed the maximum allowed size of 20")
    visit.open()
    visit.upload(picture)
    visit.shown()
    visit.set("steps", 2000)
    visit.click("generate")
    visit.wait_for_message("steps 2000: give 0 to 1000")


def test_nothing_is_left_behind(server: subprocess.Popen[str], visit: Visit, place: Path) -> None:
    assert list((place / "tmp").iterdir())
    visit.driver.get("about:blank")
    server.terminate()
    assert server.wait(_SECONDS) == 143
    assert "Traceback" not in (place / "errors").read_text()
    left = [path for name in ("cwd", "tmp", "home") for path in (place / name).rglob("*")]
    assert left == []
