"""The upper bound: real clips, encoded and decoded; the paper's Table 2."""

from train.protocols.base import Protocol

PROTOCOL = Protocol(
    name="reconstruction",
    follows="D-VDM's Table 2: R-FVD of 2,048 restored test clips; PSNR and SSIM of 100 clips of 16"
    " frames, with and without the given first frame, which it does not say",
    count=2048,
    real=2048,
    frames=16,
    frame_clips=100,
    reconstruct=True,
)
