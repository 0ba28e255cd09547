"""The counts, against formulas, real passes and the paper's Table 4."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from train.evaluate.cost import (
    PAPER,
    Cost,
    DenoiserPass,
    cost_data,
    cost_table,
    count_pass,
    recipe_cost,
    run_cost,
    saved_bytes,
)
from train.models.denoiser import DenoiserInput
from train.models.unet3d import UNet3D, UNet3DOptions
from train.recipes import load_recipe

OPTIONS = UNet3DOptions(dim=16, mults=(1, 2), blocks=1, heads=2, head_dim=8, context=8, label_dim=8)


def denoiser_pass(grid: tuple[int, int, int], cell: int) -> DenoiserPass:
    side = grid[-1] * cell
    conditions = (("label", ()), ("first_frame", (3, side, side)))
    return DenoiserPass(OPTIONS, DenoiserInput((5, *grid), cell, conditions), texts=False)


PASS = denoiser_pass((3, 4, 4), 4)


def test_shapes_alone_count_what_a_real_pass_does() -> None:
    network = UNet3D(OPTIONS, PASS.shapes, 24, None)
    with FlopCounterMode(display=False) as counter:
        network(*PASS.shapes.zeros()).square().mean().backward()
    found = count_pass(PASS)
    assert found.gflop == pytest.approx(counter.get_total_flops() / 1e9, rel=1e-6)
    assert found.parameters == sum(parameter.numel() for parameter in network.parameters())
    first_frame = sum(parameter.numel() for parameter in network.first_frame.parameters())
    assert found.of_which == {"first_frame": first_frame}


def test_fused_attention_counts_as_if_it_were_written_out() -> None:
    grid = denoiser_pass((2, 16, 16), 1)
    network = UNet3D(OPTIONS, grid.shapes, 24, None)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        network(*grid.shapes.zeros()).square().mean().backward()
    assert count_pass(grid).gflop == pytest.approx(counter.get_total_flops() / 1e9, rel=1e-6)


def test_saved_bytes_are_each_storage_once_without_weights() -> None:
    layer = nn.Linear(8, 4)
    x = torch.zeros(16, 8, requires_grad=True)
    with saved_bytes(layer) as saved:
        (layer(x).exp() * x[:, :4]).sum()
    # x, saved by the layer and the product; the exponential, saved by itself and the product.
    assert sorted(saved.values()) == [16 * 4 * 4, 16 * 8 * 4]


def test_checkpointing_trades_operations_for_memory() -> None:
    less = count_pass(replace(PASS, options=replace(OPTIONS, gradient_checkpointing=True)))
    whole = count_pass(PASS)
    assert less.activation_bytes < whole.activation_bytes
    assert 1.2 * whole.gflop < less.gflop < 1.4 * whole.gflop


CPU = torch.device("cpu")


OWN_PAPER = ("vdm_128", "d_vdm_128", "ed_vdm_128")


@pytest.fixture(scope="module")
def costs() -> dict[str, Cost]:
    return {name: recipe_cost(load_recipe(name, []), CPU) for name in OWN_PAPER}


@pytest.mark.slow
def test_table_4_is_reproduced(costs: dict[str, Cost]) -> None:
    vdm, d_vdm, ed_vdm = (costs[name] for name in OWN_PAPER)
    assert d_vdm.denoiser.gflop == pytest.approx(PAPER["d_vdm_128"].gflop, rel=0.03)
    assert vdm.denoiser.gflop == pytest.approx(PAPER["vdm_128"].gflop, rel=0.03)
    assert ed_vdm.denoiser.gflop <= PAPER["ed_vdm_128"].gflop
    assert ed_vdm.times_fewer_than_vdm >= 110
    assert ed_vdm.times_fewer_than_vdm == pytest.approx(vdm.denoiser.gflop / ed_vdm.denoiser.gflop)
    assert ed_vdm.denoiser.training_bytes <= PAPER["ed_vdm_128"].gigabytes * 1e9


@pytest.mark.slow
def test_lfdm_is_compared_with_40_frames_and_like_for_like(costs: dict[str, Cost]) -> None:
    """Its public network has a second output head and generates frame 0: 639 and 251 GFLOP."""
    _, whole, autoencoder = run_cost(load_recipe("lfdm_128", []), CPU)
    assert 0.9 < whole.gflop / PAPER["lfdm_128"].gflop < 1
    assert autoencoder is not None
    assert autoencoder.parameters / 1e6 == pytest.approx(66.0, abs=0.1)
    short = run_cost(load_recipe("lfdm_128", ["designed_for.frames=16"]), CPU)[1]
    assert 2.5 < short.gflop / costs["ed_vdm_128"].denoiser.gflop < 3.5


@pytest.mark.slow
def test_the_backward_pass_costs_about_twice_the_forward(costs: dict[str, Cost]) -> None:
    for cost in costs.values():
        assert 2.9 < cost.denoiser.gflop / cost.denoiser.forward_gflop < 3.0


def test_the_systems_differ_in_their_targets_and_widths_alone() -> None:
    recipes = [load_recipe(name, []).denoiser for name in OWN_PAPER]
    assert recipes[0] == recipes[1] == replace(recipes[2], dim=128, context=16)


@pytest.mark.slow
def test_an_autoencoder_costs_what_the_notes_of_its_kind_say(costs: dict[str, Cost]) -> None:
    coder = costs["ed_vdm_128"].autoencoder
    assert coder is not None
    assert coder.parameters / 1e6 == pytest.approx(64.4, abs=0.1)
    assert coder.encode_gflop == pytest.approx(15 * 34.1, rel=0.01)
    assert coder.decode_gflop == pytest.approx(15 * 62.5, rel=0.01)
    assert costs["vdm_128"].autoencoder is None


@pytest.mark.slow
def test_the_table_and_the_data_say_the_same(costs: dict[str, Cost]) -> None:
    table = cost_table(list(costs.values()))
    (row,) = [line for line in table.splitlines() if line.startswith("| ed_vdm_128")]
    assert "18, 15, 8, 8" in row
    assert "(78)" in row
    assert "counted and not measured" in table
    data = json.loads(json.dumps(cost_data(list(costs.values()))))[2]
    assert data["paper"] == {"gflop": 78, "gigabytes": 3.47}
    assert f"{data['denoiser']['gflop']:.1f} (78)" in row
    assert f"{data['times_fewer_than_vdm']:.1f}x" in row


@pytest.mark.slow
def test_the_command_prints_json(
    costs: dict[str, Cost], cli: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, _ = cli("cost", "--recipes", "d_vdm_128, ed_vdm_128", "--json")
    assert code == 0
    assert json.loads(out) == json.loads(json.dumps(cost_data(list(costs.values())[1:])))


def test_unknown_recipes_are_refused(cli: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = cli("cost", "--recipes", "vdm_12")
    assert code == 2
    assert "unknown recipe 'vdm_12'; known: d_vdm_128" in err


def test_levels_that_do_not_fit_are_named(cli: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = cli("cost", "--recipes", "vdm_128", "--set", "designed_for.size=4")
    assert code == 2
    assert "4x4 grid cannot be halved 3 times" in err


@pytest.mark.slow
def test_wide_and_tall_clips_cost_the_same() -> None:
    small = ["designed_for.frames=3", "denoiser.mults=[1, 2]", "denoiser.blocks=1"]
    (wide, one, coder), (tall, other, turned) = (
        run_cost(load_recipe("ed_vdm_demo", [*small, f"designed_for.size={size}"]), CPU)
        for size in ("48x16", "16x48")
    )
    assert (wide.shapes.x0[-2:], tall.shapes.x0[-2:]) == ((2, 6), (6, 2))
    assert replace(one, gflop=0, forward_gflop=0) == replace(other, gflop=0, forward_gflop=0)
    assert (one.gflop, one.forward_gflop) == pytest.approx((other.gflop, other.forward_gflop))
    assert coder is not None and turned is not None
    assert (coder.encode_gflop, coder.decode_gflop) == (turned.encode_gflop, turned.decode_gflop)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_memory_is_measured() -> None:
    cost = recipe_cost(load_recipe("ed_vdm_128", []), torch.device("cuda"))
    assert cost.denoiser.measured
    assert cost.denoiser.training_bytes <= PAPER["ed_vdm_128"].gigabytes * 1e9


@pytest.mark.slow
def test_a_guide_is_paid_for_and_the_decoder_along_the_flow_is_counted() -> None:
    small = [
        f"{path}denoiser.{field}={value}"
        for path in ("", "guide.")
        for field, value in {"dim": 8, "mults": "[1]", "heads": 1, "context": 8}.items()
    ]
    recipe = load_recipe("movideo_demo", small)
    assert recipe.guide is not None
    _, both, coder = run_cost(recipe, CPU)
    _, alone, _ = run_cost(replace(recipe, guide=None), CPU)
    _, guide, nothing = run_cost(recipe.guide, CPU)
    assert nothing is None
    assert both.gflop == pytest.approx(alone.gflop + guide.gflop)
    assert both.parameters == alone.parameters + guide.parameters
    assert both.of_which["guide"] == guide.parameters
    _, _, plain = run_cost(replace(recipe, decoder=None), CPU)
    assert coder is not None and plain is not None
    assert coder.encode_gflop == plain.encode_gflop
    assert coder.decode_gflop > plain.decode_gflop + 1
