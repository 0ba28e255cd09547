"""`train evaluate` on tiny runs: the demo's protocol, and the published ones on 16-frame clips."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from shared.schema import CodecOptions
from shared.store.store import Store
from tests.train.conftest import NO_REFINER, call_train, train_stages
from tests.train.evaluate.metrics.tiny_i3d import TinyI3D, save_script
from tests.train.stores import LABELS, make_store
from tests.train.stores import OPTIONS as SHORT
from train.data.clips import Clips
from train.evaluate.clip_metrics import I3D_LOGITS, part_metrics, real_clip_metrics
from train.evaluate.make_clips import load_run, make_parts, plan_parts, reconstruct
from train.evaluate.metrics.evaluation_networks import EvaluationNetworks
from train.evaluate.metrics.fvd import load_i3d
from train.evaluate.protocols import Plan
from train.generate.generator import load_generator, with_sampler

Cli = Callable[..., tuple[int, str, str]]

PART_CLIPS = 8
"""Clips in a part, here: few."""

CLIPS = PART_CLIPS + 7
"""A whole part and a piece of one."""

OPTIONS = CodecOptions(size=16, frames=16, block=4, search_range=3, reference="previous")
FAST = ("--judge-steps", 4, "--device", "cpu")
SMALL_PARTS = f"""
import train.__main__, train.evaluate.make_clips
train.evaluate.make_clips.PART_CLIPS = {PART_CLIPS}
train.__main__.main()
"""
CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def small_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.evaluate.make_clips.PART_CLIPS", PART_CLIPS)
        yield


@pytest.fixture(scope="module")
def store16(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """5 subjects x 4 labels; every fifth video is for the test by the protocol `videos`."""
    return make_store(
        tmp_path_factory.mktemp("stores") / "sixteen", options=OPTIONS, subjects=tuple("abcde")
    )


@pytest.fixture(scope="module")
def run16(store16: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    changes = NO_REFINER | {"split": "videos", "denoiser.layout": "0"}
    assert train_stages(store16.path, run, changes) == [0, 0, 0]
    return run


def command(run: Path, store: Store, out: Path, *options: object) -> tuple[object, ...]:
    return ("evaluate", "--run", run, "--store", store.path, "--out", out, *options)


@pytest.fixture(scope="module")
def whole(run16: Path, store16: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed evaluation."""
    out = tmp_path_factory.mktemp("evaluations") / "whole"
    options = ("--protocol", "dvdm", "--count", CLIPS, *FAST)
    assert call_train(*command(run16, store16, out, *options)) == 0
    return out


def scores_in(out: Path) -> dict[str, Any]:
    return json.loads((out / "scores.json").read_text())


def repeatable(out: Path) -> dict[str, Any]:
    """All that must be the same wherever and whenever it is computed."""
    scores = scores_in(out)
    for name in ("command", "parts_reused"):
        del scores["made"][name]
    return scores


def test_a_second_run_gives_the_same_numbers(
    whole: Path, run16: Path, store16: Store, tmp_path: Path
) -> None:
    """Elsewhere, with a part of another run in the way, a torn one, and one that may be trusted."""
    first, second = (f"part-{k:05d}.safetensors" for k in range(2))
    parts = tmp_path / "again" / "parts"
    parts.mkdir(parents=True)
    foreign = load_file(whole / "parts" / first)
    foreign["frames"] = 255 - foreign["frames"]
    save_file(foreign, parts / first, metadata={"identity": "another run"})
    shutil.copy(whole / "parts" / second, parts)
    (parts / f".{second}.123").write_bytes(b"torn")
    options = ("--protocol", "dvdm", "--count", CLIPS, "--judges", whole / "judges", *FAST)
    assert call_train(*command(run16, store16, parts.parent, *options)) == 0
    assert scores_in(parts.parent)["made"]["parts_reused"] == 1
    assert repeatable(parts.parent) == repeatable(whole)
    pair = [load_file(folder / "parts" / first) for folder in (parts.parent, whole)]
    assert all((pair[0][name] == pair[1][name]).all() for name in pair[1])
    assert sorted(path.name for path in parts.iterdir()) == [first, second]


def test_a_score_stands_with_what_it_came_from(whole: Path, store16: Store) -> None:
    scores = scores_in(whole)
    protocol, made = scores["protocol"], scores["made"]
    assert (protocol["name"], protocol["count"], protocol["shrunk"]) == ("dvdm", CLIPS, True)
    test = Clips(store16, "videos").test
    assert made["split"] == "videos"
    assert made["real_windows"] == made["real_windows_from_videos"] == len(test)
    assert made["first_frames"] == len(test)
    assert made["generated_clips"] == scores["clips"] == CLIPS
    assert made["seeds"] == [0, CLIPS - 1]
    assert (made["frames"], made["frame_stride"], made["i3d_sha256"]) == (16, 1, None)
    assert scores["distances"]["FVD"].startswith("not computed: FVD needs I3D's weights")
    table = (whole / "scores.md").read_text()
    assert "FEWER than the protocol's, by --count" in table
    for name in ("FVD", "PSNR", "subject accuracy", "hardware", "judges hash", "sampler"):
        assert name in table
    assert "\n\n\n" not in table


