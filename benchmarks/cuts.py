"""Clips with scene cuts: precision and recall of `--cuts skip` and of PySceneDetect's detectors.

Run `python -m benchmarks.cuts`; it prints the tables of docs/benchmarks.md. PySceneDetect is
optional: `pip install scenedetect opencv-python-headless`.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from importlib.util import find_spec
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks import clips
from benchmarks.measure import cpu_seconds, least_in_turn, machine
from preprocess.datasets.gestures.render import RenderOptions, render_clip
from preprocess.executor import ExecutorOptions
from preprocess.frames.geometry import Geometry
from preprocess.motion.cuts import find_transition
from preprocess.options import codec_options
from preprocess.pipeline import Extraction, run
from preprocess.records import DecodeError
from preprocess.sources.video import decode
from preprocess.steps.extract import mean_motion
from shared.console import Progress
from shared.manifest import load_manifest

SIZE, FRAMES, PART = 128, 16, 24
"""Sides of all frames; frames of a clip; frames of each part of a joined video."""

Transition = tuple[int, int]
"""First frame that shows another scene, and first that shows it alone: the same one for a cut."""

KNOWN: dict[str, list[Transition]] = {
    "bikes_scene_cuts.mp4": [(30, 30), (76, 76), (137, 137), (187, 187), (242, 242)],
    "bbb_mvx_h264_720p.mp4": [(210, 210), (324, 324)],
    "bbb_1080p60.mp4": [(21, 21)],
    "nasa_13013.mp4": [(150, 179), (240, 240)],
}
"""Transitions in real clips: nine cuts and a dissolve."""

OTHERS = (
    "chaplin.mp4", "sam2_cups.mp4", "sam2_bedroom.mp4", "phone_fire_rot180_vfr.mp4",
    "realshort_odd_fps.mp4", "persons_one_by_one.mp4", "head_pose_female.gif", "bbb_vp8.webm",
    "traffic_msmpeg4v2.avi", "traffic_48x48_raw_bgr24.avi", "moving_dot_vp9_alpha.webm",
    "testpattern_mpeg1.mpg", "testsrc_bt601_full_range.mp4",
)  # fmt: skip
"""Real clips of one scene, besides the people who sign."""

Frames = NDArray[np.uint8]
Video = tuple[Frames, list[Transition]]
"""Frames, shape (T, 3, H, W), and the transitions between scenes."""

Detector = Callable[[Frames], list[bool]]
"""Tells of each clip of a video whether it spans a transition."""


def whole(path: Path) -> Frames:
    """All frames of a video, or those before damage."""
    frames = []
    try:
        for _, frame in decode(path, range(10**6), Geometry(SIZE)):
            frames.append(frame)
    except DecodeError:
        pass  # it has fewer frames than were asked for
    return np.stack(frames)


def real() -> list[Video]:
    """Real clips; none if DVDM_TEST_CLIPS is not set."""
    folder = os.environ.get("DVDM_TEST_CLIPS")
    if not folder:
        return []
    videos = [Path(folder, "clips", name) for name in (*KNOWN, *OTHERS)] + clips.real_people()
    return [(whole(path), KNOWN.get(path.name, [])) for path in videos]


def gestures(camera_px: float = 3) -> Iterator[Frames]:
    """Rendered gestures, each by another person."""
    options = RenderOptions(size=SIZE, frames=PART, noise_sigma=2, camera_px=camera_px)
    for number in range(1, 25):
        yield render_clip(number, number, 1, options).transpose(0, 3, 1, 2)


def joined(videos: list[Video]) -> list[Video]:
    """Parts of different videos, real and rendered in turn, one after another."""
    single = [frames for frames, cuts in videos if not cuts and len(frames) >= PART]
    parts = [frames[start : start + PART] for frames in single for start in (0, len(frames) // 2)]
    others = islice(cycle(parts), 24) if parts else ()
    in_turn = [part for pair in zip(gestures(), others, strict=False) for part in pair]
    video = np.concatenate([part for part in in_turn or list(gestures()) if len(part) == PART])
    return [(video, [(n, n) for n in range(PART, len(video), PART)])]


def mixed(length: int, *, black: bool) -> Iterator[Video]:
    """Every gesture dissolves into the next one, or fades to black."""
    for one, two in pairwise(gestures()):
        weight = np.clip((np.arange(PART) - 4) / length, 0, 1)[:, None, None, None]
        last = np.zeros_like(two) if black else two
        video = np.rint((1 - weight) * one + weight * last).astype(np.uint8)
        yield video, [(5, 4 + length)]


def flashes() -> Iterator[Video]:
    """Two frames of every gesture are nearly white."""
    for video in gestures():
        flash = video.copy()
        flash[9:11] = 255 - (255 - flash[9:11]) // 8
        yield flash, []


def pans() -> Iterator[Video]:
    """A camera pans fast over every gesture's first frame, 8 pixels a frame at 128."""
    for video in gestures():
        wide = np.concatenate([video[0], video[0, :, :, ::-1], video[0]], axis=2)  # (3, H, 3 W)
        panned = [wide[:, :, 8 * n : 8 * n + SIZE] for n in range(PART)]
        yield np.stack(panned), []


