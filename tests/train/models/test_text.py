from __future__ import annotations

import torch

from train.models.text import TextTable

TEXTS = torch.tensor([[1.0, 2, 3, 5], [0, 1, 0, 0], [2, 2, 2, -1]])


def table() -> TextTable:
    torch.manual_seed(0)
    return TextTable(TEXTS, width=6)


def test_each_text_and_the_null_condition_have_an_embedding() -> None:
    net = table()
    assert net.null_label == 3
    embedded = net(torch.tensor([[0, 1], [2, 3]]))
    assert embedded.shape == (2, 2, 6)
    assert embedded[1, 1].equal(net.null)
    assert torch.pdist(embedded.detach().flatten(0, 1)).min() > 0.1


def test_texts_are_fixed_and_everything_else_learns() -> None:
    net = table()
    assert {name for name, _ in net.named_buffers()} == {"texts"}
    net(torch.tensor([0, 3])).square().sum().backward()
    assert all(
        parameter.grad is not None and parameter.grad.any() for parameter in net.parameters()
    )


def test_a_later_text_changes_no_other() -> None:
    net = table()
    before = net(torch.arange(4))
    assert net.append(TEXTS[1]) == 4
    assert net.append(TEXTS[0] * 2) == 5
    assert net.null_label == 3
    after = net(torch.arange(6))
    assert torch.allclose(after[:4], before, atol=1e-6)
    assert torch.allclose(after[4], after[1], atol=1e-6)
    assert torch.allclose(after[5], after[0], atol=1e-4), "texts are normalised"
    assert net.texts.shape == (6, 4)


def test_its_weights_bring_the_texts_along() -> None:
    empty = TextTable(torch.zeros_like(TEXTS), width=6)
    empty.load_state_dict(table().state_dict())
    assert empty(torch.arange(4)).equal(table()(torch.arange(4)))
