"""Videos longer than a clip: each next clip goes on from the last frame of the one before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from train.generate import Generator
from train.spaces import Decoded


def clips_for(frames: int, clip_frames: int) -> int:
    """Clips that a video of so many frames takes: each next one adds all but its first frame."""
    return max(1, -(-(frames - 1) // (clip_frames - 1)))


def generate_frames(
    generator: Generator,
    first_frame: Tensor,
    label: Sequence[int | None],
    seeds: Sequence[int],
    frames: int,
    on_step: Callable[[], object] = lambda: None,
) -> Decoded:
    """Videos of any length; the first clip is what the generator alone would give.

    Args:
        generator: of clips of T frames.
        first_frame: uint8, shape (B, 3, H, W).
        label: index into the store's labels, or None; B of them.
        seeds: B of them.
        frames: N, at least 2.
        on_step: as for the generator.

    Returns:
        Frames uint8, shape (B, N, 3, H, W), and the space's parts, N or N-1 of each.
    """
    clips: list[Decoded] = []
    for clip in range(clips_for(frames, generator.store.options.frames)):
        given = clips[-1].frames[:, -1] if clips else first_frame
        clips.append(generator(given, label, seeds, clip=clip, on_step=on_step))
    parts = {name: [clip.parts[name] for clip in clips] for name in clips[0].parts}
    whole = {name: _joined(pieces, clips[0], frames) for name, pieces in parts.items()}
    return Decoded(_joined([clip.frames for clip in clips], clips[0], frames), whole)


def _joined(pieces: Sequence[Tensor], clip: Decoded, frames: int) -> Tensor:
    """Films one after another: of those that have a frame 0, the next ones' is known already."""
    with_first = int(pieces[0].shape[1] == clip.frames.shape[1])
    film = torch.cat([pieces[0], *(piece[:, with_first:] for piece in pieces[1:])], dim=1)
    return film[:, : frames - 1 + with_first]
