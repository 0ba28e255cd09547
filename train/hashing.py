"""Which weights these are."""

from __future__ import annotations

import hashlib

from torch import nn


def weights_hash(network: nn.Module) -> str:
    """Short hash of a network's weights, names and shapes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
