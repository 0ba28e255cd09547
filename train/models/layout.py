"""What a label does where and when: a learned map over the clip, an addition of ours.

Embeddings that scale and shift whole channels tell a convolution what is asked, but not where:
that a label raises the right hand in frame 9 must grow out of many layers. Here the label's
embedding becomes a map of features over frames and cells, which stands beside the noisy target as
the first frame's features do.
"""

from __future__ import annotations

from torch import Tensor, nn


class LabelLayout(nn.Module):
    """A linear map from a label's embedding to features of every cell of every frame.

    Args:
        label_dim: numbers in a label's embedding.
        channels: features C of a cell.
        shape: (T, h, w) of the target.
    """

    def __init__(self, label_dim: int, channels: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        time, height, width = shape
        self.shape = (channels, *shape)
        self.table = nn.Linear(label_dim, channels * time * height * width)

    def forward(self, label: Tensor) -> Tensor:
        """(B, label_dim) to (B, C, T, h, w)."""
        return self.table(label).unflatten(1, self.shape)
