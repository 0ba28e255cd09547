from __future__ import annotations

import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.train import naive
from train.models.attention import (
    CrossAttention,
    SpatialAttention,
    TemporalAttention,
    attention,
    linear_attention,
)


def triple(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(3, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("length", [1, 7, 300])
def test_attention_agrees_with_the_fused_kernel_at_every_length(length: int) -> None:
    query, key, value = triple(2, 4, length, 8)
    bias = torch.randn(4, length, length, generator=torch.Generator().manual_seed(1))
    for given_bias in (None, bias):
        fused = functional.scaled_dot_product_attention(query, key, value, attn_mask=given_bias)
        assert torch.allclose(attention(query, key, value, given_bias), fused, atol=1e-5)


def test_more_sequences_than_a_kernel_takes_are_split(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    query, key, value = triple(7, 2, 260, 4)
    bias = torch.randn(2, 260, 260, generator=torch.Generator().manual_seed(1))
    whole = attention(query, key, value, bias)
    kernel, sizes = functional.scaled_dot_product_attention, []

    def counted(query: Tensor, *rest: Tensor, **more: Tensor) -> Tensor:
        sizes.append(len(query))
        return kernel(query, *rest, **more)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", counted)
    monkeypatch.setattr("train.models.attention._SEQUENCES", 3)
    assert torch.allclose(attention(query, key, value, bias), whole, atol=1e-6)
    assert sizes == [3, 3, 1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_takes_the_places_of_many_clips() -> None:
    query, key, value = triple(2**16 + 1, 1, 3, 8).to("cuda", torch.bfloat16)
    bias = torch.zeros(1, 3, 3, device="cuda", dtype=torch.bfloat16)
    last = attention(query, key, value, bias)[-1:]
    assert torch.allclose(last, attention(query[-1:], key[-1:], value[-1:], bias), atol=1e-2)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 8), st.integers(0, 99))
def test_linear_attention_is_its_formula(heads: int, length: int, numbers: int, seed: int) -> None:
    query, key, value = triple(2, heads, length, numbers, seed=seed)
    result = linear_attention(query, key, value)
    for n in range(2):
        for m in range(heads):
            expected = naive.linear_attention(query[n, m], key[n, m], value[n, m])
            assert torch.allclose(result[n, m], expected, atol=1e-5)


@torch.no_grad()
def test_a_module_gives_each_head_its_rows_of_queries_then_keys_then_values() -> None:
    """Which rows are whose is part of every saved network."""
    torch.manual_seed(0)
    heads, numbers, x, tokens = 3, 4, torch.randn(2, 5, 16), torch.randn(2, 7, 6)
    own, cross = SpatialAttention(16, heads, numbers, 99), CrossAttention(16, 6, heads, numbers)
    given = (
        (own, own.qkv.weight.split(12), own.norm(x)),
        (cross, (cross.query.weight, *cross.key_value.weight.split(12)), tokens),
    )
    for module, weights, others in given:
        torch.nn.init.normal_(module.output.weight)
        seen = []
        for head in range(heads):
            query, key, value = (w[head * numbers : (head + 1) * numbers] for w in weights)
            logits = module.norm(x) @ query.T @ (others @ key.T).transpose(1, 2) / numbers**0.5
            seen.append(logits.softmax(-1) @ (others @ value.T))
        expected = module.output(torch.cat(seen, dim=-1))
        found = module(x) if module is own else module(x, tokens)
        assert torch.allclose(found, expected, atol=1e-5)


def test_linear_attention_averages_values() -> None:
    query, key, _ = triple(1, 2, 50, 16)
    ones = torch.ones(1, 2, 50, 16)
    assert torch.allclose(linear_attention(query, key, ones), ones / 4, atol=1e-5)


@pytest.mark.parametrize(("length", "linear"), [(16, False), (17, True)])
def test_fine_grids_take_linear_attention(length: int, linear: bool) -> None:
    torch.manual_seed(0)
    layer = SpatialAttention(8, heads=2, head_dim=4, full_up_to=16)
    query, key, value = triple(1, 2, length, 4)
    of = linear_attention(query, key, value) if linear else attention(query, key, value, None)
    assert layer.attend(query, key, value).equal(of)


def test_spatial_attention_ignores_order_and_temporal_attention_does_not() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 6, 8)
    for full_up_to in (0, 6):
        layer = SpatialAttention(8, heads=2, head_dim=4, full_up_to=full_up_to)
        torch.nn.init.normal_(layer.output.weight)
        assert torch.allclose(layer(x).flip(1), layer(x.flip(1)), atol=1e-5)
    time = TemporalAttention(8, heads=2, head_dim=4)
    torch.nn.init.normal_(time.output.weight)
    assert not torch.allclose(time(x).flip(1), time(x.flip(1)), atol=1e-2)
