"""The paper's: Shen et al., AAAI 2024, "Metrics"."""

from train.protocols.base import Protocol

PROTOCOL = Protocol(
    name="dvdm",
    follows="D-VDM (Shen et al. 2024): 2,048 random real and as many generated clips of 16 frames,"
    " random split; first frames and texts are drawn from those real clips, which it does not say",
    count=2048,
    real=2048,
    frames=16,
    split="random",
    grouped=True,
)
