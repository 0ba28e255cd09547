"""What to render: counts, picture format, seed and disturbances."""

from dataclasses import dataclass

from preprocess.datasets.gestures.signals import SIGNALS

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
    `crf` is x264's constant rate factor, 0 for lossless. Raises ValueError on a value out of range.
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
