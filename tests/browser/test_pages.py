"""Report pages in headless Chromium, offline, at the widths of a phone and a desktop.

Pictures of them go to DVDM_SCREENSHOTS where that names a folder. Pages in DVDM_PAGES, separated
by colons, are looked at, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.console import Progress
from shared.report.pages import MAX_BYTES, write_page
from tests.browser.browser import Browser, browser
from tests.train.conftest import TINY, call_train
from tests.train.evaluate.compare.test_compare import SMALLEST

pytestmark = pytest.mark.browser

WIDTHS = (390, 1200)
GIVEN = [Path(name) for name in os.environ.get("DVDM_PAGES", "").split(":") if name]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Path:
    """Rendered gestures of three people, and a file that is no video."""
    from preprocess.datasets.gestures.dataset import render

    data = tmp_path_factory.mktemp("gestures") / "data"
    render(data, {"subjects": 3, "size": 64}, 1, Progress())
    (data / "gesture01" / "g01s01r09.mp4").write_bytes(b"not a video")
    return data


def extract(videos: Path, store: Path, given: dict[str, object]) -> Path:
    from preprocess.executor import ExecutorOptions
    from preprocess.options import codec_options
    from preprocess.pipeline import Extraction, run
    from shared.manifest import load_manifest

    manifest = load_manifest("gestures")
    options = codec_options(manifest, {"size": 64, "block": 8, **given})
    run(Extraction(manifest, videos, store, options, ExecutorOptions(1, None), None), Progress())
    return store


@pytest.fixture(scope="module")
def store(videos: Path) -> Path:
    return extract(videos, videos.parent / "store", {"reference": "first"})


@pytest.fixture(scope="module")
def compare_page(videos: Path) -> Path:
    """A comparison of the smallest networks."""
    stores, out = videos.parent / "stores", videos.parent / "compared"
    extract(videos, stores / "previous-cost0", {"reference": "previous", "motion_cost": 0.0})
    options = (*SMALLEST, "--codec-seeds", 0, "--budget-tflop", 0.03)
    assert call_train("compare", "--data", stores, "--out", out, *options) == 0
    return out / "compare.html"


@pytest.fixture(scope="module")
def store_page(store: Path) -> Path:
    from preprocess.report import build_report

    return Path(str(build_report(store, store.parent / "store.html", 64, 0, Progress()).page))


@pytest.fixture(scope="module")
def run(store: Path) -> Path:
    """A run of a few steps; its pictures need not be good."""
    path = store.parent / "run"
    changes = TINY | {"diffusion_training.checkpoint_every": "2"}
    overrides = [part for name, value in changes.items() for part in ("--set", f"{name}={value}")]
    for stage in ("vae", "encode", "diffusion"):
        given = ("--recipe", "ed_vdm_demo", "--store", store, "--out", path, *overrides)
        assert call_train(stage, *given) == 0
    return path


@pytest.fixture(scope="module")
def bare_page(run: Path) -> Path:
    """The page of a run before its evaluation, without its store."""
    assert call_train("report", run, "--out", run.parent / "bare") == 0
    return run.parent / "bare" / "index.html"


@pytest.fixture(scope="module")
def run_page(bare_page: Path, run: Path, store: Path) -> Path:
    assert call_train("evaluate", "--run", run, "--store", store, "--seconds", 1) == 0
    given = ("--before", "dvdm-preprocess run gestures " + "--a-long-option 1 " * 20)
    assert call_train("report", run, "--store", store, "--out", run.parent / "page", *given) == 0
    return run.parent / "page" / "index.html"


def check(chromium: Browser, page: Path, pictures: Path) -> str:
    """Check a page at both widths, and return its text."""
    assert page.stat().st_size < MAX_BYTES
    pictures = Path(os.environ.get("DVDM_SCREENSHOTS") or pictures)
    for width in WIDTHS:
        picture = pictures / f"{page.parent.name}-{page.stem}-{width}.png"
        seen = chromium.look(page, width, picture)
        assert (seen.console, seen.requests, seen.broken) == ([], [], [])
        assert (seen.overflow_px, seen.too_wide) == (0, [])
        with Image.open(picture) as image:
            assert image.width == width and image.height > 900
            # Something is drawn: an empty page has one colour.
            assert len(image.convert("RGB").resize((60, 60)).getcolors(3600) or []) > 20
    light, dark = pictures / f"{page.stem}-light.png", pictures / f"{page.stem}-dark.png"
    chromium.look(page, WIDTHS[-1], light)
    chromium.look(page, WIDTHS[-1], dark, dark=True)
    # Next to the edge there is paper only.
    bright, dim = (np.asarray(Image.open(p).convert("L"))[:, :4] for p in (light, dark))
    assert bright.min() > 240 and dim.max() < 60
    return seen.text


def test_a_store(chromium: Browser, store_page: Path, tmp_path: Path) -> None:
    text = check(chromium, store_page, tmp_path)
    assert "Energy left" in text and "g01s01r09.mp4" in text


def test_a_run_before_its_evaluation(chromium: Browser, bare_page: Path, tmp_path: Path) -> None:
    assert "dvdm-train evaluate --run" in check(chromium, bare_page, tmp_path)


def test_an_evaluated_run(chromium: Browser, run_page: Path, tmp_path: Path) -> None:
    text = check(chromium, run_page, tmp_path)
    assert "Spread Wings" in text and "Samples over time" in text


def test_a_comparison(chromium: Browser, compare_page: Path, tmp_path: Path) -> None:
    text = check(chromium, compare_page, tmp_path)
    assert "Equal training FLOPs" in text and "difference (D-VDM)" in text


@pytest.mark.parametrize("page", GIVEN, ids=[page.name for page in GIVEN])
def test_a_given_page(chromium: Browser, page: Path, tmp_path: Path) -> None:
    check(chromium, page, tmp_path)


def test_every_fault_of_a_page_is_detected(chromium: Browser, tmp_path: Path) -> None:
    """The checks above can fail: one page with each fault."""
    faults = {
        "requests": '<img src="http://example.invalid/a.png" alt="far">',
        "broken": '<img src="data:image/png;base64,AAAA" alt="torn">',
        "console": '<script>console.error("loud")</script>',
        "too_wide": '<div style="width: 2000px">wide</div>',
        "overflow_px": '<p style="white-space: nowrap; max-width: none">' + "wide " * 200 + "</p>",
    }
    for fault, markup in faults.items():
        page = tmp_path / f"{fault}.html"
        head = '<!doctype html><html lang="en"><head><meta charset="utf-8"></head>'
        write_page(page, f"{head}<body>{markup}</body></html>")
        seen = chromium.look(page, 390, tmp_path / f"{fault}.png")
        assert getattr(seen, fault), fault
