from __future__ import annotations

from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.models.critic import ClipCritic, PatchCritic, _Convolution3d, adversarial_losses
from train.trainer.optimisers import hidden_weights


def critic() -> PatchCritic:
    torch.manual_seed(0)
    return PatchCritic(width=8)


def frames(seed: int, time: int = 5) -> Tensor:
    return torch.rand(2, time, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("time", [3, 5])
def test_it_judges_every_run_of_three_frames(time: int) -> None:
    *features, verdict = critic()(frames(0, time), frames(1)[:, 0])
    assert verdict.shape == (2 * (time - 2), 1, 4, 4)
    assert len(features) == 3


def test_a_verdict_depends_on_three_neighbours_and_the_first_frame() -> None:
    net, clip, first = critic().eval(), frames(0), frames(1)[:, 0]
    before = net(clip, first)[-1].unflatten(0, (2, 3))
    changed = clip.clone()
    changed[:, 0] *= -1
    change = (net(changed, first)[-1].unflatten(0, (2, 3)) - before).abs().amax(dim=(0, 2, 3, 4))
    assert change[0] > 1e-4
    assert change[1:].max() == 0
    assert (net(clip, -first)[-1].unflatten(0, (2, 3)) - before).abs().min() > 0


def test_each_loss_has_gradients_for_its_own_network_alone() -> None:
    net, refined = critic(), frames(0).requires_grad_()
    for_critic, verdict, matching = adversarial_losses(net, refined, frames(1), frames(2)[:, 0])
    for_critic.backward(retain_graph=True)
    assert refined.grad is None
    # At the start the hinge pulls the last bias up and down alike.
    moved = {name: p.grad for name, p in net.named_parameters() if name != "verdict.bias"}
    assert all(grad is not None and grad.abs().sum() > 0 for grad in moved.values())
    net.zero_grad(set_to_none=True)
    (verdict + matching).backward()
    assert refined.grad is not None and refined.grad.abs().sum() > 0
    assert all(p.grad is None for p in net.parameters())


def test_it_learns_to_distinguish_blurred_from_sharp_frames() -> None:
    net, sharp = critic(), frames(0).round()
    blurred = sharp.flatten(0, 1)
    blurred = nn.functional.avg_pool2d(blurred, 5, 1, 2).unflatten(0, sharp.shape[:2])
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    for _ in range(30):
        loss, _, _ = adversarial_losses(net, blurred, sharp, sharp[:, 0])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    real, fake = (net(clip, sharp[:, 0])[-1].mean() for clip in (sharp, blurred))
    assert real > fake + 0.5


def test_muon_does_not_train_it() -> None:
    assert hidden_weights(nn.Sequential(nn.Linear(4, 4), critic())) != []
    assert hidden_weights(critic()) == []


@pytest.mark.parametrize(
    ("axes", "shape", "verdict"),
    [(2, (2, 3, 16, 16), (2, 1, 2, 2)), (3, (2, 3, 4, 16, 24), (2, 1, 1, 2, 3))],
)
def test_clips_and_pictures_are_judged_patch_by_patch(
    axes: Literal[2, 3], shape: tuple[int, ...], verdict: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    net, real = ClipCritic(axes, 8), torch.rand(shape) * 2 - 1
    *features, found = net(real)
    assert found.shape == verdict
    assert len(features) == 4
    alone = net(real[1:])[-1]
    assert torch.allclose(alone, found[1:], atol=1e-5), "no row depends on another"
    made = (0.1 * real).requires_grad_()
    for_critic, against, matching = adversarial_losses(net, made, real)
    (against + matching).backward(retain_graph=True)
    assert made.grad is not None and made.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in net.parameters())
    for_critic.backward()
    assert sum(w.grad is not None and bool(w.grad.any()) for w in net.parameters()) > 10


@pytest.mark.parametrize("time", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_clips_shorter_than_the_kernel_have_gradients_in_bfloat16(time: int, stride: int) -> None:
    """oneDNN's are of memory never written, on CPUs that compute bfloat16."""
    torch.manual_seed(0)
    net = _Convolution3d(16, 16, 3, stride, padding=1)
    clips = torch.randn(2, 16, time, 8, 8)
    found = []
    for enabled in (False, True):
        torch.full((300_000,), torch.nan)  # what is allocated next may hold it
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            output = net(clips)
        (gradient,) = torch.autograd.grad(output.square().sum(), net.weight)
        found.append((output, gradient))
    (output, gradient), (rounded, close) = found
    plain = F.conv3d(clips, net.weight, net.bias, stride, 1)
    assert torch.allclose(output, plain, atol=1e-5)
    assert (rounded - output).norm() < 0.02 * output.norm()
    assert (close - gradient).norm() < 0.02 * gradient.norm()
