"""A run's folder: where everything in it lies, its recipe, and the commands that made it."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.console import shell_command
from shared.errors import UserError


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run; nothing is made or read before it is asked for.

    Attributes:
        root: the folder that `--out` or `--run` names.
        start: a run from whose autoencoder the stage `vae` starts, if any.
    """

    root: Path
    start: RunFolder | None = None

    @property
    def texts(self) -> Path:
        """Embeddings of the label texts."""
        return self.root / "texts"

    @property
    def autoencoder(self) -> Path:
        """Stage `vae`."""
        return self.root / "vae"

    @property
    def statistics(self) -> Path:
        """Stage `encode`: mean and deviation of x_0."""
        return self.root / "statistics"

    @property
    def diffusion(self) -> Path:
        """Stage `diffusion`: the denoiser."""
        return self.root / "diffusion"

    @property
    def refiner(self) -> Path:
        """Stage `diffusion`, last part: the refining network."""
        return self.root / "refiner"

    @property
    def decoder(self) -> Path:
        """Stage `diffusion`, last part: the decoder of whole clips."""
        return self.root / "decoder"

    @property
    def guide(self) -> RunFolder:
        """The run of the recipe's guide."""
        return RunFolder(self.root / "guide", self.start and self.start.guide)

    @property
    def evaluation(self) -> Path:
        """Scores and clips of the protocol `demo`; those of others in folders of their names."""
        return self.root / "evaluation"

    @property
    def report(self) -> Path:
        """The page that shows the run."""
        return self.root / "report"

    @property
    def trained_stages(self) -> dict[str, Path]:
        """Folders of the stages with a training log, by name, in the order of training."""
        return {
            "vae": self.autoencoder,
            "diffusion": self.diffusion,
            "refiner": self.refiner,
            "decoder": self.decoder,
        }

    def copy_missing(self, stages: Iterable[Path]) -> None:
        """Copy folders of another run that are there and missing here, each whole or not at all."""
        for stage in stages:
            if stage.exists() and not (self.root / stage.name).exists():
                scratch = self.root / f".{stage.name}"
                shutil.rmtree(scratch, ignore_errors=True)
                shutil.copytree(stage, scratch)
                scratch.rename(self.root / stage.name)

    def save_recipe(self, content: dict[str, Any]) -> None:
        """Write RUN/recipe.json."""
        from shared.store.paths import write_whole  # loads fsspec: a third of --help's time

        write_whole(self.root / "recipe.json", json.dumps(content, indent=1).encode())

    def recipe(self) -> dict[str, Any] | None:
        """Content of RUN/recipe.json; None if there is no such file."""
        path = self.root / "recipe.json"
        return json.loads(path.read_bytes()) if path.is_file() else None

    @contextmanager
    def record_command(self) -> Iterator[None]:
        """Note this process's command and its seconds in RUN/commands.jsonl, once it has ended."""
        started = time.monotonic()
        yield
        line = {"command": own_command(), "seconds": round(time.monotonic() - started, 1)}
        with (self.root / "commands.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def commands(self) -> list[tuple[str, float | None]]:
        """Finished commands and their seconds, in their order."""
        path = self.root / "commands.jsonl"
        # A line that a full disk or a kill cut off ends without a line break.
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        lines = text.rpartition("\n")[0].splitlines()
        return [(line["command"], line.get("seconds")) for line in map(json.loads, lines)]


def own_command() -> str:
    """This process's command, as one would type it."""
    return shell_command("dvdm-train", *sys.argv[1:])


HUB = "hf://"


def run_folder(run: str | Path) -> Path:
    """Folder of a run: the one that is named, or the local copy of one on the Hugging Face Hub.

    Args:
        run: a folder, or hf://USER/NAME or hf://USER/NAME@REVISION; `HF_HUB_OFFLINE=1` takes what
            was fetched before.

    Raises:
        UserError: there is no such model on the Hub, or the Hub cannot be reached.
    """
    # A `Path` has one of the two slashes left.
    name = re.sub(r"^hf:/+", "", str(run))
    if name == str(run):
        return Path(run)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", name):
        raise UserError(f"{HUB}{name}: give {HUB}USER/NAME, or {HUB}USER/NAME@REVISION")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    try:
        # Weights and texts alone: nothing of a model is ever executed.
        found = snapshot_download(
            repository,
            revision=revision or None,
            allow_patterns=["*.safetensors", "*.json", "*.md"],
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{HUB}{name}: not found, here or on the Hub ({reason})") from None
    return Path(found)
