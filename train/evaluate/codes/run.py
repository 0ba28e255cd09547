"""Make each code on the training split, score it on the test split, write table and picture."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared.report.pictures import png
from shared.store.export import ClipReader
from shared.store.paths import write_whole
from train.data.clips import Clips
from train.evaluate.codes.kinds import DEFAULT, codes_named
from train.evaluate.codes.picture import codes_picture
from train.evaluate.codes.score import coded, score_code, score_first_frame
from train.evaluate.codes.table import codes_table
from train.models.autoencoder import weights_hash
from train.recipe import AutoencoderOptions, Recipe
from train.spaces.codec import CodecSpace, CodecSpaceOptions
from train.stages.autoencoder import FOLDER, load_autoencoder, train_autoencoder
from train.trainer.checkpoint import checkpoints, load_state
from train.trainer.monitor import processor
from train.trainer.schedule import TrainingOptions

JSON, TABLE, PICTURE, SCORE = "codes.json", "codes.md", "codes.png", "score.json"
_FIRST = "first frame repeated"


@dataclass(frozen=True)
class CodesOptions:
    """What to compare, and on what.

    Attributes:
        codes: names with commas between them; see `train.evaluate.codes.kinds`.
        latent_channels: numbers a cell of block x block pixels, of every code.
        split: protocol of the store; None takes the first.
        count: test clips at most, spread evenly over the test split.
        seconds: training of a code that learns by gradients.
        seed: of that training.
    """

    codes: str = DEFAULT
    latent_channels: int = 16
    split: str | None = None
    count: int = 100
    seconds: float = 300.0
    seed: int = 0


def compare_codes(
    store: ClipReader, out: Path, options: CodesOptions, device: torch.device
) -> dict[str, Any]:
    """Write OUT/codes.json, codes.md and codes.png; what is there already is not done again.

    Returns:
        What codes.json holds.

    Raises:
        UserError: a code is unknown, or OUT holds other ones under its name.
    """
    kinds = codes_named(options.codes, options.latent_channels)
    clips = Clips(store, options.split)
    indices = clips.test[:: -(-len(clips.test) // options.count)]
    protocol = _protocol(store, clips, indices, options)
    rows = {_FIRST: _first_row(clips, indices, device)}
    spaces: list[CodecSpace] = []
    for name, kind in kinds.items():
        row, space = _code(name, kind, store, out / name, options, protocol, device)
        rows[name], spaces = row(clips, indices), [*spaces, space]
    content = {
        "dataset": store.attributes.dataset,
        "store": store.options.model_dump(mode="json"),
        "protocol": protocol,
        "codes": rows,
        "hardware": processor(),
        "command": shlex.join(["python", "-m", "train", *sys.argv[1:]]),
    }
    write_whole(out / JSON, json.dumps(content, indent=1).encode())
    write_whole(out / TABLE, codes_table(content).encode())
    _draw(clips, indices, spaces, out, device)
    return content


Row = dict[str, Any]


def _code(
    name: str,
    kind: AutoencoderOptions,
    store: ClipReader,
    folder: Path,
    options: CodesOptions,
    protocol: dict[str, Any],
    device: torch.device,
) -> tuple[Callable[[Clips, NDArray[np.int64]], Row], CodecSpace]:
    """Make a code; returns what scores it, and its space in a closed loop."""
    train_autoencoder(_recipe(kind, options), store, folder, device)
    seconds = load_state(checkpoints(folder / FOLDER)[-1])["seconds"]
    closed, opened = (
        CodecSpace(store.options, how, load_autoencoder(how, folder, device))
        for how in (CodecSpaceOptions(closed_loop=True), CodecSpaceOptions())
    )
    identity = {"protocol": protocol, "weights": weights_hash(closed.autoencoder)}

    def row(clips: Clips, indices: NDArray[np.int64]) -> Row:
        if (kept := _kept(folder / SCORE, identity)) is not None:
            return kept
        loss = score_code(closed, clips, indices, device, f"{name}, closed loop")
        same = not closed.closed_loop
        other = loss if same else score_code(opened, clips, indices, device, f"{name}, open loop")
        found = {
            "latent_channels": kind.latent_channels,
            "closed": asdict(loss),
            "open": asdict(other),
            "seconds": seconds,
        }
        write_whole(folder / SCORE, json.dumps({**identity, "row": found}, indent=1).encode())
        return found

    return row, closed


def _recipe(kind: AutoencoderOptions, options: CodesOptions) -> Recipe:
    return Recipe(
        name="codes",
        space=CodecSpaceOptions(closed_loop=True),
        autoencoder=kind,
        autoencoder_training=TrainingOptions(
            seconds=options.seconds, learning_rate=1e-3, warmup=50, decay=True, ema=0.99
        ),
        split=options.split,
        seed=options.seed,
    )


def _kept(path: Path, identity: dict[str, Any]) -> Row | None:
    """A row that was scored by the same protocol with the same weights."""
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text())
    return content["row"] if {name: content[name] for name in identity} == identity else None


def _first_row(clips: Clips, indices: NDArray[np.int64], device: torch.device) -> Row:
    loss = asdict(score_first_frame(clips, indices, device))
    return {"latent_channels": 0, "closed": loss, "open": loss, "seconds": None}


def _protocol(
    store: ClipReader, clips: Clips, indices: NDArray[np.int64], options: CodesOptions
) -> dict[str, Any]:
    return {
        "split": options.split or next(iter(store.attributes.splits), "any"),
        "train_clips": len(clips.train),
        "test_clips": len(indices),
        "clips": [int(i) for i in indices],
        "latent_channels": options.latent_channels,
        "grid": list(store.options.grid),
    }


def _draw(
    clips: Clips,
    indices: NDArray[np.int64],
    spaces: list[CodecSpace],
    out: Path,
    device: torch.device,
) -> None:
    each = [score_first_frame(clips, indices[k : k + 1], device).psnr for k in range(len(indices))]
    liveliest = int(np.argmin(each))
    batch = clips.batch(indices[liveliest : liveliest + 1], device)
    real = clips.frames(batch)[0].cpu()
    write_whole(
        out / PICTURE, png(codes_picture(real, [coded(space, batch)[0] for space in spaces]))
    )
