"""The page, through the command line, of stores made from real files."""

from __future__ import annotations

import re
import shlex
from base64 import b64decode
from collections.abc import Callable
from html import unescape
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.report.pages import MAX_BYTES
from shared.schema import CodecOptions, StoreAttributes
from shared.store.store import Store, create_store, seal_store
from tests.conftest import moving_square, write_video
from tests.s3 import new_place, s3_endpoint
from tests.stores import contents, write_partition

Cli = Callable[..., tuple[int, str, str]]
OPTIONS = ("--size", 30, "--frames", 4, "--block", 8, "--search-range", 5)


@pytest.fixture(scope="module")
def made(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 19 clips with labels, rejects, and options that are not the defaults: wide too."""
    from preprocess.executor import ExecutorOptions
    from preprocess.options import codec_options
    from preprocess.pipeline import Extraction, run
    from shared.console import Progress
    from shared.manifest import load_manifest

    manifest = load_manifest("folder")
    given = {"size": "36x24", "frames": 4, "block": 8, "search_range": 5, "crop": (0, 20, 2, 22)}
    given["compensation"] = "interpolated"
    store = tmp_path_factory.mktemp("stores") / "store"
    options = codec_options(manifest, given)
    run(Extraction(manifest, folder, store, options, ExecutorOptions(1, None), None), Progress())
    return store


def text_of(page: Path) -> str:
    """The text of a page without tags and style, one space between words."""
    body = re.sub(r"<style>.*?</style>|<svg.*?</svg>", " ", page.read_text(), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def value(page: Path, name: str) -> float:
    """A number on the page, in full precision."""
    found = re.search(f'<data id="{name}" value="([^"]+)">', page.read_text())
    assert found, name
    return float(found[1])


def pictures_of(page: Path) -> list[Image.Image]:
    found = re.findall(r'src="data:image/\w+;base64,([^"]+)"', page.read_text())
    return [Image.open(BytesIO(b64decode(data))) for data in found]


def test_a_store_on_one_page(cli: Cli, made: Path, tmp_path: Path) -> None:
    page = tmp_path / "new" / "report.html"
    code, out, err = cli("report", made, "--out", page)
    assert code == 0, err
    assert "19 of 19 clips measured" in out and f"Open {page}" in out
    text = text_of(page)
    for shown in (
        "clips 19 from 5 video files",
        "4 a clip, 36x24, RGB",
        "8 × 8: 5 × 3 a frame",
        "jump , 7 clips",
        "(no label) , 2 clips",
        "block 8",
        "crop (0, 20, 2, 22)",
        "short.mp4",
        "the file is empty",
        "3 frames; one clip at stride 1 needs 4",
    ):
        assert shown in text, shown
    source = page.read_text()
    sections = re.findall(r'<section id="(\w+)"', source)
    assert sections == [
        "contents", "clips", "motion", "energy", "compression", "splits", "counts", "rejects",
        "options", "commands",
    ]  # fmt: skip
    assert 'id="rejects" data-files="4"' in source
    assert source.count("<svg") == 5
    assert not re.search(r'(src|href)="(?!data:|#)', source) and "<script" not in source
    sheets, motion = pictures_of(page)[:3], pictures_of(page)[3:]
    # Rows of clips of 24 pixels, columns of their four frames of 36 pixels; gaps of two.
    sizes = [(4 * 36 + 6, rows * 24 + 2 * rows - 2) for rows in (5, 5, 2)]
    assert [sheet.size for sheet in sheets] == sizes
    assert len(motion) == 3
    assert motion[0].size == (3 * 8 * 36 + 4, 2 * 8 * 24 + 2)


def test_the_figures_are_those_of_the_store(cli: Cli, made: Path, tmp_path: Path) -> None:
    assert cli("report", made, "--out", tmp_path / "r.html")[0] == 0
    store, page = Store(made), tmp_path / "r.html"
    motion = np.stack([store.clip("motion", i) for i in range(len(store))])
    residual = np.stack([store.clip("residual", i) for i in range(len(store))])
    assert value(page, "moving") == pytest.approx((motion != 0).any(axis=2).mean())
    assert value(page, "zeros") == pytest.approx((residual == 0).mean())
    error = float((residual.astype(float) ** 2).mean())
    assert value(page, "vectors_db") == pytest.approx(10 * np.log10(255**2 / error))
    assert f"{value(page, 'vectors_db'):.2f} dB" in text_of(page)
    assert "each pixel by a vector interpolated between the nearest four blocks" in text_of(page)


def test_the_command_on_the_page_makes_the_same_store(
    cli: Cli, made: Path, folder: Path, tmp_path: Path
) -> None:
    assert cli("report", made, "--out", tmp_path / "r.html")[0] == 0
    found = re.search(
        r"<pre[^>]*>(dvdm-preprocess run .*?)</pre>", (tmp_path / "r.html").read_text()
    )
    assert found
    line = (
        unescape(found[1]).replace("DIR", str(folder)).replace(str(made), str(tmp_path / "again"))
    )
    assert cli(*shlex.split(line)[1:], "--workers", 1)[0] == 0
    assert contents(tmp_path / "again") == contents(made)


def test_a_sample_is_drawn_by_its_seed_and_said_to_be_one(
    cli: Cli, made: Path, tmp_path: Path
) -> None:
    pages = [tmp_path / name for name in ("a.html", "b.html", "c.html")]
    for page, seed in zip(pages, (3, 3, 4), strict=True):
        code, out, _ = cli("report", made, "--out", page, "--sample", 5, "--seed", seed)
        assert code == 0 and "5 of 19 clips measured" in out
    assert pages[0].read_bytes() == pages[1].read_bytes() != pages[2].read_bytes()
    assert "5 of the 19 clips, drawn with seed 3" in text_of(pages[0])


def test_labels_that_would_make_the_page_large_are_left_out_and_counted(
    cli: Cli, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("preprocess.report.page.SHEETS_BYTES", 10)
    code, out, _ = cli("report", made, "--out", tmp_path / "r.html")
    assert code == 0 and "2 labels not shown" in out
    text = text_of(tmp_path / "r.html")
    assert 'id="clips" data-left-out="2"' in (tmp_path / "r.html").read_text()
    assert "jump , 7 clips" in text and "wave , 10 clips" not in text


def test_noise_in_many_labels_and_large_frames_stays_below_the_limit(
    cli: Cli, tmp_path: Path
) -> None:
    """The worst that can be shown: nothing of noise is compressed."""
    options = CodecOptions(size=600, frames=2, block=16, search_range=4)
    labels = tuple(f"label {i}" for i in range(60))
    attributes = StoreAttributes(
        dataset="noise", manifest_hash="m", options=options, labels=labels,
        clips=60, shard_clips=60, plan_hash="p",
    )  # fmt: skip
    path = tmp_path / "store"
    create_store(path, attributes)
    rng = np.random.default_rng(0)
    numbers = np.arange(60)
    first = rng.integers(0, 256, (1, 3, 600, 600), np.uint8).repeat(60, axis=0)
    arrays = {
        "first_frame": first,
        "motion": rng.integers(-4, 5, (60, 1, 2, *options.grid)).astype(np.int8),
        "residual": np.zeros((60, 1, 3, 600, 600), np.int16),
        "label": numbers.astype(np.int16),
        "subject": np.full(60, -1, np.int16),
        "video": np.array([f"{i}.mp4" for i in numbers]),
        "segment": np.zeros(60, np.int32),
        "start_frame": np.zeros(60, np.int32),
        "frame_index": np.zeros((60, 2), np.int32),
        "split": np.zeros((60, 1), np.int8),
        "valid": np.ones(60, bool),
    }
    write_partition(path, 0, arrays, [])
    seal_store(path)
    assert cli("report", path, "--out", tmp_path / "r.html", "--sample", 2)[0] == 0
    assert 100_000 < (tmp_path / "r.html").stat().st_size < MAX_BYTES
    assert 'id="clips" data-left-out="12"' in (tmp_path / "r.html").read_text()
    assert "with 128 pixels on the longer side" in text_of(tmp_path / "r.html")


def test_one_clip_without_label(cli: Cli, tmp_path: Path) -> None:
    write_video(tmp_path / "v" / "one.mp4", moving_square(4, 32, 32))
    store, page = tmp_path / "store", tmp_path / "r.html"
    assert cli("run", "folder", "--root", tmp_path / "v", "--out", store, *OPTIONS)[0] == 0
    code, _, err = cli("report", store, "--out", page)
    assert code == 0, err
    assert "labels none subjects none" in text_of(page)
    assert 'id="rejects" data-files="0"' in page.read_text()
    assert len(pictures_of(page)) == 2


def test_clips_that_do_not_move_have_no_energy_to_share(cli: Cli, tmp_path: Path) -> None:
    video = np.full((4, 32, 32, 3), 90, np.uint8)
    write_video(tmp_path / "v" / "still.mkv", video, codec="ffv1")
    store, page = tmp_path / "store", tmp_path / "r.html"
    assert cli("run", "folder", "--root", tmp_path / "v", "--out", store, *OPTIONS)[0] == 0
    code, _, err = cli("report", store, "--out", page)
    assert code == 0, err
    assert '<p id="still">' in page.read_text()


def test_blocks_that_choose_their_reference(cli: Cli, folder: Path, tmp_path: Path) -> None:
    store, page = tmp_path / "store", tmp_path / "r.html"
    given = ("--root", folder, "--out", store, *OPTIONS, "--reference", "either")
    assert cli("run", "folder", *given, "--workers", 1)[0] == 0
    code, _, err = cli("report", store, "--out", page)
    assert code == 0, err
    motion = np.stack([Store(store).clip("motion", i) for i in range(len(Store(store)))])
    assert value(page, "from_first") == pytest.approx((motion[:, :, 2] != 0).mean())
    assert value(page, "moving") == pytest.approx((motion[:, :, :2] != 0).any(axis=2).mean())


def test_stores_that_cannot_be_shown_are_named(cli: Cli, tmp_path: Path) -> None:
    attributes = StoreAttributes(
        dataset="toy", manifest_hash="m", options=CodecOptions(), clips=1, shard_clips=1,
        plan_hash="p",
    )  # fmt: skip
    create_store(tmp_path / "unsealed", attributes)
    for name, message in (("unsealed", "is not sealed"), ("missing", "no store at")):
        code, out, err = cli("report", tmp_path / name, "--out", tmp_path / "r.html")
        assert (code, out) == (2, "")
        assert message in err and "Traceback" not in err
    assert not (tmp_path / "r.html").exists()


def test_a_place_that_cannot_be_written_to(
    cli: Cli, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a clip is measured, which may take long."""
    monkeypatch.delattr("preprocess.report.read_clip")
    (tmp_path / "file").write_text("")
    code, _, err = cli("report", made, "--out", tmp_path / "file" / "r.html", "--sample", 1)
    assert code == 2
    assert "cannot write" in err and "Traceback" not in err


def test_from_s3_to_s3(cli: Cli, made: Path, tmp_path: Path) -> None:
    with s3_endpoint() as bucket:
        place = new_place(bucket)
        for name, data in contents(made).items():
            (place / name).write_bytes(data)
        code, _, err = cli("report", place, "--out", place / "report.html", "--sample", 3)
        assert code == 0, err
        page = (place / "report.html").read_bytes()
    (tmp_path / "r.html").write_bytes(page)
    assert "clips 19 from 5 video files" in text_of(tmp_path / "r.html")
