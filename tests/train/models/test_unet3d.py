from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from shared.errors import UserError
from train.models import build_denoiser
from train.models.denoiser import DenoiserInput, with_null
from train.models.text_encoder import LabelEmbedding
from train.models.unet3d import UNet3D, UNet3DOptions

OPTIONS = UNet3DOptions(dim=16, mults=(1, 2), blocks=1, heads=2, head_dim=8, context=8, label_dim=8)
CHANNELS, CELL, LABELS = 5, 4, 3

Arguments = tuple[Tensor, Tensor, dict[str, Tensor]]


def shapes(height: int = 4, frames: int = 3, cell: int = CELL) -> DenoiserInput:
    side = height * cell
    conditions = (("label", ()), ("first_frame", (3, side, side)))
    return DenoiserInput((CHANNELS, frames, height, height), cell, conditions)


def network(options: UNet3DOptions = OPTIONS) -> UNet3D:
    torch.manual_seed(0)
    return UNet3D(options, shapes(), LABELS).eval()


def perturb(net: UNet3D) -> UNet3D:
    """Make all weights matter, also those that start at zero."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return net


@pytest.fixture(scope="module")
def perturbed() -> UNet3D:
    return perturb(network())


def inputs(grid: int = 4, frames: int = 3, batch: int = 2, cell: int = CELL) -> Arguments:
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(batch, CHANNELS, frames, grid, grid, generator=generator)
    first_frame = torch.rand(batch, 3, grid * cell, grid * cell, generator=generator) * 2 - 1
    conditions = {"label": torch.tensor([0, 2])[:batch], "first_frame": first_frame}
    return noisy, torch.tensor([10, 900])[:batch], conditions


def with_condition(arguments: Arguments, **changed: Tensor) -> Arguments:
    noisy, t, conditions = arguments
    return noisy, t, conditions | changed


@torch.no_grad()
def output(net: UNet3D, arguments: Arguments) -> Tensor:
    return net(*arguments)


@pytest.mark.parametrize("grid", [4, 6, 8])
@pytest.mark.parametrize("frames", [1, 3])
def test_the_prediction_has_the_shape_of_its_input(
    perturbed: UNet3D, grid: int, frames: int
) -> None:
    arguments = inputs(grid, frames)
    assert output(perturbed, arguments).shape == arguments[0].shape


def test_it_starts_by_predicting_zero() -> None:
    assert output(network(), inputs()).abs().max() == 0


def test_a_grid_that_cannot_be_halved_is_refused_when_built_and_when_called() -> None:
    message = r"5x5 grid cannot be halved 1 times.*multiples of 2"
    with pytest.raises(UserError, match=message):
        UNet3D(OPTIONS, shapes(5), LABELS)
    with pytest.raises(UserError, match=message):
        output(network(), inputs(grid=5))
    with pytest.raises(UserError, match=r"4x4 grid cannot be halved 3 times.*multiples of 8"):
        UNet3D(replace(OPTIONS, mults=(1, 2, 4, 4)), shapes(), LABELS)


def test_a_cell_that_is_no_power_of_two_is_refused() -> None:
    with pytest.raises(UserError, match=r"a grid cell covers 6 pixels.*power of two"):
        UNet3D(OPTIONS, shapes(cell=6), LABELS)


@pytest.mark.parametrize(
    ("grid", "cell", "mults"),
    [(4, 32, (1, 2, 2)), (8, 16, (1, 1, 1, 1)), (16, 8, (1,)), (32, 4, (1, 2)), (128, 1, (1,) * 5)],
)
def test_grids_from_4_to_128_of_cells_of_any_size(
    grid: int, cell: int, mults: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    options = replace(OPTIONS, dim=8, mults=mults, full_attention=256)
    net = perturb(UNet3D(options, shapes(grid, 2, cell), LABELS))
    arguments = inputs(grid, 2, 1, cell)
    before = output(net, arguments)
    assert before.shape == arguments[0].shape
    flipped = arguments[2]["first_frame"].flip(-1)
    after = output(net, with_condition(arguments, first_frame=flipped))
    assert (after - before).abs().max() > 1e-3, "the first frame matters"


@pytest.mark.parametrize(
    "wrong", [{"dim": 12}, {"mults": ()}, {"mults": (1, 0)}, {"blocks": 0}, {"full_attention": -1}]
)
def test_options_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        UNet3DOptions(**wrong)  # type: ignore[arg-type]


def test_linear_attention_has_the_weights_of_full_attention(perturbed: UNet3D) -> None:
    linear = network(replace(OPTIONS, full_attention=0))
    linear.load_state_dict(perturbed.state_dict())
    assert not torch.allclose(output(linear, inputs()), output(perturbed, inputs()), atol=1e-3)


def test_checkpointing_changes_no_gradient(perturbed: UNet3D) -> None:
    checkpointed = network(replace(OPTIONS, gradient_checkpointing=True))
    checkpointed.load_state_dict(perturbed.state_dict())
    kept = []
    for net in (perturbed, checkpointed):
        net.zero_grad()
        saved: list[int] = []

        def pack(tensor: Tensor, saved: list[int] = saved) -> Tensor:
            saved.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = net(*inputs()).square().mean()
        loss.backward()
        kept.append(sum(saved))
    assert kept[1] < kept[0] / 2
    pairs = list(zip(perturbed.parameters(), checkpointed.parameters(), strict=True))
    assert all(torch.allclose(a.grad, b.grad) for a, b in pairs if a.grad is not None)
    assert all((a.grad is None) == (b.grad is None) for a, b in pairs)
    perturbed.zero_grad()


def test_time_label_and_first_frame_matter(perturbed: UNet3D) -> None:
    noisy, t, conditions = inputs()
    before = output(perturbed, (noisy, t, conditions))
    changed = [(noisy, t.flip(0), conditions)]
    for name, value in conditions.items():
        changed.append((noisy, t, conditions | {name: value.flip(0)}))
    for arguments in changed:
        change = (output(perturbed, arguments) - before).abs().amax(dim=(1, 2, 3, 4))
        assert change.min() > 1e-3


def test_label_minus_one_is_the_null_label(perturbed: UNet3D) -> None:
    """It has an embedding of its own, behind those of the labels."""
    assert perturbed.null_label == LABELS
    before = output(perturbed, inputs())
    null, index = (
        output(perturbed, with_condition(inputs(), label=torch.full((2,), label)))
        for label in (-1, LABELS)
    )
    assert null.equal(index)
    assert (null - before).abs().amax(dim=(1, 2, 3, 4)).min() > 1e-3


def test_null_conditions_are_made_row_by_row(perturbed: UNet3D) -> None:
    conditions = inputs()[2]
    none = {name: torch.zeros(2, dtype=torch.bool) for name in conditions}
    for name, value in conditions.items():
        rows = torch.tensor([False, True])
        changed = with_null(perturbed, conditions, none | {name: rows})
        assert changed[name].dtype == value.dtype
        assert changed[name][0].equal(value[0])
        assert changed[name][1].equal(torch.full_like(value[1], -1 if name == "label" else 0))
        others = conditions.keys() - {name}
        assert all(changed[other].equal(conditions[other]) for other in others)


def test_it_is_built_by_its_kind_and_counts_the_first_frames_encoder_apart() -> None:
    torch.manual_seed(0)
    built = build_denoiser(OPTIONS, shapes(), LABELS)
    assert isinstance(built, UNet3D)
    assert output(perturb(built), inputs()).equal(output(perturb(network()), inputs()))
    encoder = sum(parameter.numel() for parameter in built.first_frame.parameters())
    assert built.parameter_groups() == {"first_frame": encoder}


def test_frames_and_places_depend_on_each_other(perturbed: UNet3D) -> None:
    arguments = inputs()
    before = output(perturbed, arguments)
    arguments[0][:, :, 2, 3, 3] += 1
    change = (output(perturbed, arguments) - before).abs()
    assert change[:, :, 0, 3, 3].max() > 1e-5
    assert change[:, :, 2, 0, 0].max() > 1e-5


def test_clips_of_a_batch_do_not_depend_on_each_other(perturbed: UNet3D) -> None:
    arguments = inputs()
    together = output(perturbed, arguments)
    noisy, t, conditions = arguments
    alone = [
        output(perturbed, (noisy[i], t[i], {name: value[i] for name, value in conditions.items()}))
        for i in (slice(1), slice(1, 2))
    ]
    assert torch.allclose(together, torch.cat(alone), atol=1e-4)


def test_equal_frames_differ_by_their_place_in_the_clip(perturbed: UNet3D) -> None:
    noisy, *rest = inputs()
    result = output(perturbed, (noisy[:, :, :1].expand(-1, -1, 3, -1, -1), *rest))
    assert (result[:, :, 0] - result[:, :, 2]).abs().max() > 1e-4


def test_after_one_step_every_weight_learns() -> None:
    net = network()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(3)
    for _ in range(4):
        arguments = inputs()
        loss = (net(*arguments) - torch.randn(arguments[0].shape, generator=generator)).square()
        optimiser.zero_grad()
        loss.mean().backward()
        optimiser.step()
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


@pytest.mark.parametrize("part", ["temporal_conv", "output_block"])
def test_optional_parts_start_with_a_prediction_of_zero(part: str) -> None:
    net = network(replace(OPTIONS, **{part: True}))
    assert output(net, inputs()).abs().max() == 0
    assert sum(p.numel() for p in net.parameters()) > sum(p.numel() for p in network().parameters())
    assert output(perturb(net), inputs()).abs().max() > 0


def test_text_embeddings_replace_learned_ones() -> None:
    torch.manual_seed(0)
    texts = torch.randn(LABELS, 12)
    net = perturb(UNet3D(OPTIONS, shapes(), LABELS, texts))
    assert isinstance(net.label, LabelEmbedding)
    results = []
    for label in (0, 2, -1, net.label.append(texts[2])):
        results.append(output(net, with_condition(inputs(), label=torch.tensor([label] * 2))))
    assert (results[0] - results[1]).abs().max() > 1e-3
    assert (results[1] - results[2]).abs().max() > 1e-3
    assert torch.allclose(results[1], results[3], atol=1e-5)


WITH_LAYOUT = replace(OPTIONS, layout=3)


def layout_network() -> UNet3D:
    torch.manual_seed(0)
    return UNet3D(WITH_LAYOUT, shapes(), LABELS)


def test_a_layout_differs_by_label_place_and_time() -> None:
    net = layout_network()
    assert net.layout is not None
    maps = net.layout(net.label(torch.tensor([0, 2])))
    assert maps.shape == (2, 3, 3, 4, 4)
    assert (maps[0] - maps[1]).abs().min() > 0
    assert maps.flatten(2).std(dim=2).min() > 0


def test_a_network_with_a_layout_learns_a_place_and_a_time_sooner() -> None:
    """A label that lights one cell in one frame, learned from pure noise."""

    def error(net: UNet3D) -> float:
        optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
        conditions = inputs()[2]
        truth = torch.zeros(2, CHANNELS, 3, 4, 4)
        truth[0, :, 1, 0, 3] = truth[1, :, 2, 2, 0] = 1
        generator = torch.Generator().manual_seed(1)
        losses = []
        for _ in range(40):
            noise = torch.randn(truth.shape, generator=generator)
            loss = (net(noise, torch.tensor([999, 999]), conditions) - truth).square()
            optimiser.zero_grad()
            loss.mean().backward()
            optimiser.step()
            losses.append(float(loss.detach().mean() / truth.square().mean()))
        return sum(losses[-5:]) / 5

    without = error(network().train())
    assert error(layout_network()) < 0.7 * without


def guided_shapes() -> DenoiserInput:
    """With tokens, and two conditions on the target's grid."""
    plain = shapes()
    further = (("tokens", (6, 10)), ("warped", (2, 3, 4, 4)), ("mask", (1, 3, 4, 4)))
    return replace(plain, conditions=plain.conditions + further)


