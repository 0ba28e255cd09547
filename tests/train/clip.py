"""A CLIP text encoder of a few thousand weights, made on the spot."""

from __future__ import annotations

from pathlib import Path

import torch

START, END = "<|startoftext|>", "<|endoftext|>"
WIDTH = 16
LONGEST = 24


def make_clip_folder(folder: Path, *, seed: int = 0, whole: bool = False) -> Path:
    """Write what `save_pretrained` of a text encoder writes, or of a whole CLIP with a picture
    encoder, as public checkpoints have it; the text encoders of one seed are the same."""
    from transformers import CLIPConfig, CLIPModel, CLIPTextModel

    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": LONGEST,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 8,
        "patch_size": 4,
    }
    config = CLIPConfig(text_config=text, vision_config=vision)
    torch.manual_seed(seed)
    encoder = CLIPTextModel(config.text_config)
    # Small weights as they start would make all texts nearly alike.
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    if not whole:
        encoder.save_pretrained(folder)
        return folder
    model = CLIPModel(config)
    model.text_model.load_state_dict(encoder.state_dict())
    model.save_pretrained(folder)
    return folder


def _tokenizer():  # type: ignore[no-untyped-def]
    from transformers import CLIPTokenizer

    letters = [chr(code) for code in range(33, 127)]
    merges = [("t", "u"), ("tu", "r"), ("tur", "n</w>"), ("l", "e"), ("le", "f"), ("lef", "t</w>")]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(m) for m in merges)]
    vocabulary = {word: index for index, word in enumerate([*words, START, END])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges)
