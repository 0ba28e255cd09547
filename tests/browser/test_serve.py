"""The page of `serve` in headless Chromium, which finds no other host; see `test_pages`."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.browser.browser import Server, server, visitor
from tests.browser.browser import Visit as Visitor
from tests.train.conftest import flow_run, picture, run, store  # noqa: F401, fixtures

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_spec("gradio") is None, reason="no gradio: pip install 'dvdm[serve]'"),
]

_VIDEOS = """
return [...document.querySelectorAll('video')].filter(v => v.checkVisibility())
  .map(v => [v.src, v.videoWidth, Math.round(v.duration * 8)]);
"""


class Visit(Visitor):
    ready = "#picture input[type=file]"

    def upload(self, file: Path) -> None:
        """Give a file to the input, in place of another if there is one."""
        for close in self.found("#picture button[aria-label='Remove image']"):
            close.click()
        field = self.wait("input", lambda: self.found("#picture input[type=file]"))[0]
        field.send_keys(str(file))

    def shown(self) -> Any:
        return self.wait("uploaded picture", lambda: self.found("#picture img"))

    def videos(self) -> list[list[Any]]:
        """Address, width and frames of each visible video that can be played."""
        return [video for video in self.driver.execute_script(_VIDEOS) if video[1]]

    def download(self, name: str, folder: Path) -> Path:
        """Click the first run's button of a name, and wait for the file, alone in its folder."""
        folder = folder / name
        behaviour = {"behavior": "allow", "downloadPath": str(folder)}
        self.driver.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
        button = next(b for b in self.found("button") if b.text == name)
        button.click()
        complete = lambda: [f for f in folder.glob("*") if f.suffix != ".crdownload"]  # noqa: E731
        return self.wait(f"{name} file", complete)[0]


@pytest.fixture(scope="module")
def served(
    run: Path,  # noqa: F811
    flow_run: Path,  # noqa: F811
    store: Any,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    command = ("train", "serve", run, flow_run, "--store", store.path)
    with server(tmp_path_factory.mktemp("place"), *command) as started:
        yield started


@pytest.fixture(scope="module")
def visit(served: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    with visitor(tmp_path_factory.mktemp("profile")) as driver:
        yield Visit(driver, served.address)


def test_runs_side_by_side(visit: Visit, picture: Path, tmp_path: Path) -> None:  # noqa: F811
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
    visit.check_widths(tmp_path, "serve")
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


def test_nothing_is_left_behind(served: Server, visit: Visit) -> None:
    visit.driver.get("about:blank")
    served.check_end()
