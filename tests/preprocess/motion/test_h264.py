"""The method h264: x264's vectors, read from its bitstream."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import av
import numpy as np
import pytest
from av.codec.codec import UnknownCodecError
from numpy.typing import NDArray

from preprocess.motion import h264, search
from preprocess.motion.encode import encode
from shared.conventions import BLOCKS, Codec, FrameSize, Reference
from shared.errors import UserError
from shared.motion_compensation import decode_clip
from shared.schema import CodecOptions
from shared.store.store import Store
from tests.conftest import CODECS, moving_square
from tests.stores import contents

Cli = Callable[..., tuple[int, str, str]]
REFERENCES: tuple[Reference, ...] = ("previous", "first")


def scroll(frames: int, height: int, width: int, vx: int, vy: int) -> NDArray[np.uint8]:
    """A smooth picture whose blocks all have the vector (vx, vy) into the frame before."""
    rng = np.random.default_rng(1)
    rows, columns = height + frames * abs(vy) + 8, width + frames * abs(vx) + 8
    picture = rng.integers(0, 256, (rows, columns)).astype(float)
    for axis in (0, 1):
        for _ in range(3):
            picture = (picture + np.roll(picture, 1, axis) + np.roll(picture, -1, axis)) / 3
    low, high = picture.min(), picture.max()
    picture = (255 * (picture - low) / (high - low)).astype(np.uint8)
    places = [
        (n * vy if vy > 0 else (n - frames) * vy, n * vx if vx > 0 else (n - frames) * vx)
        for n in range(frames)
    ]
    return np.stack([picture[y : y + height, x : x + width] for y, x in places])


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_moving_picture_has_the_vectors_of_its_motion(reference: Reference) -> None:
    """In the part whose predictors lie in the frame; frames have an odd size."""
    clip = scroll(4, 90, 107, 3, -2)
    for block in BLOCKS:
        found = search(clip, Codec(block, reference), search_range=16, method="h264")
        for n, field in enumerate(found):
            steps = n + 1 if reference == "first" else 1
            within = field[:, -(-8 // block) : -(-8 // block) + 56 // block, : 80 // block]
            right = (within == np.array([3, -2]).reshape(2, 1, 1) * steps).all(axis=0)
            assert right.mean() > 0.9, (block, n, right.mean())


def test_vectors_beyond_the_range_are_shortened() -> None:
    clip = scroll(3, 64, 64, 6, 0)
    found = search(clip, Codec(16), search_range=2, method="h264").astype(int)
    assert np.abs(found).max() <= 2
    assert not search(clip, Codec(16), search_range=0, method="h264").any()


def test_a_large_block_takes_the_best_of_its_macroblocks() -> None:
    """Three quarters of a block move by 5, one quarter stands still."""
    clip = scroll(2, 64, 96, 5, 0)
    clip[1, 16:32, 32:48] = clip[0, 16:32, 32:48]
    coded = h264.coded_field(clip, 32, 16, reference_is_first=False)
    assert {tuple(v) for v in coded[0, :, 0:2, 2:4].reshape(2, -1).T.tolist()} >= {(5, 0)}
    found = search(clip, Codec(32), search_range=16, method="h264")
    assert found[0, :, 0, 1].tolist() == [5, 0]


def test_the_same_search_twice_gives_the_same() -> None:
    clip = np.random.default_rng(0).integers(0, 256, (6, 70, 50), dtype=np.uint8) // 8
    clip += scroll(6, 70, 50, 2, 1) // 2
    one, other = (search(clip, Codec(8), search_range=12, method="h264") for _ in range(2))
    assert np.array_equal(one, other)


@pytest.mark.parametrize("size", [1, 15, 50, FrameSize(50, 27), FrameSize(9, 40)])
def test_the_store_stays_exact(size: int | FrameSize) -> None:
    """Also where x264's whole pixels are refined."""
    clip = moving_square(5, *FrameSize.parse(size)).transpose(0, 3, 1, 2)
    for codec in CODECS:
        encoded = encode(clip, CodecOptions(size=size, method="h264", **vars(codec)))
        restored = decode_clip(encoded.first_frame, encoded.motion, encoded.residual, codec)
        assert np.array_equal(restored, clip), codec


def test_a_store_is_made_made_again_and_verified(folder: Path, tmp_path: Path, cli: Cli) -> None:
    """By `run` and by `reblock`; vectors that are not x264's are noticed."""
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    common = ("run", "folder", "--root", folder, "--size", 32, "--frames", 4, "--workers", 1)
    assert cli(*common, "--out", one)[0] == 0
    code, _, err = cli("reblock", one, "--method", "h264", "--out", two, "--workers", 1)
    assert code == 0, err
    assert cli(*common, "--method", "h264", "--out", three)[0] == 0
    assert contents(two) == contents(three)
    code, out, err = cli("verify", two, "--root", folder)
    assert code == 0, out + err
    assert Store(two).options.method == "h264"
    assert not np.array_equal(Store(one).clip("motion", 0), Store(two).clip("motion", 0))


def test_without_x264_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: object) -> NoReturn:
        raise UnknownCodecError("libx264")

    monkeypatch.setattr(h264.CodecContext, "create", missing, raising=True)
    with pytest.raises(UserError, match="built without x264"):
        search(np.zeros((2, 8, 8), np.uint8), Codec(8), search_range=2, method="h264")


def test_vectors_read_from_a_bitstream_are_mv_extractors(real_clips: Path) -> None:
    """60 frames; column by column what mv-extractor reads of the same file."""
    wanted: Any = np.load(real_clips / "fixtures" / "mvextractor_h264.npz")
    columns = ("source", "w", "h", "src_x", "src_y", "dst_x", "dst_y")
    columns += ("motion_x", "motion_y", "motion_scale")
    with av.open(str(real_clips / "clips" / "bbb_mvx_h264_720p.mp4")) as container:
        container.streams.video[0].codec_context.options = {"flags2": "+export_mvs"}
        names = sorted(name for name in wanted.files if name.startswith("mvs_"))
        frames = islice(container.decode(video=0), len(names))
        for name, frame in zip(names, frames, strict=True):
            vectors = h264.exported_vectors(frame)
            assert len(vectors) == len(wanted[name])
            for place, column in enumerate(columns if len(vectors) else ()):
                assert np.array_equal(vectors[column], wanted[name][:, place]), (name, column)
