"""Render a clip of the embedded data set as an array, from options."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from preprocess.datasets.gestures.canvas import Canvas
from preprocess.datasets.gestures.figure import arm_joints, draw_body, draw_moving
from preprocess.datasets.gestures.signals import SIGNALS, poses
from preprocess.datasets.gestures.subject import Colour, Scene, Subject, draw_subject, shaded

# Kept apart from the streams that draw subjects and their repetitions.
_CAMERA_STREAM, _NOISE_STREAM = 1, 2
# Fraction of the camera's movement that pans; the rest zooms.
_PAN_FRACTION = 0.7

# Backdrops reach beyond the frame, for a moving camera.
_FAR = 0.5

_RANGES: dict[str, tuple[float, float]] = {
    "subjects": (1, 9999),
    "repetitions": (1, 9999),
    "outfits": (0, 9999),
    "size": (32, 1024),
    "fps": (1, 120),
    "frames": (2, 10000),
    "seed": (0, 2**63 - 1),
    "noise_sigma": (0.0, 64.0),
    "camera_px": (0.0, 64.0),
    "crf": (0, 51),
}


@dataclass(frozen=True)
class RenderOptions:
    """Options of the data set; two equal ones give the same bytes with the same libraries.

    `size` is the side of the square picture in pixels, even as yuv420p needs. `noise_sigma` is the
    standard deviation of Gaussian sensor noise in grey levels, `camera_px` how many pixels a slow
    camera movement may shift any point. `outfits` is how many sets of clothes and surroundings the
    subjects share, 0 for one each. `gestures` selects signals by number, None all of them;
    `crf` is x264's constant rate factor, 0 for lossless. `depth` shows the same clips as layers,
    from black, the far backdrop, to white, the near hands. Raises ValueError on a value out of
    range.
    """

    subjects: int = 20
    repetitions: int = 1
    size: int = 128
    fps: int = 20
    frames: int = 48
    seed: int = 0
    noise_sigma: float = 0.0
    camera_px: float = 0.0
    outfits: int = 0
    gestures: tuple[int, ...] | None = None
    crf: int = 16
    depth: bool = False

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            _require_within(name, getattr(self, name), low, high)
        if self.size % 2:
            raise ValueError(
                f"size is {self.size}; H.264 in yuv420p needs an even size: "
                f"use {self.size - 1} or {self.size + 1}"
            )
        if self.gestures is not None:
            _require_gestures(self.gestures)

    @property
    def gesture_numbers(self) -> tuple[int, ...]:
        """The selected signals' numbers, counted from 1."""
        return self.gestures or tuple(range(1, len(SIGNALS) + 1))


def _require_within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(
            f"{name} is {value}; allowed is {low} to {high}: give a value in that range"
        )


def _require_gestures(gestures: tuple[int, ...]) -> None:
    known = range(1, len(SIGNALS) + 1)
    unknown = [number for number in gestures if number not in known]
    if unknown or not gestures or len(set(gestures)) < len(gestures):
        raise ValueError(
            f"gestures is {gestures}; allowed are different numbers from 1 to {len(SIGNALS)}, "
            "at least one: correct the list, or give None for all"
        )


class Camera(NamedTuple):
    """Pan to the right and down and zoom at the picture's edge, in pixels, each (T,)."""

    right: NDArray[np.float64]
    down: NDArray[np.float64]
    zoom: NDArray[np.float64]


def render_clip(
    gesture: int, subject: int, repetition: int, options: RenderOptions
) -> NDArray[np.uint8]:
    """Frames of one video, (T, H, W, 3) uint8 RGB; all three numbers count from 1."""
    person = draw_subject(options.seed, subject, repetition, options.outfits)
    stream = [options.seed, subject, repetition, gesture]
    camera = _camera_path(options, np.random.default_rng([*stream, _CAMERA_STREAM]))
    frames = _draw_frames(gesture, person, camera, options)
    if options.noise_sigma == 0 or options.depth:
        return frames
    return _with_noise(frames, options.noise_sigma, np.random.default_rng([*stream, _NOISE_STREAM]))


def _draw_frames(
    gesture: int, person: Subject, camera: Camera, options: RenderOptions
) -> NDArray[np.uint8]:
    supersampling = _supersampling(options.size)
    margin = math.ceil(options.camera_px)
    still = Canvas.blank(options.size, supersampling, margin, depth=options.depth)
    draw_backdrop(still, person.scene)
    draw_body(still, person)
    movement = poses(gesture, person, options.frames)
    joints = arm_joints(movement, person)
    frames = np.empty((options.frames, options.size, options.size, 3), np.uint8)
    for index in range(options.frames):
        canvas = still.copy()
        draw_moving(canvas, movement[index], joints[index], person)
        frames[index] = _view(canvas, camera, index, options.size, supersampling)
    return frames


def _supersampling(size: int) -> int:
    """Samples per pixel and axis: fewer for large pictures, whose edges need less smoothing."""
    return 4 if size <= 96 else 3 if size <= 192 else 2


def _view(
    canvas: Canvas, camera: Camera, index: int, size: int, supersampling: int
) -> NDArray[np.uint8]:
    """View of the camera on the canvas: a window at sub-pixel position, averaged down."""
    centre = canvas.margin + canvas.unit / 2
    x = centre + camera.right[index] * supersampling
    y = centre + camera.down[index] * supersampling
    half = canvas.unit / 2 - camera.zoom[index] * supersampling
    window = (x - half, y - half, x + half, y + half)
    return np.asarray(canvas.image.resize((size, size), Image.Resampling.BOX, box=window))


