"""From high dynamic range (PQ, HLG) and wide gamut (BT.2020) to the SDR of all other videos.

Light of 203 cd/m², the reference white of ITU-R BT.2408, becomes SDR white. Up to 1,000 cd/m²,
brighter light is compressed by the curve of ITU-R BT.2390, 5.4.1, applied to the largest of R, G
and B, so that hues stay; beyond, it is cut off. Colours outside BT.709 are cut off too.
"""

from __future__ import annotations

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorTrc
from numpy.typing import NDArray

WHITE_NITS, PEAK_NITS = 203.0, 1000.0
"""SDR white, and the brightest light that is kept apart from brighter light, cd/m²."""

PQ_CONSTANTS = (2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128)
"""m1, m2, c1, c2 and c3 of SMPTE ST 2084."""

HLG_CONSTANTS = (0.17883277, 0.28466892, 0.55991073)
"""a, b and c of ITU-R BT.2100, table 5."""

HLG_GAMMA = 1.2
"""Gamma of the HLG system for a display of 1,000 cd/m², BT.2100, table 5, note 5f."""

LUMA_2020 = (0.2627, 0.6780, 0.0593)
"""Weights of R, G and B in the luminance of BT.2020."""

TO_BT709 = ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187))
"""Matrix from linear BT.2020 to linear BT.709, ITU-R BT.2087-0, annex 2."""

DISPLAY_GAMMA = 2.4
"""Gamma of an SDR display, ITU-R BT.1886."""

_ROWS_AT_ONCE = 64


def describe_hdr(frame: VideoFrame) -> str:
    """Name what makes a frame HDR or of wide gamut; empty if it is neither."""
    return describe_colour(frame.color_trc, frame.color_primaries)


def describe_colour(transfer: int, primaries: int) -> str:
    """Name what numbers of H.273 for transfer and primaries mean, as `describe_hdr`."""
    if transfer == ColorTrc.SMPTE2084:
        return "high dynamic range (PQ)"
    if transfer == ColorTrc.ARIB_STD_B67:
        return "high dynamic range (HLG)"
    return "wide gamut (BT.2020)" if primaries == ColorPrimaries.BT2020 else ""


class HdrMapper:
    """Maps RGB of 16 bits to SDR of 8 bits, for frames of one transfer and gamut."""

    def __init__(self, frame: VideoFrame) -> None:
        """Prepare for frames with the colours of this one."""
        self._hlg = frame.color_trc == ColorTrc.ARIB_STD_B67
        codes = np.arange(1 << 16) / ((1 << 16) - 1)
        self._dynamic = self._hlg or frame.color_trc == ColorTrc.SMPTE2084
        if self._hlg:
            self._light = _hlg_scene(codes)
        else:
            self._light = pq_to_nits(codes) if self._dynamic else codes**DISPLAY_GAMMA
        named = frame.color_primaries
        wide = named == ColorPrimaries.BT2020
        wide |= self._dynamic and named == ColorPrimaries.UNSPECIFIED
        self._matrix = np.array(TO_BT709) if wide else np.eye(3)

    def __call__(self, rgb: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """Map a picture: uint16, shape (H, W, 3), to uint8 of the same shape."""
        mapped = np.empty(rgb.shape, np.uint8)
        for top in range(0, len(rgb), _ROWS_AT_ONCE):  # memory stays small for whole frames
            mapped[top : top + _ROWS_AT_ONCE] = self._mapped(rgb[top : top + _ROWS_AT_ONCE])
        return mapped

    def _mapped(self, rgb: NDArray[np.uint16]) -> NDArray[np.uint8]:
        light = self._light[rgb]  # (H, W, 3)
        if self._hlg:
            luminance = light @ np.array(LUMA_2020)
            light *= PEAK_NITS * luminance[..., None] ** (HLG_GAMMA - 1)
        if self._dynamic:
            brightest = light.max(-1, keepdims=True)
            light *= _compress(brightest) / np.maximum(brightest, 1e-9) / WHITE_NITS
        linear = (light @ self._matrix.T).clip(0, 1)
        return np.floor(255 * linear ** (1 / DISPLAY_GAMMA) + 0.5).astype(np.uint8)


def pq_to_nits(code: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light of a PQ signal in [0, 1], cd/m²; SMPTE ST 2084, equation 4.1."""
    m1, m2, c1, c2, c3 = PQ_CONSTANTS
    root = code ** (1 / m2)
    light: NDArray[np.float64] = 1e4 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    return light


def nits_to_pq(nits: NDArray[np.float64]) -> NDArray[np.float64]:
    """PQ signal of light in cd/m²; the inverse of `pq_to_nits`."""
    m1, m2, c1, c2, c3 = PQ_CONSTANTS
    power = (nits / 1e4) ** m1
    signal: NDArray[np.float64] = ((c1 + c2 * power) / (1 + c3 * power)) ** m2
    return signal


def _hlg_scene(code: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scene light in [0, 1] of an HLG signal; BT.2100, table 5, inverse OETF."""
    a, b, c = HLG_CONSTANTS
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)


def _compress(nits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light that an SDR display shows for light up to the peak; BT.2390, 5.4.1, step 2."""
    peak, white = nits_to_pq(np.array([PEAK_NITS, WHITE_NITS]))
    signal = np.minimum(nits_to_pq(nits) / peak, 1)
    most = white / peak
    knee = 1.5 * most - 0.5
    t = (signal - knee).clip(0) / (1 - knee)
    bent = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (-2 * t**3 + 3 * t**2) * most
    )
    return np.where(signal < knee, np.minimum(nits, PEAK_NITS), pq_to_nits(bent * peak))
