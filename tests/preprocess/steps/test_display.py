"""Stores record how frames are displayed; those made before keep their meaning."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from preprocess.options import codec_options
from shared.manifest import load_manifest
from shared.schema import CodecOptions, StoreAttributes
from shared.store.store import Store
from tests.conftest import moving_square, write_video
from tests.preprocess.frames.test_deinterlace import interlaced_video
from tests.preprocess.frames.test_geometry import quadrants, with_matrix
from tests.preprocess.frames.test_transparency import half_hidden, write_transparent

Cli = Callable[..., tuple[int, str, str]]
OPTIONS = ("--size", 32, "--frames", 4, "--block", 8, "--workers", 1)


def recorded(store: Path) -> dict[str, object]:
    options = json.loads((store / "zarr.json").read_text())["attributes"]["dvdm"]["options"]
    assert isinstance(options, dict)
    return options


def test_only_what_is_not_as_before_is_recorded() -> None:
    before = CodecOptions(display="coded").model_dump()
    assert {"display", "hdr", "deinterlace"}.isdisjoint(before)
    now = CodecOptions(hdr="refuse", deinterlace="bwdif").model_dump()
    assert now.items() >= {"display": "shown", "hdr": "refuse", "deinterlace": "bwdif"}.items()
    old = {"dataset": "folder", "manifest_hash": "", "clips": 1, "shard_clips": 1, "plan_hash": ""}
    read = StoreAttributes.model_validate({**old, "options": before})
    assert read.options == CodecOptions(display="coded")
    assert read.model_dump()["options"] == before
    assert StoreAttributes.model_validate({**old, "options": now}).options.display == "shown"


def test_frames_that_are_no_video_files_have_no_display() -> None:
    assert codec_options(load_manifest("folder"), {}).display == "shown"
    assert codec_options(load_manifest("bair"), {}).display == "coded"


@pytest.fixture
def mirrored(tmp_path: Path) -> Path:
    video = quadrants(48, 64).repeat(4, 0)
    with_matrix(write_video(tmp_path / "videos" / "v.mp4", video), (-1, 0, 0, 1))
    return tmp_path / "videos"


def test_an_old_store_is_read_and_verified_and_not_continued(
    mirrored: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    command = ("run", "folder", "--root", mirrored, *OPTIONS, "--out")
    assert cli(*command, new)[0] == 0
    assert recorded(new)["display"] == "shown"
    assert cli("verify", new, "--root", mirrored)[0] == 0
    first = Store(new).clip("first_frame", 0)
    assert first[1, 4, 4] > 128 > first[0, 4, 4], "green is at the left: it is mirrored"

    defaults = "preprocess.options._defaults"
    monkeypatch.setattr(defaults, lambda manifest, stated: {"display": "coded"})
    assert cli(*command, old)[0] == 0
    monkeypatch.undo()
    assert "display" not in recorded(old)
    assert np.array_equal(Store(old).clip("first_frame", 0), first[:, ::-1])
    assert cli("verify", old, "--root", mirrored)[0] == 0
    code, _, err = cli(*command, old)
    assert code == 2
    assert "  display coded, now shown\n" in err


def test_interlaced_files_are_counted_unless_they_are_made_whole(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "videos").mkdir()
    interlaced_video(tmp_path / "videos" / "v.mpg", "mpeg2video", top_first=True)
    command = ("run", "folder", "--root", tmp_path / "videos", *OPTIONS, "--out")
    code, _, err = cli(*command, tmp_path / "combed")
    assert code == 0
    assert "'v.mpg': interlaced, and --deinterlace is off" in err
    code, _, err = cli(*command, tmp_path / "whole", "--deinterlace", "yadif")
    assert code == 0
    assert "interlaced" not in err
    assert recorded(tmp_path / "whole")["deinterlace"] == "yadif"
    assert cli("verify", tmp_path / "whole", "--root", tmp_path / "videos")[0] == 0


def test_files_whose_transparency_is_not_decoded_are_counted(tmp_path: Path, cli: Cli) -> None:
    root = tmp_path / "videos"
    write_video(root / "plain.webm", moving_square(6, 48, 48), codec="libvpx-vp9")
    write_transparent(root / "v.webm", half_hidden(), "libvpx-vp9", "yuva420p")
    code, _, err = cli("run", "folder", "--root", root, *OPTIONS, "--out", tmp_path / "store")
    assert code == 0
    assert "'v.webm': transparency of VP8 or VP9, which is not decoded" in err


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("--hdr", "clip"), "--hdr clip: must be 'tonemap' or 'refuse'"),
        (("--deinterlace", "on"), "--deinterlace on: must be 'off', 'bwdif' or 'yadif'"),
    ],
)
def test_other_values_are_named(
    given: tuple[str, str], named: str, mirrored: Path, tmp_path: Path, cli: Cli
) -> None:
    code, _, err = cli("run", "folder", "--root", mirrored, "--out", tmp_path / "s", *given)
    assert code == 2
    assert named in err
