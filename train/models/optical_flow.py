"""Estimators of dense optical flow between two frames: pseudo-labels, never trained here.

Flow at a pixel of a frame says where that pixel is in the other one: `warp(other, flow)` restores
the frame. So a backward flow, sampled at the frame that is to be made.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import UserError

_SIDE_PX = 128
"""Smaller frames are enlarged to this side at least: estimators search a pyramid of sizes."""


class FlowEstimator(ABC):
    """Finds flow between frames.

    Attributes:
        identity: names the method and, where it has weights, their hash.
    """

    identity: str

    def __call__(self, frames: Tensor, others: Tensor) -> Tensor:
        """Flow from `frames` into `others`.

        Args:
            frames: uint8, shape (N, 3, H, W).
            others: likewise.

        Returns:
            Float32, pixels, x to the right and y down, shape (N, 2, H, W).
        """
        factor = max(1, -(-_SIDE_PX // min(frames.shape[-2:])))
        size = [side * factor for side in frames.shape[-2:]]
        large = (F.interpolate(x.float(), size, mode="bicubic") for x in (frames, others))
        found = self.estimate(*(x.clamp(0, 255) for x in large))  # (N, 2, factor H, factor W)
        return F.avg_pool2d(found, factor) / factor

    @abstractmethod
    def estimate(self, frames: Tensor, others: Tensor) -> Tensor:
        """Flow (N, 2, H, W) between frames of grey levels, float, sides of 128 pixels or more."""


class DisFlow(FlowEstimator):
    """Dense inverse search (Kroeger et al. 2016), OpenCV's, preset medium; it has no weights.

    Raises:
        UserError: OpenCV is not installed.
    """

    def __init__(self) -> None:
        try:
            import cv2
        except ModuleNotFoundError:
            raise UserError(
                "flow=dis needs OpenCV: pip install 'dvdm[movideo]'; flow=store takes the store's"
                " own vectors"
            ) from None
        self._cv2: Any = cv2
        self.identity = "dis"

    def estimate(self, frames: Tensor, others: Tensor) -> Tensor:
        """Flow between the frames' luma, as many pairs at a time as there are cores."""
        self._cv2.setNumThreads(1)  # it searches in as many stripes as threads, and cuts at them
        weights = torch.tensor([0.299, 0.587, 0.114], device=frames.device)
        lumas = (
            torch.einsum("nchw,c->nhw", x, weights).round().byte().cpu().numpy()
            for x in (frames, others)
        )
        with ThreadPoolExecutor() as pool:  # OpenCV lets other threads run
            found = list(pool.map(self._between, *lumas))
        return torch.from_numpy(np.stack(found)).movedim(-1, 1).to(frames.device)

    def _between(self, frame: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float32]:
        # A search holds buffers that two threads must not share.
        search = self._cv2.DISOpticalFlow_create(self._cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        found: NDArray[np.float32] = search.calc(frame, other, None)
        return found
