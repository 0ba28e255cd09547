"""Which files a sampling writes, and what they show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shared.errors import UserError
from shared.store import Store
from train.generate import Generator, load_generator, with_sampler
from train.sampling import SampleOptions, describe_sampling, generate_videos, write_videos
from train.spaces import Decoded


@pytest.fixture(scope="module")
def generator(run: Path) -> Generator:
    return load_generator(run, torch.device("cpu"))


def generate(generator: Generator, store: Store, options: SampleOptions) -> Decoded:
    first = torch.from_numpy(store.clip("first_frame", 0))[None]
    return generate_videos(generator, first, options)


def test_several_videos_are_numbered_by_their_seeds() -> None:
    assert SampleOptions(Path("a/v.mp4"), seed=7).videos == [Path("a/v.mp4")]
    several = SampleOptions(Path("a/v.mp4"), seed=8, count=3)
    assert several.videos == [Path("a/v-08.mp4"), Path("a/v-09.mp4"), Path("a/v-10.mp4")]


def test_the_video_is_an_mp4() -> None:
    with pytest.raises(UserError, match="give a name that ends in"):
        SampleOptions(Path("v.gif"))


def test_each_of_several_is_what_its_seed_alone_gives(generator: Generator, store: Store) -> None:
    both = generate(generator, store, SampleOptions(Path("v.mp4"), label=1, seed=3, count=2))
    alone = generate(generator, store, SampleOptions(Path("v.mp4"), label=1, seed=4))
    assert both.frames.shape[0] == 2
    assert (both.frames[1].int() - alone.frames[0].int()).abs().max() <= 1
    assert not both.frames[0].equal(both.frames[1])


def test_files_of_several_videos(generator: Generator, store: Store, tmp_path: Path) -> None:
    options = SampleOptions(tmp_path / "v.mp4", label=1, seed=3, count=2, frames=6)
    decoded = generate(generator, store, options)
    names = {path.name for path in write_videos(decoded, generator, options)}
    assert names == {path.name for path in tmp_path.iterdir()}
    assert names == {"v.png"} | {
        f"v-{seed}{motion}.{kind}"
        for seed in (3, 4)
        for motion in ("", "-motion")
        for kind in ("mp4", "gif")
    }
    sheet = np.asarray(Image.open(tmp_path / "v.png"))
    assert sheet.shape == (2 * 16 + 2, 6 * 16 + 5 * 2, 3)
    assert np.array_equal(sheet[18:, 90:], decoded.frames[1, 5].numpy().transpose(1, 2, 0))
    for name, frames in (("v-3.gif", 6), ("v-4-motion.gif", 6)):
        with Image.open(tmp_path / name) as image:
            assert image.size == (256, 256)
            # A GIF holds a frame that does not change only once.
            assert 1 < image.n_frames <= frames


def test_long_videos_have_a_sheet_of_some_frames(
    generator: Generator, store: Store, tmp_path: Path
) -> None:
    options = SampleOptions(tmp_path / "v.mp4", frames=40)
    decoded = generate(generator, store, options)
    write_videos(decoded, generator, options)
    sheet = np.asarray(Image.open(tmp_path / "v.png"))
    assert sheet.shape == (16, 14 * 16 + 13 * 2, 3)  # every third of 40
    assert np.array_equal(sheet[:, 18:34], decoded.frames[0, 3].numpy().transpose(1, 2, 0))


def test_motion_is_drawn_on_the_generated_frames(
    generator: Generator, store: Store, tmp_path: Path
) -> None:
    import av

    options = SampleOptions(tmp_path / "v.mp4", label=1)
    decoded = generate(generator, store, options)
    still = Decoded(decoded.frames, {"motion": torch.zeros_like(decoded.parts["motion"])})
    moved = still.parts["motion"].clone()
    moved[0, 1, 0, 2, 2] = 3  # of frame 2, to the right
    films = []
    for motion in (still.parts["motion"], moved):
        write_videos(Decoded(decoded.frames, {"motion": motion}), generator, options)
        with av.open(str(tmp_path / "v-motion.mp4")) as container:
            films.append([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    changes = [abs(one.astype(int) - other).max(axis=-1) for one, other in zip(*films, strict=True)]
    assert len(changes) == 4
    assert changes[2].max() > 100
    assert max(changes[n].max() for n in (0, 1)) < 30
    # Blocks of 4 pixels, 16 times enlarged: the third one across and down, and to the right.
    rows, columns = np.nonzero(changes[2] > 60)
    assert 128 <= rows.min() <= rows.max() < 192
    assert 150 <= columns.min() <= columns.max() <= 160 + 3 * 16 + 4


def test_a_space_without_vectors_has_no_motion_to_show(
    generator: Generator, store: Store, tmp_path: Path
) -> None:
    options = SampleOptions(tmp_path / "v.mp4")
    decoded = generate(generator, store, options)
    written = write_videos(Decoded(decoded.frames, {}), generator, options)
    assert {path.name for path in written} == {"v.mp4", "v.gif", "v.png"}


def test_what_is_generated_is_told(generator: Generator) -> None:
    plain = SampleOptions(Path("v.mp4"), seed=3)
    assert describe_sampling(generator, plain, None) == (
        "dpm++, 4 steps; no text; seed 3; 4 frames"
    )
    changed = with_sampler(generator, name="ddim", guidance=2.5)
    several = SampleOptions(Path("v.mp4"), seed=3, count=4, frames=8)
    assert describe_sampling(changed, several, "Go") == (
        "ddim, 4 steps; 'Go', guidance 2.5; seeds 3 to 6; 8 frames in 3 clips, each from the last"
        " frame of the one before"
    )
