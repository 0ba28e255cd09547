"""BAIR robot pushing: one conditioning frame, 15 predicted."""

from train.protocols.base import Protocol

PROTOCOL = Protocol(
    name="bair",
    follows="BAIR as video prediction has it: the first frame of each of 256 test trajectories, 100"
    " samples of each; the average and the best of N, with and without the given frame, because"
    " papers differ; FVD on all 16 frames, real windows at random offsets as in StyleGAN-V",
    count=256,
    samples=100,
    real=2048,
    start="first",
    frames=16,
)
