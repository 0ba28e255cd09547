"""Label embeddings and prompts, with a CLIP text encoder made on the spot."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from shared.errors import UserError
from tests.train.clip import LONGEST, WIDTH, make_clip_folder
from train.models.text_encoder import LabelEmbedding, TextEncoder, TextIdentity, text_condition

TEXTS = torch.tensor([[1.0, 2, 3, 5], [0, 1, 0, 0], [2, 2, 2, -1]])


def table() -> LabelEmbedding:
    torch.manual_seed(0)
    return LabelEmbedding(TEXTS, width=6)


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


def test_an_appended_text_changes_no_other() -> None:
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


def test_its_weights_include_the_texts() -> None:
    empty = LabelEmbedding(torch.zeros_like(TEXTS), width=6)
    empty.load_state_dict(table().state_dict())
    assert empty(torch.arange(4)).equal(table()(torch.arange(4)))


LABELS = ("Turn Left", "Spread Wings")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip_folder(tmp_path_factory.mktemp("clip") / "text")


@pytest.fixture(scope="module")
def encoder(folder: Path) -> TextEncoder:
    return TextEncoder(str(folder))


def network(encoder: TextEncoder) -> nn.Module:
    net = nn.Module()
    net.label = LabelEmbedding(encoder(LABELS), 8)
    return net


@torch.no_grad()
def test_the_embedding_is_that_of_the_end_token(encoder: TextEncoder, folder: Path) -> None:
    from transformers import CLIPTextModel, CLIPTokenizer

    tokens = CLIPTokenizer.from_pretrained(folder)("spread wings", return_tensors="pt")
    states = CLIPTextModel.from_pretrained(folder).eval()(**tokens).last_hidden_state
    together = encoder(["left", "Spread  Wings", "turn turn turn left"])
    assert together.shape == (3, WIDTH)
    assert torch.allclose(together[1], states[0, -1], atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=0.1)


def test_a_whole_clip_gives_the_same_as_its_text_encoder(
    encoder: TextEncoder, tmp_path: Path
) -> None:
    whole = TextEncoder(str(make_clip_folder(tmp_path, whole=True)))
    assert whole(LABELS).equal(encoder(LABELS))
    assert whole.identity == replace(encoder.identity, encoder=str(tmp_path))


def test_other_weights_are_another_encoder(encoder: TextEncoder, tmp_path: Path) -> None:
    assert TextEncoder(str(make_clip_folder(tmp_path, seed=1))).identity.hash != (
        encoder.identity.hash
    )


def test_a_folder_without_an_encoder_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere'.*no such folder.*text\.encoder=null"):
        TextEncoder(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"text\.encoder=null"):
        TextEncoder(str(tmp_path))


def test_random_weights_for_missing_ones_are_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    dropped = next(name for name in weights if name.endswith("fc1.weight"))
    del weights[dropped]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="not those of a CLIP text encoder"):
        TextEncoder(str(tmp_path))


def test_without_transformers_the_message_names_the_extra(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'dvdm\[text\]'"):
        TextEncoder(str(folder))


def test_a_text_that_is_too_long_is_refused(encoder: TextEncoder) -> None:
    with pytest.raises(UserError, match=f"26 tokens.*at most {LONGEST}: shorten it"):
        encoder(["left", "abcd" * 6])


def test_labels_are_found_without_case_or_encoder(encoder: TextEncoder) -> None:
    assert text_condition(network(encoder), "  turn LEFT ", LABELS, None) == 0
    learned = nn.ModuleDict({"label": nn.Embedding(len(LABELS), 3)})
    assert text_condition(learned, "spread wings", LABELS, None) == 1


def test_a_free_prompt_is_encoded_and_added(encoder: TextEncoder) -> None:
    net = network(encoder)
    index = text_condition(net, "wave", LABELS, encoder.identity)
    assert index == len(LABELS) + 1
    assert torch.allclose(net.label.texts[index], encoder(["wave"])[0])
    assert text_condition(net, "turn left", LABELS, encoder.identity) == 0


def test_a_prompt_without_its_encoder_is_refused(encoder: TextEncoder, tmp_path: Path) -> None:
    net = network(encoder)
    known = r"'wave' is not a label of this run; its labels: 'Turn Left', 'Spread Wings'\."
    with pytest.raises(UserError, match=f"{known} Free prompts need a run .*text.encoder"):
        text_condition(net, "wave", LABELS, None)
    gone = TextIdentity(str(tmp_path / "gone"), encoder.identity.hash, WIDTH)
    with pytest.raises(UserError, match=f"{known} A free prompt needs.*no such folder"):
        text_condition(net, "wave", LABELS, gone)
    other = TextIdentity(encoder.identity.encoder, "0123", WIDTH)
    with pytest.raises(UserError, match=f"{known} A free prompt.*other weights .*0123"):
        text_condition(net, "wave", LABELS, other)
    moved = make_clip_folder(tmp_path / "moved")
    assert text_condition(net, "wave", LABELS, gone, str(moved)) == len(LABELS) + 1
    with pytest.raises(UserError, match="trained without labels"):
        text_condition(net, "Go", (), None)
