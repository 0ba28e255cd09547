"""Files that the command `sample` writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from shared.conventions import FrameSize
from shared.errors import UserError
from shared.report.pictures import flow_colours, flow_legend, longest_vector
from shared.schema import FitName
from shared.store.store import Store
from train.generate.generator import Generator, load_generator, with_sampler
from train.generate.sample import (
    SampleOptions,
    describe_sampling,
    generate_videos,
    load_first_frame,
    save_video,
    write_videos,
)
from train.spaces import Decoded, build_space
from train.spaces.rgb import RgbSpaceOptions


@pytest.mark.parametrize(("height", "width"), [(32, 48), (33, 47), (16, 17)])
def test_videos_have_every_frame_and_even_sizes(tmp_path: Path, height: int, width: int) -> None:
    import av

    shades = np.linspace(20, 230, 7).astype(np.uint8)
    clip = np.broadcast_to(shades[:, None, None, None], (7, 3, height, width))
    save_video(tmp_path / "new" / "v.mp4", clip, fps=12.5)
    with av.open(str(tmp_path / "new" / "v.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec.name, stream.average_rate) == ("h264", 12.5)
        assert stream.pix_fmt == "yuv420p"
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert {frame.shape for frame in frames} == {(height + height % 2, width + width % 2, 3)}
    assert [frame.mean() for frame in frames] == pytest.approx(shades.tolist(), abs=4)


def test_a_video_plays_while_it_loads(tmp_path: Path) -> None:
    clip = np.random.default_rng(0).integers(0, 250, (5, 3, 6, 9), np.uint8)
    save_video(tmp_path / "v.mp4", clip, fps=8)
    written = (tmp_path / "v.mp4").read_bytes()
    assert 0 < written.index(b"moov") < written.index(b"mdat")


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def stripes(width: int, height: int) -> Image.Image:
    """Left quarter red, middle green, right quarter blue."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = GREEN
    pixels[:, : width // 4], pixels[:, -(width // 4) :] = RED, BLUE
    return Image.fromarray(pixels)


def test_the_centre_square_is_taken(tmp_path: Path) -> None:
    stripes(80, 40).save(tmp_path / "wide.png")
    frame = load_first_frame(tmp_path / "wide.png", FrameSize(8, 8)).pixels
    assert frame.shape == (1, 3, 8, 8)
    assert abs(frame[0].permute(1, 2, 0).numpy().astype(int) - GREEN).max() < 20


@pytest.mark.parametrize("size", [8, 64])
def test_a_square_keeps_its_sides_at_any_size(tmp_path: Path, size: int) -> None:
    stripes(32, 32).save(tmp_path / "square.png")
    frame = load_first_frame(tmp_path / "square.png", FrameSize(size, size)).pixels[0]
    for column, colour in ((0, RED), (size // 2, GREEN), (-1, BLUE)):
        assert frame[:, size // 2, column].tolist() == pytest.approx(colour, abs=20)


def test_a_picture_of_the_right_size_is_kept_bit_for_bit(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "same.png")
    frame = load_first_frame(tmp_path / "same.png", FrameSize(16, 16)).pixels
    assert np.array_equal(frame[0].permute(1, 2, 0).numpy(), pixels)


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    """Orientation 6: the camera was turned; upright is a quarter turn clockwise."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stripes(32, 32).save(tmp_path / "turned.png", exif=exif)
    frame = load_first_frame(tmp_path / "turned.png", FrameSize(32, 32)).pixels[0]
    assert tuple(frame[:, 0, 16].tolist()) == RED
    assert tuple(frame[:, -1, 16].tolist()) == BLUE


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1", "CMYK", "I;16"])
def test_other_kinds_of_picture_become_rgb(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        picture = Image.fromarray(np.full((20, 20), 40_000, np.uint16))
    else:
        picture = stripes(20, 20).convert(mode)
    path = tmp_path / ("picture.tiff" if mode == "CMYK" else "picture.png")
    picture.save(path)
    assert load_first_frame(path, FrameSize(8, 8)).pixels.shape == (1, 3, 8, 8)


def test_sixteen_bit_greys_keep_their_brightness(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 20), 128 * 257, np.uint16)).save(tmp_path / "deep.png")
    frame = load_first_frame(tmp_path / "deep.png", FrameSize(8, 8)).pixels
    assert frame.float().mean() == pytest.approx(128, abs=1)


def test_files_that_are_no_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--image .*absent.png: no such file"):
        load_first_frame(tmp_path / "absent.png", FrameSize(8, 8))
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "empty.png").touch()
    stripes(64, 64).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-60])
    for name in ("text.png", "empty.png", "cut.png", "."):
        with pytest.raises(UserError, match="not a readable picture"):
            load_first_frame(tmp_path / name, FrameSize(8, 8))


def test_the_picture_is_fitted_as_the_store_was(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10), (255, 255, 255)).save(tmp_path / "wide.png")
    padded = load_first_frame(tmp_path / "wide.png", FrameSize(8, 8), "pad")
    assert (padded.pixels[0, :, 2:6] == 255).all()
    assert not padded.pixels[0, :, :2].any() and not padded.pixels[0, :, 6:].any()
    stretched = load_first_frame(tmp_path / "wide.png", FrameSize(8, 8), "stretch")
    assert (stretched.pixels == 255).all()
    assert padded.how == "20x10, black bars added, resized to 8x8"
    assert stretched.how == "20x10, stretched, resized to 8x8"


@pytest.mark.parametrize(
    ("width", "height", "fit", "how"),
    [
        (80, 40, "crop", "80x40, cut to the middle, resized to 12x8"),
        (60, 40, "crop", "60x40, resized to 12x8"),
        (12, 8, "pad", "12x8, taken as it is"),
        (8, 12, "pad", "8x12, black bars added, resized to 12x8"),
        (20, 20, "stretch", "20x20, stretched, resized to 12x8"),
    ],
)
def test_a_picture_of_any_aspect_gets_the_stores(
    tmp_path: Path, width: int, height: int, fit: FitName, how: str
) -> None:
    stripes(width, height).save(tmp_path / "a.png")
    found = load_first_frame(tmp_path / "a.png", FrameSize(8, 12), fit)
    assert (found.pixels.shape, found.how) == ((1, 3, 8, 12), how)
    assert found.pixels[0, :, 4, 6].tolist() == pytest.approx(GREEN, abs=20)


def test_changes_to_a_picture_are_described(tmp_path: Path) -> None:
    for width, height, how in [
        (80, 40, "80x40, cut to the middle, resized to 8x8"),
        (40, 40, "40x40, resized to 8x8"),
        (8, 8, "8x8, taken as it is"),
    ]:
        stripes(width, height).save(tmp_path / "a.png")
        assert load_first_frame(tmp_path / "a.png", FrameSize(8, 8)).how == how


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


def frames_of(path: Path) -> np.ndarray:
    """RGB of an mp4's frames, shape (T, H, W, 3)."""
    import av

    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(frames).astype(int)


@pytest.fixture(scope="module")
def flow_generator(flow_run: Path) -> Generator:
    return load_generator(flow_run, torch.device("cpu"))


def test_parts_of_long_videos_are_drawn_from_end_to_end(
    flow_generator: Generator, store: Store, tmp_path: Path
) -> None:
    options = SampleOptions(tmp_path / "v.mp4", label=1, seed=3, count=2, frames=8)
    decoded = generate(flow_generator, store, options)
    names = {path.name for path in write_videos(decoded, flow_generator, options)}
    assert names == {path.name for path in tmp_path.iterdir()}
    assert names == {"v.png"} | {
        f"v-{seed}{part}.{kind}"
        for seed in (3, 4)
        for part in ("", "-flow", "-occlusion")
        for kind in ("mp4", "gif")
    }
    flow, occlusion = (decoded.parts[name].numpy() for name in ("flow", "occlusion"))
    assert flow.shape == (2, 7, 2, 4, 4) and occlusion.shape == (2, 7, 1, 4, 4)
    legend = flow_legend(longest_vector(flow))
    centres = np.s_[:, 32:256:64, 32:256:64]  # of 4 x 4 cells in 256 pixels
    for seed in (3, 4):
        film = frames_of(tmp_path / f"v-{seed}-flow.mp4")
        assert film.shape == (8, 256, 256 + legend.shape[1] + legend.shape[1] % 2, 3)
        assert abs(film[0, :, :256] - 255).max() < 8, "the given frame has not moved"
        colours = flow_colours(flow[seed - 3], longest_vector(flow)).transpose(0, 2, 3, 1)
        assert abs(film[1:][centres] - colours).max() < 16
        # Sharp edges of the legend suffer from 4:2:0.
        shown = film[:, : len(legend), 256 : 256 + legend.shape[1]]
        assert abs(shown - legend).mean() < 4
        greys = frames_of(tmp_path / f"v-{seed}-occlusion.mp4")
        assert greys.shape == (8, 256, 256, 3)
        assert abs(greys[0] - 255).max() < 8
        levels = 255 * occlusion[seed - 3].transpose(0, 2, 3, 1)
        assert abs(greys[1:][centres] - levels).max() < 8
        with Image.open(tmp_path / f"v-{seed}-flow.gif") as image:
            assert image.size == (256 + legend.shape[1], 256)
            wheel = np.asarray(image.convert("RGB"))[: len(legend), 256:].astype(int)
            assert abs(wheel - legend).max() < 64, "the wheel is not reduced to a few colours"


def test_cells_of_flow_lie_over_frames_of_any_size(
    flow_generator: Generator, tmp_path: Path
) -> None:
    """Frames of 14 pixels have 4 x 4 cells of 4 pixels, the last of which reach beyond."""
    flow = torch.zeros(1, 1, 2, 4, 4)
    flow[..., 0, 3, 3] = 2
    parts = {"flow": flow, "occlusion": torch.ones(1, 1, 1, 4, 4)}
    frames = torch.zeros(1, 2, 3, 14, 14, dtype=torch.uint8)
    options = SampleOptions(tmp_path / "v.mp4")
    write_videos(Decoded(frames, parts), flow_generator, options)
    film = frames_of(tmp_path / "v-flow.mp4")
    rows, columns = np.nonzero(film[1, :, :252, 1] < 128)
    assert (rows.min(), rows.max() + 1) == (12 * 18, 14 * 18)
    assert (columns.min(), columns.max() + 1) == (12 * 18, 14 * 18)


def test_a_space_without_drawn_parts_writes_no_motion(
    generator: Generator, store: Store, tmp_path: Path
) -> None:
    options = SampleOptions(tmp_path / "v.mp4")
    decoded = generate(generator, store, options)
    space = build_space(RgbSpaceOptions(), generator.store.options)
    pixels = replace(generator, space=space)
    written = write_videos(Decoded(decoded.frames, {}), pixels, options)
    assert {path.name for path in written} == {"v.mp4", "v.gif", "v.png"}


def test_the_sampling_is_described(generator: Generator) -> None:
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
