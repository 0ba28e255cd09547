"""The trainer as a library: what the commands do, as objects."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

import shared
import train
from shared.errors import UserError
from shared.motion_compensation import decode_clip
from shared.store.store import Store
from tests.train.conftest import call_train
from tests.train.stores import OPTIONS
from train.api import Model


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    return train.load(run, device="cpu")


def test_a_sample_is_that_of_the_command(model: Model, picture: Path, tmp_path: Path) -> None:
    video = model.sample(picture, "Go", seed=3, frames=6, guidance=2, steps=2)
    arguments = ("--run", model.folder, "--image", picture, "--text", "Go", "--seed", 3)
    options = ("--frames", 6, "--guidance", 2, "--steps", 2, "--out", tmp_path / "v.mp4")
    assert call_train("sample", *arguments, *options) == 0
    video.save(tmp_path / "own.png")
    assert (tmp_path / "own.png").read_bytes() == (tmp_path / "v.png").read_bytes()
    assert video.frames.shape == (6, 16, 16, 3)
    assert len(video) == len(list(video)) == 6
    assert video.motion is not None
    assert video.motion.shape == (5, 4, 4, 2)
    assert video.flow is None
    assert video._repr_html_().count("<img") == 2  # the video, and its vectors


def test_steps_are_counted_and_what_a_step_raises_ends_the_generation(
    model: Model, picture: Path
) -> None:
    seen: list[tuple[int, int]] = []
    model.sample(picture, "Go", steps=3, frames=6, on_step=lambda *at: seen.append(at))
    assert seen == [(done, 6) for done in range(1, 7)]  # two clips

    def stop(done: int, steps: int) -> None:
        raise KeyError(done)

    with pytest.raises(KeyError, match="1"):
        model.sample(picture, "Go", steps=3, on_step=stop)


def test_motion_alone_is_the_first_frame_moved(model: Model, picture: Path) -> None:
    """Of a longer video it is that of the first clip, which begins with the first frame."""
    video = model.sample(picture, "Go", steps=2)
    assert video.motion is not None and video.moved is not None
    first, motion = np.moveaxis(video.frames[0], -1, 0), np.moveaxis(video.motion, -1, -3)
    still = np.zeros((len(motion), *first.shape), np.int16)
    expected = decode_clip(first, motion, still, OPTIONS.codec)
    assert np.array_equal(video.moved, np.moveaxis(expected, 1, -1))
    longer = model.sample(picture, "Go", steps=2, frames=2 * OPTIONS.frames)
    assert np.array_equal(longer.moved, video.moved)
    assert len(model.sample(picture, "Go", steps=2, frames=3).moved) == 3


@pytest.mark.parametrize("kind", ["str", "pillow", "array"])
def test_a_picture_may_be_a_file_or_pixels(model: Model, picture: Path, kind: str) -> None:
    image = Image.open(picture)
    given = {"str": str(picture), "pillow": image, "array": np.asarray(image)}[kind]
    expected = model.sample(picture, "Go", steps=1)
    assert np.array_equal(model.sample(given, "Go", steps=1).frames, expected.frames)


def test_a_transparent_picture_lies_over_black(model: Model) -> None:
    clear = Image.new("RGBA", (16, 16), (255, 255, 255, 0))
    assert not model.sample(clear, "Go", steps=1).frames[0].any()


def test_a_video_is_saved_by_its_ending(model: Model, picture: Path, tmp_path: Path) -> None:
    video = model.sample(picture, "Go", steps=1)
    with av.open(str(video.save(tmp_path / "new" / "v.mp4"))) as container:
        assert len(list(container.decode(video=0))) == OPTIONS.frames
    for ending in ("gif", "webp"):
        assert Image.open(video.save(tmp_path / f"v.{ending}")).n_frames == OPTIONS.frames
    with pytest.raises(UserError, match=r"\.mp4, \.gif, \.webp or \.png"):
        video.save(tmp_path / "v.avi")


def test_mistakes_are_exceptions_with_the_commands_messages(
    model: Model, picture: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="no such file"):
        model.sample(tmp_path / "none.png", "Go")
    with pytest.raises(UserError, match="'Gone' is not"):
        model.sample(picture, "Gone")
    with pytest.raises(UserError, match="uint8 RGB"):
        model.sample(np.zeros((16, 16, 3)), "Go")
    with pytest.raises(UserError, match="nothing trained in"):
        train.load(tmp_path)


def test_the_pipeline_is_called_as_those_of_diffusers(model: Model, picture: Path) -> None:
    pipe = model.as_pipeline()

    def call(**more: object) -> list:
        source = torch.Generator().manual_seed(1)
        made = pipe(
            image=Image.open(picture), prompt=["Go", "Halt"], num_inference_steps=1,
            generator=source, **more,
        )  # fmt: skip
        return made.frames

    pictures, arrays, tensors = (call(output_type=kind) for kind in ("pil", "np", "pt"))
    assert len(pictures) == len(arrays) == len(tensors) == 2
    assert np.array_equal(np.asarray(pictures[1][2]) / np.float32(255), arrays[1][2])
    assert np.array_equal(tensors[0].permute(0, 2, 3, 1).numpy(), arrays[0])
    assert not np.array_equal(arrays[0][1:], call(output_type="np", guidance_scale=1)[0][1:])
    with pytest.raises(UserError, match="output_type 'jpg'"):
        call(output_type="jpg")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_dataset_feeds_any_loader(store: Store, workers: int) -> None:
    data = train.dataset(str(store.path), ("frames", "motion", "label"), side="test")
    clips = shared.open_store(str(store.path))
    loader = torch.utils.data.DataLoader(data, batch_size=2, num_workers=workers)
    seen = 0
    for batch in loader:
        for frames, label in zip(batch["frames"], batch["label"], strict=True):
            clip = clips[int(data.indices[seen])]
            assert np.array_equal(frames.permute(0, 2, 3, 1).numpy(), clip.frames)
            assert clips.labels[int(label)] == clip.label
            seen += 1
    assert seen == len(data) > 2
    everything = train.dataset(str(store.path), ("label",))
    assert len(everything) == len(store)
    assert everything[0].keys() == {"label"}


def test_a_wrong_field_or_side_is_named(store: Store) -> None:
    with pytest.raises(UserError, match="fields 'pixels'"):
        train.dataset(str(store.path), ("pixels",))
    with pytest.raises(UserError, match="side 'dev'"):
        train.dataset(str(store.path), side="dev")


def test_scores_are_those_of_the_command(model: Model, store: Store, tmp_path: Path) -> None:
    scores = model.evaluate(
        shared.open_store(str(store.path)), count=2, out=tmp_path, judge_steps=4
    )
    assert scores == json.loads((tmp_path / "scores.json").read_text())
