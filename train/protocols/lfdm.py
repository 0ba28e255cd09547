"""LFDM's: Ni et al., CVPR 2023, and what its authors say in their repository (#3, #36)."""

from train.protocols.base import Protocol

PROTOCOL = Protocol(
    name="lfdm",
    follows="LFDM (Ni et al. 2023): 10,000 generated videos of 40 frames for people who are not in"
    " the training split; standard deviation over groups, as its authors say (their paper says"
    " variance)",
    count=10_000,
    real=10_000,
    frames=40,
    split="subjects",
    grouped=True,
)