def _camera_path(options: RenderOptions, rng: np.random.Generator) -> Camera:
    """Slow sines from zero, so that a clip starts on the unmoved picture."""
    when = np.linspace(0, 2 * np.pi, options.frames)
    right, down, zoom = np.sin(when * rng.uniform(0.3, 0.8, (3, 1)))
    bearing = rng.uniform(0, 2 * np.pi)
    pan = options.camera_px * _PAN_FRACTION
    return Camera(
        right * pan * np.cos(bearing),
        down * pan * np.sin(bearing),
        zoom * (options.camera_px - pan) * rng.choice([-1.0, 1.0]),
    )


def _with_noise(
    frames: NDArray[np.uint8], sigma: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    noise = rng.standard_normal(frames.shape, dtype=np.float32) * sigma
    return np.clip(np.rint(frames + noise), 0, 255).astype(np.uint8)


def draw_backdrop(canvas: Canvas, scene: Scene) -> None:
    """Fill the canvas with the scene; calm, low contrast, behind the figure."""
    upper, lower, floor = (shaded(colour, scene.brightness) for colour in scene.colours)
    canvas.box(-_FAR, -_FAR, 1 + _FAR, 1 + _FAR, upper)
    canvas.gradient(0.0, scene.horizon, upper, lower)
    canvas.box(-_FAR, scene.horizon, 1 + _FAR, 1 + _FAR, shaded(floor, 0.86))
    canvas.gradient(scene.horizon, 1.0, floor, shaded(floor, 0.86))
    rng = np.random.default_rng(scene.layout_seed)
    _DRAWN[scene.backdrop](canvas, scene.horizon, lower, floor, rng)


def _wall(
    canvas: Canvas, horizon: float, wall: Colour, floor: Colour, rng: np.random.Generator
) -> None:
    canvas.box(-_FAR, horizon - 0.025, 1 + _FAR, horizon, shaded(wall, 0.82))
    for x in (rng.uniform(0.0, 0.2), rng.uniform(0.8, 1.0)):
        canvas.box(x - 0.003, -_FAR, x + 0.003, horizon - 0.025, shaded(wall, 0.93))


def _carrier(
    canvas: Canvas, horizon: float, sky: Colour, deck: Colour, rng: np.random.Generator
) -> None:
    sea = (shaded(sky, 0.62)[0], shaded(sky, 0.72)[1], shaded(sky, 0.8)[2])
    canvas.box(-_FAR, horizon - 0.07, 1 + _FAR, horizon, sea)
    canvas.box(-_FAR, horizon - 0.006, 1 + _FAR, horizon + 0.006, shaded(deck, 0.7))
    side = rng.choice([0.1, 0.9])
    island = shaded(sky, 0.78)
    canvas.box(side - 0.09, horizon - 0.2, side + 0.09, horizon, island)
    canvas.box(side - 0.05, horizon - 0.28, side + 0.04, horizon - 0.2, island)
    canvas.box(side - 0.008, horizon - 0.4, side + 0.008, horizon - 0.28, island)
    stripe = shaded(deck, 1.22)
    x = rng.uniform(0.15, 0.85)
    canvas.polygon(
        ((x, horizon), (x + 0.015, horizon), (x * 2 - 0.35, 1.4), (x * 2 - 0.47, 1.4)), stripe
    )


def _hangar(
    canvas: Canvas, horizon: float, wall: Colour, floor: Colour, rng: np.random.Generator
) -> None:
    panels = int(rng.integers(5, 8))
    for index in range(-2, panels + 3):
        x = (index + 0.5) / panels
        canvas.box(x - 0.004, -_FAR, x + 0.004, horizon, shaded(wall, 0.9))
    canvas.box(-_FAR, -_FAR, 1 + _FAR, rng.uniform(0.06, 0.12), shaded(wall, 0.8))
    canvas.box(-_FAR, horizon - 0.012, 1 + _FAR, horizon, shaded(wall, 0.72))
    canvas.box(-_FAR, horizon + 0.08, 1 + _FAR, horizon + 0.095, shaded(floor, 1.18))


def _airfield(
    canvas: Canvas, horizon: float, sky: Colour, floor: Colour, rng: np.random.Generator
) -> None:
    hills = np.linspace(-_FAR, 1 + _FAR, 9)
    ridge = [(x, horizon - rng.uniform(0.02, 0.09)) for x in hills]
    canvas.polygon([(-_FAR, horizon), *ridge, (1 + _FAR, horizon)], shaded(sky, 0.84))
    _parked_jet(canvas, float(rng.choice([0.14, 0.86])), horizon, shaded(sky, 0.66))
    canvas.box(-_FAR, horizon - 0.004, 1 + _FAR, horizon + 0.004, shaded(floor, 0.85))


def _parked_jet(canvas: Canvas, x: float, ground: float, colour: Colour) -> None:
    facing = 1.0 if x < 0.5 else -1.0
    body = ((-0.16, -0.07), (0.1, -0.085), (0.19, -0.05), (0.1, -0.035), (-0.16, -0.035))
    tail = ((-0.16, -0.06), (-0.17, -0.15), (-0.12, -0.15), (-0.06, -0.07))
    for shape in (body, tail):
        canvas.polygon([(x + facing * dx, ground + dy) for dx, dy in shape], colour)
    for wheel in (-0.07, 0.09):
        canvas.disc((x + facing * wheel, ground - 0.012), 0.014, colour)


_DRAWN: dict[str, Callable[[Canvas, float, Colour, Colour, np.random.Generator], None]] = {
    "wall": _wall,
    "carrier": _carrier,
    "hangar": _hangar,
    "airfield": _airfield,
}