def test_parts_hold_what_was_generated(whole: Path, store16: Store) -> None:
    parts = [load_file(path) for path in sorted((whole / "parts").iterdir())]
    assert [len(part["frames"]) for part in parts] == [PART_CLIPS, CLIPS - PART_CLIPS]
    start = np.concatenate([part["clip"] for part in parts])
    assert np.concatenate([part["seed"] for part in parts]).tolist() == list(range(CLIPS))
    assert sorted(set(start.tolist())) == Clips(store16, "videos").test.tolist()
    for part in parts:
        for clip, index in zip(part["frames"], part["clip"], strict=True):
            assert (clip[0] == store16.clip("first_frame", index)).all()
    shown = load_file(whole / "generated.safetensors")
    assert (shown["frames"] == parts[0]["frames"]).all()
    real = Clips(store16, "videos")
    truth = real.frames(real.batch(shown["clip"], CPU)).numpy()
    assert (shown["real"] == truth).all()


def test_restored_clips_are_nearer_than_generated_ones(
    run16: Path, store16: Store, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ("--protocol", "reconstruction", "--judges", whole / "judges", *FAST)
    assert call_train(*command(run16, store16, out, *options)) == 0
    scores = scores_in(out)
    assert list(scores["distances"]) == ["R-FVD"]
    assert scores["frames"]["clips"] == len(Clips(store16, "videos").test)
    assert scores["frames"]["psnr"] > scores_in(whole)["frames"]["psnr"]
    frames = scores["frames"]
    assert frames["psnr_over_clip_with_given"] == pytest.approx(
        frames["psnr_over_clip"] + 10 * np.log10(16 / 15), abs=1e-6
    )


def reconstruct_vae_alone(store: Store, run: Path, networks: Path, kind: str, loop: bool) -> dict:
    """Scores of a run of which the autoencoder alone was trained."""
    changes: dict[str, str | None] = {
        "autoencoder.kind": kind,
        "autoencoder.hidden": None,
        "autoencoder.latent_channels": None,
        "space.closed_loop": str(loop).lower(),
        "split": "videos",
    }
    assert train_stages(store.path, run, NO_REFINER | changes, ("vae",)) == [0]
    options = ("--protocol", "reconstruction", "--judges", networks, *FAST)
    assert call_train(*command(run, store, run / "out", *options)) == 0
    return scores_in(run / "out")


def test_autoencoders_are_compared_by_their_reconstructions(
    store16: Store, whole: Path, tmp_path: Path
) -> None:
    """Linear codes of one latent size, without a denoiser; in a closed loop and in an open one."""
    found = {
        (kind, loop): reconstruct_vae_alone(
            store16, tmp_path / f"{kind}-{loop}", whole / "judges", kind, loop
        )
        for kind, loop in (("zero", True), ("dct", True), ("klt", True), ("klt", False))
    }
    psnr_of = {key: scores["frames"]["psnr"] for key, scores in found.items()}
    assert min(psnr_of["klt", True], psnr_of["dct", True]) > psnr_of["zero", True] + 1
    last = {key: scores["scores"]["psnr_by_frame"][-1] for key, scores in found.items()}
    assert last["klt", True] > last["klt", False]
    # A code of nothing restores what exact vectors alone do.
    zero = found["zero", True]
    assert zero["psnr_vectors_alone"] == pytest.approx(psnr_of["zero", True], rel=1e-5)
    assert zero["made"]["sampler"] is None
    assert "residuals have a fixed linear code, not an autoencoder" in zero["made"]["additions"]
    table = (tmp_path / "zero-True" / "out" / "scores.md").read_text()
    assert "PSNR of the last frame" in table and "exact vectors alone" in table


def test_a_run_without_a_denoiser_generates_nothing(
    cli: Cli, store16: Store, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    changes = NO_REFINER | {"autoencoder.kind": "klt", "autoencoder.hidden": None}
    assert train_stages(store16.path, run, changes, ("vae",)) == [0]
    assert train_stages(store16.path, run, changes | {"seed": "1"}, ("vae",)) == [2]
    code, _, err = cli(*command(run, store16, tmp_path / "out", "--protocol", "demo"))
    assert code == 2
    assert "run first: dvdm-train diffusion" in err


def test_a_contextual_autoencoder_trains_and_is_named(
    store16: Store, whole: Path, tmp_path: Path
) -> None:
    """As any other autoencoder, from the recipe's options to the clause in its scores."""
    run = tmp_path / "run"
    changes = {"autoencoder.kind": "contextual", "autoencoder.hidden": None, "split": "videos"}
    changes |= {"autoencoder.latent_channels": "4", "autoencoder.blocks": "200"}
    changes |= {"space.closed_loop": "true"}
    assert train_stages(store16.path, run, NO_REFINER | changes) == [0, 0, 0]
    options = ("--protocol", "reconstruction", "--judges", whole / "judges", *FAST)
    assert call_train(*command(run, store16, tmp_path / "out", *options)) == 0
    clause = "each residual's linear code follows from what the decoder knows already"
    assert clause in scores_in(tmp_path / "out")["made"]["additions"]


def test_frames_have_no_context_to_code_them_by(cli: Cli, store16: Store, tmp_path: Path) -> None:
    arguments = ("--store", store16.path, "--out", tmp_path / "run", "--recipe", "ldm_demo")
    code, _, err = cli("vae", *arguments, "--set", "autoencoder.kind=contextual")
    assert code == 2
    assert "space.kind=codec only" in err


def test_the_command_codes_says_what_replaces_it(cli: Cli) -> None:
    code, _, err = cli("codes", "--store", "somewhere", "--numbers", 8)
    assert code == 2
    assert "codes is gone" in err
    assert "evaluate --run RUN --store STORE --protocol reconstruction" in err


def test_samples_of_one_first_frame(
    run16: Path, store16: Store, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ("--protocol", "bair", "--count", 2, "--samples", 3, "--judges", whole / "judges")
    assert call_train(*command(run16, store16, out, *options, *FAST)) == 0
    best = scores_in(out)["best_of"]["psnr_over_clip"]
    assert best["samples"] == 3
    assert best["best"] > best["average"]
    assert best["average"] == pytest.approx(scores_in(out)["scores"]["psnr_over_clip"])
    assert "of 3 samples" in (out / "scores.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--protocol", "lfdm"), "about clips of 40 frames; the store's have 16"),
        (("--protocol", "fvd"), "choose from dvdm, lfdm"),
        (("--protocol", "dvdm", "--i3d", "no.pt"), "real: 4 clips for 400 features"),
    ],
)
def test_what_a_protocol_is_not_about_is_refused(
    cli: Cli, run16: Path, store16: Store, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    code, _, err = cli(*command(run16, store16, tmp_path / "out", *options))
    assert code == 2
    assert message in " ".join(err.split())
    assert not (tmp_path / "out" / "parts").exists()


def test_the_wrong_split_is_refused(cli: Cli, store16: Store, tmp_path: Path) -> None:
    run = tmp_path / "run"
    changes = NO_REFINER | {"split": "subjects", "denoiser.layout": "0"}
    assert train_stages(store16.path, run, changes) == [0, 0, 0]
    code, _, err = cli(*command(run, store16, tmp_path / "out", "--protocol", "dvdm"))
    assert code == 2
    assert "is about a random split" in err
    assert "--set split=NAME" in err


def test_i3d_sees_every_clip_once_and_in_order(whole: Path, store16: Store, tmp_path: Path) -> None:
    i3d = load_i3d(save_script(TinyI3D(), tmp_path), CPU)
    clips = Clips(store16, "videos")
    parts = [load_file(path) for path in sorted((whole / "parts").iterdir())]
    rows = {
        name: np.concatenate([part[name] for part in parts])
        for name in parts[0].keys() & parts[1].keys()
    }
    plan = Plan(clips.test, len(clips.test), rows["clip"], rows["seed"])
    metrics, repeated = part_metrics(
        plan_parts(whole, plan, ""), plan, clips, EvaluationNetworks(None, None), i3d, CPU
    )
    expected = i3d(torch.from_numpy(rows["frames"]))
    assert metrics[I3D_LOGITS] == pytest.approx(expected, abs=1e-3)
    assert len(repeated["change"]) == CLIPS
    assert not repeated["change"].any()
    windows = real_clip_metrics(clips, EvaluationNetworks(None, None), CPU, plan.windows, i3d)
    real = clips.frames(clips.batch(clips.test, CPU))
    assert windows.metrics[I3D_LOGITS] == pytest.approx(i3d(real), abs=1e-3)


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_to_the_same_numbers(
    run16: Path, store16: Store, whole: Path, tmp_path: Path
) -> None:
    """SIGKILL while the second part is made; the first one is kept."""
    out = tmp_path / "cut"
    options = ("--protocol", "dvdm", "--count", CLIPS, "--judges", whole / "judges", *FAST)
    line = [sys.executable, "-c", SMALL_PARTS, *map(str, command(run16, store16, out, *options))]
    process = subprocess.Popen(line, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    first = out / "parts" / "part-00000.safetensors"
    while not first.exists():
        assert process.poll() is None
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (out / "scores.json").exists()
    kept = first.stat().st_mtime_ns
    assert subprocess.run(line, stderr=subprocess.DEVNULL, check=False).returncode == 0
    assert first.stat().st_mtime_ns == kept
    assert scores_in(out)["made"]["parts_reused"] == 1
    assert repeatable(out) == repeatable(whole)


@pytest.fixture(scope="module")
def evaluated(run: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = run / "evaluation"
    assert call_train("evaluate", "--run", run, "--store", store.path, "--judge-steps", 4) == 0
    return out


def test_scores_are_complete_and_plausible(evaluated: Path) -> None:
    scores = json.loads((evaluated / "scores.json").read_text())
    assert scores["clips"] == len(LABELS)
    assert 0 <= scores["read_as_asked"] <= len(LABELS)
    assert 0 <= scores["classifier_accuracy_real"] <= 1
    decibels = {name: value for name, value in scores.items() if name.startswith("psnr")}
    assert len(decibels) == 6
    assert all(0 < value < 100 for value in decibels.values())
    assert scores["psnr_reconstruction"] > scores["psnr_vectors_alone"]
    assert scores["motion_ratio"] > 0


def test_generated_clips_are_kept_with_the_clips_they_belong_to(
    evaluated: Path, store: Store
) -> None:
    arrays = load_file(evaluated / "generated.safetensors")
    assert arrays["frames"].shape == (len(LABELS), SHORT.frames, 3, 16, 16)
    assert store.column("label")[arrays["clip"]].tolist() == list(range(len(LABELS)))
    assert arrays["label"].tolist() == list(range(len(LABELS)))
    for index, clip, real in zip(arrays["clip"], arrays["frames"], arrays["real"], strict=True):
        first = store.clip("first_frame", index)
        assert (clip[0] == first).all() and (real[0] == first).all()
    assert arrays["motion"].shape == (len(LABELS), SHORT.frames - 1, 2, 4, 4)


def test_restored_clips_keep_the_parts_that_are_drawn(
    flow_run: Path, store: Store, tmp_path: Path
) -> None:
    run = load_run(flow_run, CPU)
    clips = Clips(store, run.recipe.split)
    rows = clips.test[:2]
    plan = Plan(rows, 2, rows, np.zeros(2, np.int64))
    parts = plan_parts(tmp_path, plan, "run")
    assert make_parts(parts, plan, run, clips, reconstruct=True) == 0
    kept = parts[0].tensors()
    assert set(kept) == {"frames", "unrefined", "moved", "flow", "occlusion", "clip", "seed"}
    found = reconstruct(run.space, clips, rows, CPU)
    assert torch.equal(kept["flow"], found.parts["flow"])


def test_another_store_is_refused(cli: Cli, run: Path, tmp_path: Path) -> None:
    options = SHORT.model_copy(update={"search_range": 5})
    other = make_store(tmp_path / "other", options=options)
    code, _, err = cli("evaluate", "--run", run, "--store", other.path, "--out", tmp_path / "out")
    assert code == 2
    assert "search_range (run: 3, store: 5)" in err


def test_a_sampler_of_the_commands_has_a_folder_of_its_own(
    run: Path, store: Store, tmp_path: Path
) -> None:
    """And the judges of the run's own evaluation."""
    own = Path(shutil.copytree(run, tmp_path / "run"))
    other = ("--steps", 2, "--guidance", 1, "--count", 2, "--judge-steps", 4, "--device", "cpu")
    assert call_train("evaluate", "--run", own, "--store", store.path, *other) == 0
    out = own / "evaluation/steps-2-guidance-1.0"
    assert (own / "evaluation/judges").is_dir()
    assert not (out / "judges").exists()
    part = load_file(next((out / "parts").iterdir()))
    generator = with_sampler(load_generator(own, torch.device("cpu")), steps=2, guidance=1.0)
    batch = Clips(store, generator.recipe.split).batch(part["clip"], torch.device("cpu"))
    again = generator(batch.first_frame, batch.label.tolist(), part["seed"].tolist())
    assert np.array_equal(again.frames.numpy(), part["frames"])


def test_options_of_a_sampler_are_refused_where_nothing_is_sampled(
    run: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--protocol", "reconstruction", "--steps", 2)
    assert call_train("evaluate", "--run", run, "--store", store.path, *asked) == 2
    assert "--steps: --protocol reconstruction samples nothing" in capsys.readouterr().err
