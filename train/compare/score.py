"""What a comparison's clips are worth: every run judged by the same networks, trained once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared.paths import location, write_whole
from shared.reader import open_clips
from train.compare.systems import SPLIT
from train.compare.work import Work, generated
from train.data import Clips
from train.generate import load_generator
from train.metrics.frames import psnr
from train.metrics.judges import JudgeOptions, Judges, train_judges
from train.metrics.score import ClipScores, Reference, measure_reference, score_clips

JUDGES, SCORES, BOUNDS = "judges", "scores.json", "bounds.json"

_AT_ONCE = 8
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Judging:
    """What a process that judges needs to know.

    Attributes:
        out: the comparison's folder.
        store: whose clips the judges learn from; all stores have the same.
        chosen: the test clips that were generated.
        judge_steps: of the classifier of gestures.
        works: the runs to score.
    """

    out: Path
    store: Path
    chosen: tuple[int, ...]
    judge_steps: int
    works: tuple[Work, ...] = ()

    def clips(self) -> Clips:
        """The store's, by the comparison's split."""
        return Clips(open_clips(location(str(self.store))), SPLIT)

    def judges(self, clips: Clips) -> Judges:
        """Trained, or loaded where they were."""
        options = JudgeOptions(
            gesture_steps=self.judge_steps, subject_steps=max(1, 4 * self.judge_steps // 3)
        )
        return train_judges(clips, self.out / JUDGES, _CPU, options)


def judge_bounds(judging: Judging) -> None:
    """Train the judges and score what no run can beat, and what each should: OUT/bounds.json.

    The real test clips themselves are the ceiling, their first frames repeated the floor.
    """
    torch.set_num_threads(1)
    clips = judging.clips()
    judges = judging.judges(clips)
    path = judging.out / BOUNDS
    if _is_scored(path, judges.identity):
        return
    reference = measure_reference(clips, judges, _CPU)
    indices = np.array(judging.chosen)
    real = torch.cat([
        clips.frames(clips.batch(piece, _CPU)) for piece in np.split(indices, len(indices))
    ])  # fmt: skip
    still = real[:, :1].expand_as(real)
    scores = {
        name: asdict(score_clips(frames, indices, clips, judges, reference, _CPU))
        for name, frames in {"real": real, "still": still}.items()
    }
    _write(path, {"judges": judges.identity, **scores})


def judge_runs(judging: Judging) -> None:
    """Score some runs, each into its own folder; those that are scored already are left."""
    torch.set_num_threads(1)
    clips = judging.clips()
    judges = judging.judges(clips)
    open_works = [
        work for work in judging.works if not _is_scored(work.folder / SCORES, judges.identity)
    ]
    if not open_works:
        return
    reference = measure_reference(clips, judges, _CPU)
    for work in open_works:
        scores = _scores(work, clips, judges, reference)
        restored = _restored(work)
        content = {"judges": judges.identity, "scores": asdict(scores), "psnr_restored": restored}
        _write(work.folder / SCORES, content)


def not_scored(judging: Judging, works: Sequence[Work]) -> list[Work]:
    """The runs without scores by the judges that the bounds were scored by; all where none were."""
    path = judging.out / BOUNDS
    if not path.exists():
        return list(works)
    identity = read_scores(path)["judges"]
    return [work for work in works if not _is_scored(work.folder / SCORES, identity)]


def share_scored(judging: Judging) -> float:
    """How many of the runs are scored, 0...1."""
    scored = sum((work.folder / SCORES).exists() for work in judging.works)
    return scored / max(1, len(judging.works))


def read_scores(path: Path) -> dict[str, Any]:
    """What was written of a run, or of the bounds."""
    return json.loads(path.read_text())


def _scores(work: Work, clips: Clips, judges: Judges, reference: Reference) -> ClipScores:
    frames = torch.from_numpy(generated(work.folder, len(work.chosen)))
    return score_clips(frames, np.array(work.chosen), clips, judges, reference, _CPU)


def _restored(work: Work) -> float:
    """PSNR of the real clips through the run's target space and back, dB: what it can represent."""
    generator = load_generator(work.folder, _CPU)
    clips = Clips(open_clips(location(str(work.store))), SPLIT)
    values: list[Tensor] = []
    for start in range(0, len(work.chosen), _AT_ONCE):
        batch = clips.batch(np.array(work.chosen[start : start + _AT_ONCE]), _CPU)
        with torch.no_grad():
            frames = generator.space.decode(generator.space.encode(batch), batch.first_frame).frames
        values.append(psnr(frames[:, 1:], clips.frames(batch)[:, 1:]))
    return float(torch.cat(values).mean())


def _is_scored(path: Path, identity: str) -> bool:
    return path.exists() and read_scores(path)["judges"] == identity


def _write(path: Path, content: dict[str, Any]) -> None:
    write_whole(path, json.dumps(content, indent=1).encode())
