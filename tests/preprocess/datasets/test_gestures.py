import hashlib
import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from preprocess.datasets.gestures.canvas import ARM, BACKDROP, BODY, HAND, HEAD
from preprocess.datasets.gestures.dataset import render_dataset, video_path, write_video
from preprocess.datasets.gestures.figure import arm_joints
from preprocess.datasets.gestures.render import RenderOptions, render_clip
from preprocess.datasets.gestures.signals import NAMES, monotone_cubic, poses
from preprocess.datasets.gestures.subject import draw_subject

SMALL = RenderOptions(subjects=2, size=32, frames=6, gestures=(4, 17))


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*.mp4"))
    }


def hand_path(gesture: int, subject: int, frames: int = 24, seed: int = 0) -> np.ndarray:
    person = draw_subject(seed, subject)
    return arm_joints(poses(gesture, person, frames), person)[:, :, 3]


def test_there_are_24_different_names():
    assert len(set(NAMES)) == len(NAMES) == 24


def test_bytes_depend_on_the_seed_and_not_on_workers(tmp_path):
    render_dataset(tmp_path / "one", SMALL)
    render_dataset(tmp_path / "again", SMALL)
    render_dataset(tmp_path / "two", SMALL, workers=2)
    render_dataset(tmp_path / "other", replace(SMALL, seed=1))
    one = digests(tmp_path / "one")
    assert len(one) == 4
    assert one == digests(tmp_path / "again") == digests(tmp_path / "two")
    assert not set(one.values()) & set(digests(tmp_path / "other").values())


@pytest.mark.parametrize("repetition", [1, 2])
def test_every_gesture_of_a_subject_starts_with_the_same_frame(repetition):
    options = RenderOptions(size=32, frames=2, camera_px=3.0)
    first = [render_clip(gesture, 5, repetition, options)[0] for gesture in range(1, 25)]
    for frame in first:
        np.testing.assert_array_equal(frame, first[0])


def test_gestures_leave_the_first_frame_behind():
    for gesture in range(1, 25):
        path = hand_path(gesture, 1)
        assert np.abs(path - path[0]).max() > 0.15, NAMES[gesture - 1]


def test_hand_paths_are_pairwise_distinct():
    paths = [hand_path(gesture, 1) for gesture in range(1, 25)]
    for (i, one), (j, other) in itertools.combinations(enumerate(paths), 2):
        distance = np.linalg.norm(one - other, axis=-1).max(axis=1).mean()
        assert distance > 0.05, (NAMES[i], NAMES[j])


def test_turns_mirror_each_other():
    person = replace(draw_subject(0, 1), neck=(0.5, 0.44))
    left, right = (arm_joints(poses(gesture, person, 16), person) for gesture in (13, 14))
    mirrored = left[:, ::-1] * [-1, 1] + [1, 0]
    np.testing.assert_allclose(mirrored, right, atol=1e-12)


def test_arms_stay_inside_the_frame():
    for subject in range(1, 61):
        person = draw_subject(123, subject)
        for gesture in range(1, 25):
            joints = arm_joints(poses(gesture, person, 48), person)
            assert joints.min() > 0.01, (subject, NAMES[gesture - 1])
            assert joints.max() < 0.99, (subject, NAMES[gesture - 1])


def test_poses_move_smoothly():
    person = draw_subject(0, 1)
    for gesture in range(1, 25):
        path = arm_joints(poses(gesture, person, 480), person)
        steps = np.linalg.norm(np.diff(path, axis=0), axis=-1)
        assert steps.max() < 0.03, NAMES[gesture - 1]


def test_interpolation_meets_its_keys_and_never_overshoots():
    rng = np.random.default_rng(0)
    times, values = np.cumsum(rng.uniform(0.1, 1, 9)), rng.normal(size=(9, 3))
    np.testing.assert_allclose(monotone_cubic(times, values, times), values)
    for index in range(8):
        within = monotone_cubic(times, values, np.linspace(times[index], times[index + 1], 50))
        low, high = np.sort(values[index : index + 2], axis=0)
        assert np.all((within >= low - 1e-12) & (within <= high + 1e-12))


def test_video_decodes_as_asked(tmp_path):
    options = RenderOptions(size=48, fps=25, frames=9)
    frames = render_clip(3, 2, 1, options)
    assert frames.shape == (9, 48, 48, 3)
    assert frames.dtype == np.uint8
    path = tmp_path / "clip.mp4"
    write_video(path, frames, options.fps, options.crf)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoded = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(stream)])
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 25)
        assert stream.codec_context.pix_fmt == "yuv420p"
    assert decoded.shape == frames.shape
    assert np.abs(decoded.astype(int) - frames).mean() < 6
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip.mp4"]


