from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from shared.store.store import Store
from tests.train.stores import make_store
from train.data.clips import Clips, clips_before
from train.evaluate import long
from train.evaluate.long import background_drift, chains_of, joined


def test_drift_is_the_change_of_still_pixels_since_the_first_frame() -> None:
    window = torch.zeros(2, 3, 3, 4, 4, dtype=torch.uint8)
    window[0, :, :, :2] = 200
    window[0, 1:, :, 2:] = 6
    still = torch.zeros(2, 4, 4, dtype=torch.bool)
    still[0, 2:] = True
    found = background_drift(window, torch.zeros(2, 3, 4, 4, dtype=torch.uint8), still)
    assert found[0] == pytest.approx(4), "6 grey levels in two of three frames"
    assert found[1].isnan()


@pytest.fixture(scope="module")
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("long") / "store", consecutive=7)


def test_real_videos_are_joined_from_consecutive_clips(own_store: Store) -> None:
    clips, before = Clips(own_store, None), clips_before(own_store)
    everything = np.arange(len(own_store))
    chains = chains_of(before, everything, 2 * 4, clips)
    assert chains == [[k, n] for n, k in enumerate(before.tolist()) if k >= 0]
    assert chains
    for chain in chains:
        video, start = joined(clips, chain), own_store.column("start_frame")[chain]
        assert video.shape == (8, 3, 16, 16)
        assert start[1] - start[0] == 4
        assert video[4].numpy().tobytes() == own_store.clip("first_frame", chain[1]).tobytes()
    assert chains_of(before, everything, 4, clips) == [[n] for n in everything]
    assert not chains_of(before, everything, 400, clips)


@pytest.mark.slow
def test_the_command_scores_every_window(
    run: Path,
    store: Store,
    cli: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a system that goes on from its last frame; a second command makes what is missing."""
    monkeypatch.setattr(long, "BATCH", 1)
    generate = long.generate_frames
    asked = ("evaluate", "--run", run, "--store", store.path, "--count", "2", "--judge-steps", "4")
    code, _, err = cli(*asked, "--frames", "10")
    assert code == 0, err
    out = run / "evaluation" / "frames-10"
    scores = json.loads((out / "scores.json").read_text())
    assert [window["first"] for window in scores["windows"]] == [0, 4]
    still = "not computed: no pixel of the clips is still"  # everything brightens in these clips
    assert [window["background_drift"] for window in scores["windows"]] == [still] * 2
    assert all(window["change"] >= 0 for window in scores["windows"])
    assert "each from the last frame" in scores["continues"]
    assert scores["fvd_10"].startswith("not computed")
    assert load_file(out / "videos.safetensors")["frames"].shape == (2, 10, 3, 16, 16)
    assert (out / "videos.png").is_file()

    # One video of two is lost; it alone is made again, and so again the same.
    whole = {path.name: path.read_bytes() for path in (out / "parts").iterdir()}
    assert len(whole) == 2
    (out / "parts" / "part-00001.safetensors").write_bytes(b"cut")
    made = []
    monkeypatch.setattr(
        long, "generate_frames", lambda *given, **more: made.append(1) or generate(*given, **more)
    )
    assert cli(*asked, "--frames", "10")[0] == 0
    assert len(made) == 1
    assert {path.name: path.read_bytes() for path in (out / "parts").iterdir()} == whole
    assert json.loads((out / "scores.json").read_text()) == scores
    assert cli(*asked, "--frames", "11")[0] == 0, "another length has a folder of its own"
    assert len(made) == 3

    code, _, err = cli(*asked, "--frames", "5")
    assert code == 2
    assert "--frames 5: drift is measured over windows of 4 frames" in err
