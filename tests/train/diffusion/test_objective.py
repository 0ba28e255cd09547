from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.train.naive import alpha_bars
from train.diffusion.noise import NoiseOptions, add_noise, loss_weight, predicted_x0, target
from train.diffusion.objective import (
    diffusion_loss,
    guided,
    loss_by_timestep,
    renoise_and_denoise,
    thresholded,
)
from train.models.denoiser import Conditions, Denoiser

LABELS = 5


class LinearNetwork(Denoiser):
    """Predicts x_t times (label + 1), 6 for the null label, and adds the mean of the first frame.

    Guidance can then be worked out by hand.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[dict[str, Tensor]] = []

    def forward(self, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        assert {len(noisy)} == {len(t)} | {len(value) for value in conditions.values()}
        self.calls.append(dict(conditions))
        label, first_frame = conditions["label"], conditions["first_frame"]
        label = torch.where(label < 0, LABELS, label)
        return noisy * (label + 1).view(-1, 1, 1, 1, 1) + first_frame.mean()


class ZeroNetwork(LinearNetwork):
    """Predicts zeros."""

    def forward(self, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        return torch.zeros_like(noisy)


class Oracle(Denoiser):
    """Knows x_0, hence the noise in x_t, by the schedule's own formula."""

    def __init__(self, options: NoiseOptions, x0: Tensor) -> None:
        super().__init__()
        self.options, self.x0 = options, x0

    def forward(self, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
        table = alpha_bars(self.options.schedule, self.options.steps, False)
        alpha_bar = table[t].view(-1, 1, 1, 1, 1)
        signal, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        epsilon = (noisy.double() - signal * self.x0) / sigma
        if self.options.prediction == "epsilon":
            return epsilon
        return signal * epsilon - sigma * self.x0


def conditions_of(label: Tensor) -> dict[str, Tensor]:
    return {"label": label, "first_frame": torch.zeros(len(label), 3, 4, 4)}


def random_x0(count: int) -> Tensor:
    return torch.randn(count, 3, 2, 2, 2, generator=torch.Generator().manual_seed(0))


def loss_of(network: Denoiser, options: NoiseOptions, x0: Tensor, dropout: float = 0) -> float:
    losses = diffusion_loss(
        network,
        options,
        x0,
        conditions_of(torch.arange(len(x0)) % LABELS),
        dropout={"label": dropout},
        generators=rows(len(x0)),
    )
    return float(losses["loss"])


def rows(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(count)]


@pytest.mark.parametrize("prediction", ["v", "epsilon"])
def test_an_oracle_has_no_loss(prediction: str) -> None:
    options, x0 = NoiseOptions(prediction=prediction), random_x0(64)  # type: ignore[arg-type]
    assert loss_of(Oracle(options, x0), options, x0) < 1e-5
    assert loss_of(Oracle(options, x0 + 0.1), options, x0) > 1e-3


def test_a_prediction_of_zero_costs_the_variance_of_the_noise() -> None:
    assert loss_of(ZeroNetwork(), NoiseOptions(), random_x0(1000)) == pytest.approx(1, abs=0.05)


def test_times_are_weighted() -> None:
    """A prediction of zero costs, at each time, its weight times the variance of the noise."""
    options = NoiseOptions(loss_weight="min_snr", min_snr_gamma=0.5)
    expected = float(loss_weight(options, torch.arange(options.steps)).mean())
    assert 0.1 < expected < 0.9
    assert loss_of(ZeroNetwork(), options, random_x0(2000)) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(("dropout", "low", "high"), [(0, 0, 0), (0.1, 0.08, 0.12), (1, 1, 1)])
def test_labels_are_dropped_at_the_rate(dropout: float, low: float, high: float) -> None:
    network, x0 = LinearNetwork(), torch.zeros(4096, 1, 1, 1, 1)
    loss_of(network, NoiseOptions(), x0, dropout)
    label = network.calls[0]["label"]
    dropped = label == -1
    assert low <= float(dropped.float().mean()) <= high
    assert label[~dropped].equal((torch.arange(4096) % LABELS)[~dropped])


def given_conditions(dropout: dict[str, float], part: slice = slice(None)) -> dict[str, Tensor]:
    """Conditions that the network is given of 64 clips, or of some of them."""
    network, count = LinearNetwork(), 64
    conditions = {"label": torch.arange(count) % LABELS, "first_frame": torch.ones(count, 3, 4, 4)}
    diffusion_loss(
        network,
        NoiseOptions(),
        random_x0(count)[part],
        {name: value[part] for name, value in conditions.items()},
        dropout=dropout,
        generators=rows(count)[part],
    )
    return network.calls[0]


def test_further_conditions_are_dropped_row_by_row_without_changing_the_labels() -> None:
    label_alone = given_conditions({"label": 0.5})
    both = given_conditions({"label": 0.5, "first_frame": 0.5})
    assert both["label"].equal(label_alone["label"])
    assert label_alone["first_frame"].all()
    dropped = both["first_frame"].flatten(1) == 0
    assert dropped.any(1).equal(dropped.all(1)), "whole rows"
    assert 0 < dropped.all(1).sum() < 64
    assert not dropped.all(1).equal(both["label"] == -1), "each condition has draws of its own"
    part = given_conditions({"label": 0.5, "first_frame": 0.5}, slice(5, 9))
    assert all(part[name].equal(value[5:9]) for name, value in both.items())


def test_losses_repeat_with_the_generator() -> None:
    x0 = random_x0(4)
    assert loss_of(LinearNetwork(), NoiseOptions(), x0, 0.5) == loss_of(
        LinearNetwork(), NoiseOptions(), x0, 0.5
    )


def test_draws_of_a_row_do_not_depend_on_the_other_rows() -> None:
    x0, label = random_x0(6), torch.arange(6) % LABELS

    def errors(part: slice) -> dict[str, Tensor]:
        return diffusion_loss(
            LinearNetwork(), NoiseOptions(), x0[part], conditions_of(label[part]),
            dropout={"label": 0.5}, generators=rows(6)[part],
        )  # fmt: skip

    whole, parts = errors(slice(6)), [errors(slice(2)), errors(slice(2, 6))]
    for name in whole.keys() - {"loss"}:
        joined = torch.cat([part[name] for part in parts])
        assert torch.allclose(whole[name], joined, equal_nan=True, rtol=1e-5)
    mean = parts[0]["loss"] * 2 / 6 + parts[1]["loss"] * 4 / 6
    assert float(mean) == pytest.approx(float(whole["loss"]), rel=1e-5)


@given(st.lists(st.integers(0, 999), min_size=1, max_size=20))
def test_every_row_is_in_the_quarter_of_its_time(times: list[int]) -> None:
    errors = torch.arange(1.0, len(times) + 1)
    bands = loss_by_timestep(errors, torch.tensor(times), 1000)
    assert list(bands) == ["loss_t0-250", "loss_t250-500", "loss_t500-750", "loss_t750-1000"]
    for row, time in enumerate(times):
        filled = [not bool(band[row].isnan()) for band in bands.values()]
        assert filled == [time // 250 == quarter for quarter in range(4)]
    assert torch.stack(list(bands.values())).nansum(0).equal(errors)


@pytest.mark.parametrize("guidance", [0.0, 0.5, 2.0, 7.5])
def test_guidance_is_null_plus_g_times_the_difference(guidance: float) -> None:
    noisy, conditions = random_x0(2), conditions_of(torch.tensor([0, 3]))
    output = guided(LinearNetwork(), conditions, guidance)(noisy, torch.zeros(2))
    conditioned, free = noisy * torch.tensor([1, 4]).view(-1, 1, 1, 1, 1), noisy * (LABELS + 1)
    assert torch.allclose(output, free + guidance * (conditioned - free), atol=1e-4)


def test_without_guidance_the_null_condition_is_not_computed() -> None:
    network, conditions = LinearNetwork(), conditions_of(torch.tensor([0, 3]))
    noisy = random_x0(2)
    output = guided(network, conditions, 1)(noisy, torch.zeros(2))
    assert [call["label"].tolist() for call in network.calls] == [[0, 3]]
    assert output.equal(network(noisy, torch.zeros(2), conditions))


@pytest.mark.parametrize("names", [("label",), ("label", "first_frame")])
def test_the_named_conditions_are_null_in_the_null_condition(names: tuple[str, ...]) -> None:
    network = LinearNetwork()
    conditions = {"label": torch.tensor([0, 3]), "first_frame": torch.ones(2, 3, 4, 4)}
    guided(network, conditions, 2.0, names)(random_x0(2), torch.zeros(2))
    (call,) = network.calls
    assert call["label"].tolist() == [0, 3, -1, -1]
    assert call["first_frame"][:2].equal(conditions["first_frame"])
    assert call["first_frame"][2:].any() == ("first_frame" not in names)


@pytest.mark.parametrize("prediction", ["v", "epsilon"])
def test_an_oracle_denoises_back_to_x0(prediction: str) -> None:
    options, x0 = NoiseOptions(prediction=prediction), random_x0(8)  # type: ignore[arg-type]
    denoise = guided(Oracle(options, x0), conditions_of(torch.zeros(8)), 1)
    generator = torch.Generator().manual_seed(0)
    again = renoise_and_denoise(denoise, options, x0, (800, 400, 30), generator)
    assert torch.allclose(again, x0, atol=1e-3)


def thresholded_x0(
    options: NoiseOptions, x0: Tensor, quantile: float | None, mean: float = 0, std: float = 1
) -> Tensor:
    """x_0 after thresholding of a network that predicts x_0, bounded as std x_0 + mean."""
    t = torch.full((len(x0),), 600)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    noisy = add_noise(options, x0, noise, t)
    denoise = thresholded(
        lambda noisy, t: target(options, x0, noise, t),
        options,
        lambda x: x * std + mean,
        lambda x: (x - mean) / std,
        quantile,
    )
    return predicted_x0(options, noisy, denoise(noisy, t), t)


@pytest.mark.parametrize("prediction", ["v", "epsilon"])
def test_x0_in_its_bounds_is_left_alone(prediction: str) -> None:
    options, x0 = NoiseOptions(prediction=prediction), random_x0(4).clamp(-1, 1)  # type: ignore[arg-type]
    assert torch.allclose(thresholded_x0(options, x0, 0.995), x0, atol=1e-5)


@pytest.mark.parametrize("prediction", ["v", "epsilon"])
def test_x0_beyond_its_bounds_is_clipped_at_the_quantile_and_scaled(prediction: str) -> None:
    """Saharia et al. 2022, section 2.3, clip by clip, on the scale of the pixels."""
    options, mean, std = NoiseOptions(prediction=prediction), 0.2, 0.5  # type: ignore[arg-type]
    pixels = torch.stack([0.5 * random_x0(1)[0].clamp(-2, 2), 3 * random_x0(1)[0]])
    found = thresholded_x0(options, (pixels - mean) / std, 0.75, mean, std) * std + mean
    assert torch.allclose(found[0], pixels[0], atol=1e-5)
    # 24 numbers: the 18th is the least that three quarters of them do not exceed.
    reach = pixels[1].abs().flatten().sort().values[17]
    assert reach > 1
    assert torch.allclose(found[1], pixels[1].clamp(-reach, reach) / reach, atol=1e-4)


def test_x0_beyond_its_bounds_is_clipped_where_that_is_static() -> None:
    mean, std, pixels = 0.2, 0.5, 3 * random_x0(2)
    found = thresholded_x0(NoiseOptions(), (pixels - mean) / std, None, mean, std) * std + mean
    assert torch.allclose(found, pixels.clamp(-1, 1), atol=1e-4)


def test_guidance_is_computed_in_float32() -> None:
    class Half(LinearNetwork):
        def forward(self, noisy: Tensor, t: Tensor, conditions: Conditions) -> Tensor:
            return super().forward(noisy, t, conditions).bfloat16()

    noisy, conditions = random_x0(1), conditions_of(torch.tensor([LABELS - 1]))
    output = guided(Half(), conditions, 7.5)(noisy, torch.zeros(1))
    conditioned, free = ((noisy * scale).bfloat16().float() for scale in (LABELS, LABELS + 1))
    assert output.equal(free + 7.5 * (conditioned - free))
