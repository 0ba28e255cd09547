"""What a sampler is, and the noise process as it sees it.

A sampler is one file beside this one: `NAME`, and a function `begin` of the type `Begin`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from train.noise import NoiseOptions, alphas_cumprod, scheduler_arguments
from train.options import STRICT

Generators = torch.Generator | list[torch.Generator]
"""On the CPU: one for all clips, or one a clip."""

Step = Callable[[Tensor, int, Tensor], Tensor]
"""(the network's prediction, k, x at the k-th time) to x at the time before it, k - 1; for k = 0,
to x_0. All tensors have the shape (B, ...)."""

Begin = Callable[["SamplerOptions", NoiseOptions, Tensor, Generators], Step]
"""(options, process, times to visit in rising order, generators) to the steps of one sampling."""


@cache
def samplers() -> dict[str, Begin]:
    """Every sampler by its name."""
    import train.samplers as package

    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in sorted(names)]
    return {module.NAME: module.begin for module in modules if hasattr(module, "NAME")}


def _known(name: str) -> str:
    if name not in samplers():
        raise ValueError(f"must be one of {', '.join(samplers())}")
    return name


@dataclass(frozen=True, config=STRICT)
class SamplerOptions:
    """How x_0 is drawn."""

    name: Annotated[str, AfterValidator(_known)] = "ddpm"
    """One of `samplers()`."""
    steps: Annotated[int, Field(ge=1)] = 1000
    guidance: float = 1.0
    """Classifier-free guidance g; 1 = none."""
    eta: Annotated[float, Field(ge=0, le=1)] = 0.0
    """DDIM alone: noise on the way, from none to as much as DDPM's."""
    dynamic_threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    """Dynamic thresholding at this quantile of |x_0| (Saharia et al. 2022, who take 0.995), for
    spaces whose x_0 is bounded; none: no thresholding."""

    def __post_init__(self) -> None:
        if self.eta and self.name != "ddim":
            raise ValueError(f"eta is an option of ddim; the sampler is {self.name}")


def sampling_times(count: int, steps: int) -> Tensor:
    """Times that `count` sampling steps visit among 0...steps-1, rising, the last one always.

    Evenly spaced from the end ("trailing", Lin et al. 2024, table 2): int64, shape (count,).
    """
    return torch.tensor([round(steps * (k + 1) / count) - 1 for k in range(count)])


def respaced(scheduler: type, options: NoiseOptions, times: Tensor, **arguments: Any) -> Any:
    """A scheduler of diffusers for the process as it is at some of its times only.

    The process between the times visited is one of fewer, larger steps (Nichol and Dhariwal 2021,
    section 4). Given the whole process instead, diffusers' DDIM takes the distance between two
    times to be their average rounded down, and misses the noise levels that the network is told.

    Args:
        scheduler: a class.
        options: the whole process.
        times: rising, shape (N,); the scheduler counts them 0...N-1.
        arguments: further ones of the class.
    """
    table = alphas_cumprod(options)[times].double()
    before = torch.cat([torch.ones(1, dtype=torch.float64), table[:-1]])
    small = scheduler_arguments(options) | {
        "num_train_timesteps": len(times),
        "trained_betas": (1 - table / before).tolist(),
        "rescale_betas_zero_snr": False,
    }
    made = scheduler(**small, **arguments)
    # As it was: a product of (1 - beta) has lost its last digits where beta is near 1.
    made.alphas_cumprod = table.float()
    made.set_timesteps(len(times))
    return made
