"""The page of `view` in headless Chromium, which finds no other host; see `test_pages`."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from shared.store.store import Store
from tests.browser.browser import Server, Visit, server, visitor
from tests.browser.test_pages import extract
from tests.stores import damage_clip

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_spec("gradio") is None, reason="no gradio: pip install 'dvdm[serve]'"),
]

DAMAGED = 3
_CAPTIONS = """
return [...document.querySelectorAll("#clips .caption-label")].map(shown => shown.innerText);
"""
_OUT_OF_SIGHT = """
return [...document.querySelectorAll("#clips button.thumbnail-item")]
  .filter(tile => tile.getBoundingClientRect().right > document.documentElement.clientWidth)
  .length;
"""
_CLIP_IN_SIGHT = """
const top = document.querySelector("#clip").getBoundingClientRect().top;
return 0 <= top && top < innerHeight / 2;
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two people's 24 gestures and a file that is no video; one clip is damaged afterwards."""
    from preprocess.datasets.gestures.dataset import render
    from shared.console import Progress

    data = tmp_path_factory.mktemp("gestures") / "data"
    render(data, {"subjects": 2, "size": 64}, 1, Progress())
    (data / "gesture01" / "g01s01r09.mp4").write_bytes(b"not a video")
    made = Store(extract(data, data.parent / "store", {"reference": "first"}))
    damage_clip(made, "first_frame", DAMAGED)
    return made


@pytest.fixture(scope="module")
def served(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("place"), "preprocess", "view", store.path) as started:
        yield started


@pytest.fixture(scope="module")
def visit(served: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    with visitor(tmp_path_factory.mktemp("profile")) as driver:
        yield Visit(driver, served.address)


def captions(visit: Visit) -> list[str]:
    """Captions of the clips on the page."""
    return list(visit.driver.execute_script(_CAPTIONS))


def open_page(visit: Visit) -> None:
    visit.open()
    visit.wait("clips", lambda: len(captions(visit)) == 24)


def choose(visit: Visit, name: str, text: str) -> None:
    """Choose what begins with a text, from a list."""
    visit.found(f"#{name} input")[0].click()
    option = visit.wait(
        text, lambda: [o for o in visit.found(f"#{name} [role=option]") if o.text.startswith(text)]
    )[0]
    option.click()


def test_a_clip_and_its_motion(visit: Visit, tmp_path: Path) -> None:
    open_page(visit)
    assert "1 to 24 of 48, page 1 of 2" in visit.text()
    visit.found("#clips button.thumbnail-item")[5].click()
    visit.wait("films", lambda: len(visit.found("#details img")) == 3)
    assert visit.driver.execute_script(
        "return [...document.querySelectorAll('#details img')].every(i => i.naturalWidth === 320)"
    )
    shown = visit.text()
    assert "PSNR of vectors alone" in shown and "energy left by vectors" in shown
    visit.check_widths(tmp_path, "view")
    assert visit.driver.execute_script(_OUT_OF_SIGHT) == 0
    # On a phone a chosen clip is scrolled to, below the pictures.
    visit.found("#clips button.thumbnail-item")[6].click()
    visit.wait("the clip in sight", lambda: visit.driver.execute_script(_CLIP_IN_SIGHT))
    visit.check_widths(tmp_path, "view-clip")
    assert visit.far_requests() == []
    assert [entry for entry in visit.log("browser") if entry["level"] == "SEVERE"] == []


def test_pages_and_choices(visit: Visit, store: Store) -> None:
    open_page(visit)
    first = captions(visit)
    visit.click("clips-on")
    second = visit.wait("page 2", lambda: (c := captions(visit)) and c[0] != first[0] and c)
    assert [int(c.split(",")[0].split()[0]) for c in first + second] == list(range(48))
    label = store.attributes.labels[2]
    choose(visit, "labels", label)
    found = visit.wait("two clips", lambda: (c := captions(visit)) and len(c) == 2 and c)
    assert all(f", {label}, " in caption for caption in found)
    person = store.attributes.subjects[1]
    choose(visit, "persons", person)
    [caption] = visit.wait("one clip", lambda: (c := captions(visit)) and len(c) == 1 and c)
    assert caption.endswith(f", {label}, {person}")


def test_what_is_damaged_or_absent_ends_in_a_sentence(visit: Visit) -> None:
    open_page(visit)
    assert captions(visit)[DAMAGED].startswith(f"{DAMAGED} damaged, ")
    visit.found("#clips button.thumbnail-item")[DAMAGED].click()
    visit.wait_for_message(f"clip {DAMAGED} of ")
    visit.open()
    visit.set("clip", "48\n")
    visit.wait_for_message("clip 48: give 0 to 47")


def test_rejected_files(visit: Visit, tmp_path: Path) -> None:
    open_page(visit)
    next(tab for tab in visit.found("[role=tab]") if tab.text == "Rejected (1)").click()
    visit.wait("the file", lambda: "g01s01r09.mp4" in visit.text())
    visit.check_widths(tmp_path, "view-rejected")


def test_nothing_is_left_behind(served: Server, visit: Visit) -> None:
    visit.driver.get("about:blank")
    served.check_end()
