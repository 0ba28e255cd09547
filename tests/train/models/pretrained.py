"""Pretrained networks of a few thousand weights, made on the spot."""

from __future__ import annotations

from pathlib import Path

import torch


def make_depth_folder(folder: Path, *, seed: int = 0) -> Path:
    """Write what `save_pretrained` of DPT and of its image processor write."""
    from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessorPil

    torch.manual_seed(seed)
    config = DPTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16,
        image_size=32, patch_size=8, backbone_out_indices=[0, 1, 2, 3], is_hybrid=False,
        neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, head_in_index=-1,
    )  # fmt: skip
    DPTForDepthEstimation(config).save_pretrained(folder)
    DPTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def make_vision_folder(folder: Path, *, seed: int = 0) -> Path:
    """Write what `save_pretrained` of a CLIP vision model writes: 16 tokens of 16 numbers."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(seed)
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        image_size=16, patch_size=4,
    )  # fmt: skip
    CLIPVisionModel(config).save_pretrained(folder)
    return folder
