"""From options to pictures: one clip as an array."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from preprocess.datasets.gestures.backdrop import draw_backdrop
from preprocess.datasets.gestures.canvas import Canvas
from preprocess.datasets.gestures.figure import arm_joints, draw_body, draw_moving
from preprocess.datasets.gestures.motion import poses
from preprocess.datasets.gestures.options import RenderOptions
from preprocess.datasets.gestures.subject import Subject, draw_subject

# Kept apart from the streams that draw subjects and their repetitions.
_CAMERA_STREAM, _NOISE_STREAM = 1, 2
# Share of the camera's movement that pans; the rest zooms.
_PAN_SHARE = 0.7


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
    if options.noise_sigma == 0:
        return frames
    return _with_noise(frames, options.noise_sigma, np.random.default_rng([*stream, _NOISE_STREAM]))


def _draw_frames(
    gesture: int, person: Subject, camera: Camera, options: RenderOptions
) -> NDArray[np.uint8]:
    supersampling = _supersampling(options.size)
    still = Canvas.blank(options.size, supersampling, math.ceil(options.camera_px))
    draw_backdrop(still, person.scene)
    draw_body(still, person)
    movement = poses(gesture, person, options.frames)
    joints = arm_joints(movement, person)
    frames = np.empty((options.frames, options.size, options.size, 3), np.uint8)
    for index in range(options.frames):
        canvas = still.copy()
        draw_moving(canvas, movement[index], joints[index], person)
        frames[index] = _seen(canvas, camera, index, options.size, supersampling)
    return frames


def _supersampling(size: int) -> int:
    """Samples per pixel and axis: fewer for large pictures, whose edges need less smoothing."""
    return 4 if size <= 96 else 3 if size <= 192 else 2


def _seen(
    canvas: Canvas, camera: Camera, index: int, size: int, supersampling: int
) -> NDArray[np.uint8]:
    """The canvas as the camera sees it: a window at sub-pixel position, averaged down."""
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
    pan = options.camera_px * _PAN_SHARE
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