def guided_inputs() -> Arguments:
    generator = torch.Generator().manual_seed(1)
    given = {
        name: torch.randn(2, *shape, generator=generator)
        for name, shape in guided_shapes().conditions[2:]
    }
    return with_condition(inputs(), **given)


@pytest.mark.parametrize("options", [{}, {"fold": 2}, {"context": 0}])
def test_conditions_on_the_targets_grid_and_tokens_reach_the_prediction(options: dict) -> None:
    torch.manual_seed(0)
    net = perturb(UNet3D(replace(OPTIONS, **options), guided_shapes(), LABELS).eval())
    arguments = guided_inputs()
    before = output(net, arguments)
    assert before.shape == arguments[0].shape
    for name in ("tokens", "warped", "mask"):
        changed = arguments[2][name].clone()
        changed[0] += 1
        after = output(net, with_condition(arguments, **{name: changed}))
        assert (after - before)[0].abs().max() > 1e-3, name
        assert after[1].equal(before[1]), "rows do not depend on each other"
    assert set(net.parameter_groups()) == {"tokens"} | (
        {"first_frame"} if net.options.context else set()
    )


def test_numbers_start_without_effect_and_reach_every_frame() -> None:
    plain = shapes()
    more = replace(plain, conditions=(*plain.conditions, ("stride", (2,))))
    torch.manual_seed(0)
    net = UNet3D(OPTIONS, more, LABELS).eval()
    arguments = with_condition(inputs(), stride=torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    without = network()  # of the same weights: numbers draw theirs last
    for either in (net, without):
        torch.manual_seed(1)
        torch.nn.init.normal_(either.output[-1].weight)
    assert output(net, arguments).equal(output(without, inputs()))
    perturb(net)
    before = output(net, arguments)
    faster = torch.tensor([[0.0, 0.0], [3.0, 1.0]])
    after = output(net, with_condition(arguments, stride=faster))
    assert after[0].equal(before[0])
    assert ((after - before)[1].abs().amax(dim=(0, 2, 3)) > 1e-4).all(), "every frame"


def test_tokens_have_places() -> None:
    torch.manual_seed(0)
    net = perturb(UNet3D(OPTIONS, guided_shapes(), LABELS).eval())
    arguments = guided_inputs()
    swapped = with_condition(arguments, tokens=arguments[2]["tokens"].flip(1))
    assert (output(net, swapped) - output(net, arguments)).abs().max() > 1e-3


def test_learned_tokens_of_patches_start_without_effect() -> None:
    """Cross-attention ends in zeros: the network starts as the same one without it."""
    torch.manual_seed(0)
    net = UNet3D(replace(OPTIONS, patch=4), shapes(), LABELS).eval()
    assert net.tokens is not None
    arguments = inputs()
    assert net.tokens(arguments[2]["first_frame"]).shape == (2, 16, 64)
    torch.nn.init.normal_(net.output[-1].weight)
    frames = with_condition(arguments, first_frame=arguments[2]["first_frame"].roll(4, 3))
    context = net.first_frame
    assert context is not None
    with torch.no_grad():
        for parameter in context.parameters():
            parameter.zero_()
    assert output(net, frames).equal(output(net, arguments))
    perturb(net)
    with torch.no_grad():
        for parameter in context.parameters():
            parameter.zero_()
    assert (output(net, frames) - output(net, arguments)).abs().max() > 1e-3