def starts(video: Frames) -> range:
    return range(0, len(video) - FRAMES + 1, FRAMES)


def truth(video: Video) -> list[bool]:
    """Clips that hold frames of both sides of a transition, or of its middle."""
    frames, transitions = video
    return [
        any(first < start + FRAMES and start < alone for first, alone in transitions)
        for start in starts(frames)
    ]


def ours(video: Frames) -> list[bool]:
    return [find_transition(video[s : s + FRAMES]) is not None for s in starts(video)]


def peer(name: str) -> Detector:
    """One of PySceneDetect's detectors with its defaults, on a lossless file of the same frames."""
    import scenedetect

    def detect(video: Frames) -> list[bool]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "v.mkv")
            write(path, video)
            scenes: Any = scenedetect.detect(str(path), getattr(scenedetect, name)())
        cuts = [start.frame_num for start, _ in scenes[1:]]
        return [any(s < cut < s + FRAMES for cut in cuts) for s in starts(video)]

    return detect


def write(path: Path, video: Frames) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(25))
        stream.height, stream.width, stream.pix_fmt = *video.shape[2:], "bgr0"
        for number, picture in enumerate(video.transpose(0, 2, 3, 1)):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def score(detector: Detector, videos: list[Video]) -> str:
    """Precision and recall, or clips wrongly left out where none should be."""
    pairs = [
        pair for video in videos for pair in zip(truth(video), detector(video[0]), strict=True)
    ]
    right, found = sum(t and f for t, f in pairs), sum(f for _, f in pairs)
    spanning = sum(t for t, _ in pairs)
    if not spanning:
        return f"{found} wrong"
    precision = f"{100 * right / found:.0f}" if found else "–"
    return f"{precision} / {100 * right / spanning:.0f}"


def extraction_seconds(root: Path) -> float:
    """CPU seconds of an extraction in this process that leaves out no clip."""
    manifest = load_manifest("folder")
    options = codec_options(manifest, {})
    with tempfile.TemporaryDirectory() as folder:
        task = Extraction(manifest, root, Path(folder, "store"), options, ExecutorOptions())
        return cpu_seconds(lambda: run(task, Progress()))


def costs() -> dict[str, float]:
    """CPU seconds a clip of an extraction without choice, and of both ways to choose."""
    files = clips.real_people() or clips.gesture_videos(Path("data/gestures"))
    videos = [whole(file) for file in files]
    windows = [video[s : s + FRAMES] for video in videos for s in starts(video)]
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            shutil.copy(file, folder)
        measures: dict[str, Callable[[], float]] = {
            "extraction": lambda: extraction_seconds(Path(folder)),
            "`--cuts skip`": lambda: cpu_seconds(lambda: [*map(find_transition, windows)]),
            "`--min-motion`, `--max-motion`": lambda: cpu_seconds(
                lambda: [*map(mean_motion, windows)]
            ),
        }
        seconds = least_in_turn(3, *measures.values())
    return {name: taken / len(windows) for name, taken in zip(measures, seconds, strict=True)}


def main() -> None:
    """Print the tables."""
    videos = real()
    sets = {
        "real clips with cuts and a dissolve, and without": videos,
        f"parts of {PART} frames, joined": joined(videos),
        "dissolves of 12 frames": list(mixed(12, black=False)),
        "fades to black of 12 frames": list(mixed(12, black=True)),
        "flashes of 2 frames, no cut": list(flashes()),
        "fast pans, no cut": list(pans()),
    }
    detectors: dict[str, Detector] = {"`--cuts skip`": ours}
    if find_spec("scenedetect"):
        names = ("AdaptiveDetector", "ContentDetector", "HashDetector", "HistogramDetector")
        detectors |= {name: peer(name) for name in names}
    else:
        sys.stderr.write("PySceneDetect is not installed; ours alone\n")
    if not videos:
        sys.stderr.write("DVDM_TEST_CLIPS names no real clips; rendered gestures alone\n")
    print(f"| clips | spanning | {' | '.join(detectors)} |")
    print(f"| --- | --- |{' --- |' * len(detectors)}")
    for name, found in sets.items():
        spans = [spanning for video in found for spanning in truth(video)]
        cells = [score(detector, found) for detector in detectors.values()] if found else ["–"]
        print(f"| {name} | {sum(spans)} of {len(spans)} | {' | '.join(cells)} |", flush=True)
    print(f"\n{machine()}\n\n| CPU a clip of {FRAMES} frames | ms |\n| --- | --- |")
    for name, seconds in costs().items():
        print(f"| {name} | {1000 * seconds:.2f} |")


if __name__ == "__main__":
    main()