def test_noise_and_camera_change_frames_by_what_they_say():
    options = RenderOptions(size=64, frames=8)
    plain = render_clip(20, 1, 1, options).astype(int)
    noisy = render_clip(20, 1, 1, replace(options, noise_sigma=4.0))
    grey = (plain > 30) & (plain < 225)
    assert 3.8 < (noisy - plain)[grey].std() < 4.2
    moved = render_clip(20, 1, 1, replace(options, camera_px=4.0))
    np.testing.assert_array_equal(moved[0], plain[0])
    # The static corners show that the whole scene moves.
    assert np.abs(moved[4:, :8, :8] - plain[4:, :8, :8]).max() > 0
    np.testing.assert_array_equal(plain[4:, -4:, :4], plain[:4, -4:, :4])


def test_a_second_run_renders_only_what_is_missing(tmp_path):
    counts: list[int] = []
    first = render_dataset(tmp_path, SMALL, on_video=counts.append)
    assert (first.videos, first.rendered, first.skipped) == (4, 4, 0)
    assert counts == [1, 2, 3, 4]
    before = digests(tmp_path)
    again = render_dataset(tmp_path, SMALL)
    assert (again.rendered, again.skipped) == (0, 4)
    grown = render_dataset(tmp_path, replace(SMALL, subjects=3, repetitions=2))
    assert (grown.videos, grown.rendered, grown.skipped) == (12, 8, 4)
    assert before.items() <= digests(tmp_path).items()
    assert json.loads((tmp_path / "render.json").read_text())["subjects"] == 3


def test_other_options_are_refused(tmp_path):
    render_dataset(tmp_path, replace(SMALL, subjects=1))
    with pytest.raises(
        ValueError, match=r"crf \(there 16, wanted 20\), seed \(there 0, wanted 9\)"
    ):
        render_dataset(tmp_path, replace(SMALL, crf=20, seed=9))


def test_names_carry_label_subject_and_repetition(tmp_path):
    for numbers in ((1, 1, 1), (24, 20, 3), (7, 123, 100)):
        path = video_path(tmp_path, *numbers)
        match = re.fullmatch(r"g(\d+)s(\d+)r(\d+)", path.stem)
        assert match is not None
        assert tuple(map(int, match.groups())) == numbers
    assert video_path(tmp_path, 1, 1, 1) == tmp_path / "gesture01" / "g01s01r01.mp4"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("subjects", 0),
        ("noise_sigma", float("nan")),
        ("camera_px", 100.0),
        ("gestures", (0, 1)),
        ("gestures", (2, 2)),
        ("gestures", ()),
    ],
)
def test_options_out_of_range_name_parameter_and_value(name, value):
    with pytest.raises(ValueError, match=f"{name} is {re.escape(str(value))}; allowed"):
        replace(RenderOptions(), **{name: value})


def test_depth_shows_the_same_clip_in_the_greys_of_its_layers():
    """Where a hand, the nearest, moved to, depth rose; a still backdrop is black throughout."""
    colours = replace(SMALL, size=64, camera_px=2.0)
    depth = replace(colours, depth=True, noise_sigma=9.0)
    clip, layers = (render_clip(4, 1, 1, options).astype(int) for options in (colours, depth))
    assert (layers == layers[..., :1]).all(), "grey"
    levels, counts = np.unique(layers[..., 0], return_counts=True)
    common = set(levels[counts > 300].tolist())
    assert {BACKDROP, BODY, HEAD, ARM} <= common
    assert levels.max() == HAND
    moved = np.abs(np.diff(layers[..., 0], axis=0)) > 60
    changed = np.abs(np.diff(clip, axis=0)).max(axis=-1)
    assert moved.any()
    assert changed[moved].mean() > 10 * changed[~moved].mean()


def test_a_data_set_that_is_older_than_an_option_is_completed(tmp_path):
    render_dataset(tmp_path, SMALL)
    record = json.loads((tmp_path / "render.json").read_text())
    del record["depth"]
    (tmp_path / "render.json").write_text(json.dumps(record))
    assert render_dataset(tmp_path, SMALL).rendered == 0
    with pytest.raises(ValueError, match=r"depth \(there False, wanted True\)"):
        render_dataset(tmp_path, replace(SMALL, depth=True))


def test_odd_sizes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"size is 65.*even.*64 or 66"):
        RenderOptions(size=65)
    with pytest.raises(ValueError, match=r"32x31.*even"):
        write_video(tmp_path / "odd.mp4", np.zeros((2, 31, 32, 3), np.uint8), 20, 16)
    assert not list(tmp_path.iterdir())


def test_workers_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="workers is 0"):
        render_dataset(tmp_path, SMALL, workers=0)
