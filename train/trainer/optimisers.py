"""Optimisers: AdamW, or Muon for hidden weights and AdamW for the rest; the weights' average."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import overload

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from train.trainer.distributed import World
from train.trainer.schedule import TrainingOptions

_MUON_RATE = 20.0
"""Muon's learning rate as a multiple of AdamW's: its updates have unit spectral norm."""


class Ema:
    """Exponential moving average of a network's parameters.

    The decay warms up as min(decay, (1 + step) / (10 + step)), so that the first weights do not
    dominate short runs.

    Attributes:
        network: a copy of the network with averaged weights, in evaluation mode.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move the average towards the weights after optimiser step `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        pairs = list(
            zip(self.network.state_dict().values(), network.state_dict().values(), strict=True)
        )
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        averages, values = zip(*floats, strict=True)
        get_ema_multi_avg_fn(decay)(averages, values, step)  # a few kernels for all tensors
        for average, value in pairs:
            if not average.is_floating_point():  # counters, such as those of batch norms
                average.copy_(value)


def make_optimisers(
    network: nn.Module, options: TrainingOptions, world: World
) -> dict[str, torch.optim.Optimizer]:
    """The optimisers that together cover a network's parameters, by name.

    Each parameter group keeps its rate as `full_rate` too, for schedules to scale. All ranks of
    `world` must call it, and step together.
    """
    hidden = hidden_weights(network) if options.optimiser == "muon" else []
    by_muon = {id(weight) for weight in hidden}
    optimisers: dict[str, torch.optim.Optimizer] = {
        "adamw": torch.optim.AdamW(
            [parameter for parameter in network.parameters() if id(parameter) not in by_muon],
            lr=options.learning_rate,
            betas=(options.beta1, options.beta2),
            weight_decay=options.weight_decay,
            fused=True,
        )
    }
    if hidden:
        optimisers["muon"] = Muon(hidden, _MUON_RATE * options.learning_rate, world)
    for optimiser in optimisers.values():
        for group in optimiser.param_groups:
            group["full_rate"] = group["lr"]
    return optimisers


def hidden_weights(network: nn.Module) -> list[Tensor]:
    """Weights of linear and convolution layers, except the network's own `input` and `output`.

    Modules whose attribute `optimiser` is "adamw" are left out. So are embeddings, norms, biases
    and transposed convolutions, which are no matrices from one hidden activation to the next.
    """
    adamw_only = {
        id(inner)
        for module in network.modules()
        if getattr(module, "optimiser", "") == "adamw"
        for inner in module.modules()
    }
    return [
        module.weight
        for name, module in network.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
        and name.split(".")[0] not in ("input", "output")
        and id(module) not in adamw_only
    ]


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalised updates (Muon; Jordan et al. 2024).

    With the singular vectors U, V of the momentum, the update is about U V': all its singular
    values are near one. Five Newton-Schulz steps approximate it.

    torch.optim.Muon would not do: it takes 2-D weights only, and computes in bfloat16, which CPUs
    without such instructions emulate. This one also takes convolution kernels, flattened to
    (outputs, rest), and computes in the weights' own precision. Each rank orthogonalises its share
    of the matrices, and gives it to the others.

    Args:
        parameters: weights of two or more axes.
        lr: learning rate; an update's spectral norm, times sqrt(outputs / inputs) if that is
            above one.
        world: the ranks that train together; weights and gradients must be the same on all.
        momentum: decay of the gradients' running mean; Nesterov.
    """

    def __init__(
        self, parameters: list[Tensor], lr: float, world: World, momentum: float = 0.95
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})
        self._world = world

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every weight that has a gradient; closures are not supported."""
        if closure is not None:
            raise ValueError("Muon takes no closure: compute the gradients before step()")
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            # Every rank keeps all means: a checkpoint is whole, and serves any number of ranks.
            updates = [self._mean(weight, weight.grad, group["momentum"]) for weight in weights]
            owners = share_out([_squares_work(update) for update in updates], self._world.size)
            mine = [
                orthogonalise(update) if owner == self._world.rank else update
                for update, owner in zip(updates, owners, strict=True)
            ]
            for weight, update in zip(weights, self._world.exchange(mine, owners), strict=True):
                stretch = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
                weight.add_(update.view_as(weight), alpha=-group["lr"] * stretch)
        return None

    def _mean(self, weight: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        """Nesterov's running mean of a weight's gradient, shape (outputs, rest)."""
        state = self.state[weight]
        if "mean" not in state:
            state["mean"] = torch.zeros_like(weight)
        mean = state["mean"].lerp_(gradient, 1 - momentum)
        return torch.lerp(gradient, mean, momentum).flatten(1)


def _squares_work(matrix: Tensor) -> int:
    """Multiplications of `orthogonalise`: 17 of squares, two of squares with the matrix."""
    short, long = sorted(matrix.shape)
    return short**2 * (17 * short + 2 * long)


def share_out(work: Sequence[int], ranks: int) -> list[int]:
    """Rank of each piece of work: the largest first, each to the rank that has least so far."""
    load, owners = [0] * ranks, [0] * len(work)
    for piece in sorted(range(len(work)), key=lambda piece: -work[piece]):
        owners[piece] = load.index(min(load))
        load[owners[piece]] += work[piece]
    return owners


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Bring all singular values of a matrix, shape (M, N), to about one (0.7 to 1.2).

    Newton-Schulz iteration X <- Q X, Q = a I + b A + c A^2, A = X X', on the shorter side. All Qs
    are polynomials of the first A and commute, so only A and the product of the Qs are iterated:
    small squares instead of X itself.
    """
    a, b, c = 3.4445, -4.7750, 2.0315

    def quintic(gram: Tensor) -> Tensor:
        identity = torch.eye(len(gram), device=gram.device, dtype=gram.dtype)
        return torch.addmm(a * identity + b * gram, gram, gram, alpha=c)

    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix  # (min(M, N), max(M, N))
    x = x / (x.norm() + 1e-7)
    gram = x @ x.T
    q = product = quintic(gram)
    for _ in range(steps - 1):
        gram = q @ gram @ q
        q = quintic(gram)
        product = q @ product
    x = product @ x
    return x.T if tall else x
