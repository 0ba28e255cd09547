"""The page of a tiny run, through the command line."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from base64 import b64decode
from collections.abc import Callable
from html import unescape
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file

from shared.report.pictures import (
    add_legend,
    contact_sheet,
    enlarge,
    flow_colours,
    flow_legend,
    grey_levels,
    webp,
)
from shared.store.store import Store
from tests.train.conftest import NO_REFINER, call_train, train_stages
from tests.train.stores import LABELS, OPTIONS, make_store
from train.data.clips import Clips
from train.evaluate.make_clips import load_run, reconstruct
from train.evaluate.report.scores import shown_clips
from train.stages.previews import read_films, read_latest

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def bare(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a checkpoint every second step, never evaluated. Not to change."""
    run = tmp_path_factory.mktemp("runs") / "bare"
    changes = NO_REFINER | {"diffusion_training.checkpoint_every": "2"}
    assert train_stages(store.path, run, changes) == [0, 0, 0]
    return run


@pytest.fixture(scope="module")
def evaluated(run: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run with refiner, evaluated. Not to change."""
    path = tmp_path_factory.mktemp("runs") / "evaluated"
    shutil.copytree(run, path)
    shutil.rmtree(path / "evaluation", ignore_errors=True)
    assert call_train("evaluate", "--run", path, "--store", store.path, "--judge-steps", 4) == 0
    return path


@pytest.fixture(scope="module")
def evaluated_flow(flow_run: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the run of LFDM, evaluated. Not to change."""
    path = tmp_path_factory.mktemp("runs") / "evaluated_flow"
    shutil.copytree(flow_run, path)
    assert call_train("evaluate", "--run", path, "--store", store.path, "--judge-steps", 4) == 0
    return path


def text_of(page: Path) -> str:
    body = re.sub(r"<style>.*?</style>|<svg.*?</svg>", " ", page.read_text(), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def pictures_of(page: Path) -> dict[str, list[Image.Image]]:
    """Pictures in the page by what they are said to show."""
    found: dict[str, list[Image.Image]] = {}
    pattern = r'<img[^>]* src="data:image/\w+;base64,([^"]+)" alt="([^"]*)">'
    for data, alt in re.findall(pattern, page.read_text()):
        found.setdefault(unescape(alt), []).append(Image.open(BytesIO(b64decode(data))))
    return found


def assert_alone(page: Path) -> None:
    source = page.read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', source)
    assert "<script" not in source


def test_an_evaluated_run_with_its_store(
    cli: Cli, evaluated: Path, store: Store, tmp_path: Path
) -> None:
    before = "dvdm-preprocess <run>"
    code, out, err = cli(
        "report", evaluated, "--store", store.path, "--out", tmp_path / "o", "--before", before
    )
    assert code == 0, err
    page = tmp_path / "o" / "index.html"
    assert f"open {page}" in out
    assert_alone(page)
    text, pictures = text_of(page), pictures_of(page)
    for shown in (
        "Data set toy , recipe ed_vdm_demo",
        *LABELS,
        "on real test clips it is right in",
        "PSNR before the refining network, dB",
        "gesture accuracy: read by a classifier",
        "8 training clips, 4 test clips of 4 frames, 16x16",
        "parameters of the denoiser, million",
        before,
        "dvdm-train vae",
    ):
        assert shown in text, shown
    source = page.read_text()
    assert re.findall(r'<section id="(\w+)"', source) == [
        "generated", "films", "motion", "scores", "data", "training", "cost", "recipe", "commands",
    ]  # fmt: skip
    assert 'id="scores" data-files="1"' in source
    assert re.search(r'id="recipe" data-deviations="[1-9]', source)
    assert '<data id="read_as_asked"' in source and "--store STORE" not in source
    assert 'aria-label="PSNR by frame"' in source
    arrays = load_file(evaluated / "evaluation" / "generated.safetensors")
    for k, label in enumerate(LABELS):
        for kind, name in (("real", "real"), ("generated", "frames")):
            [film] = pictures[f"{kind}: {label}"]
            assert film.n_frames == OPTIONS.frames
            for n in range(OPTIONS.frames):
                film.seek(n)
                frame = np.asarray(film.convert("RGB")).transpose(2, 0, 1)
                assert np.array_equal(frame, arrays[name][k, n])
    for alt in (
        "real above generated",
        "real, motion alone, generated",
        "decoded above refined",
        "generated motion vectors",
        "vectors and residuals of a real clip",
        "real above restored",
        "training clips",
    ):
        assert len(pictures[alt]) == 1, alt
    first = np.asarray(Image.open(tmp_path / "o" / "first_frame.png")).transpose(2, 0, 1)
    assert np.array_equal(first, arrays["real"][0, 0])


def test_a_bare_run_says_what_to_run_and_shows_its_previews(
    cli: Cli, bare: Path, tmp_path: Path
) -> None:
    bare = shutil.copytree(bare, tmp_path / "a run's folder")
    code, out, err = cli("report", bare, "--out", tmp_path)
    assert code == 0, err
    assert "with --store STORE it shows data and reconstructions, too" in out
    page = tmp_path / "index.html"
    assert_alone(page)
    text, pictures = text_of(page), pictures_of(page)
    assert f"dvdm-train evaluate --run {shlex.quote(str(bare))} --store STORE" in text
    assert 'id="scores" data-files="0"' in page.read_text()
    assert "from the checkpoint of step 4" in text
    assert "step 2" in text and "step 4" in text
    assert list(read_films(bare / "diffusion")) == [2, 4]
    latest = read_latest(bare / "diffusion")
    assert latest is not None and list(latest.parts) == ["motion"]
    assert len(pictures["generated motion vectors"]) == 1
    assert len(pictures["real above generated at step 2"]) == 1
    assert "training clips" not in pictures and "decoded above refined" not in pictures
    assert (tmp_path / "first_frame.png").exists()


def drawn_rows(frames: np.ndarray, parts: dict[str, np.ndarray]) -> np.ndarray:
    """Rows of clips of 16 pixels, their flow and their occlusion, and a legend; as from a file."""
    longest = float(np.hypot(parts["flow"][:, :, 0], parts["flow"][:, :, 1]).max())
    rows = []
    for clip, flow, occlusion in zip(frames, parts["flow"], parts["occlusion"], strict=True):
        rows += [enlarge(clip[1:], 8), enlarge(flow_colours(flow, longest), 32)]
        rows.append(enlarge(grey_levels(occlusion), 32))
    picture = add_legend(contact_sheet(rows), flow_legend(longest))
    return np.asarray(Image.open(BytesIO(webp(picture))))


def test_generated_flow_is_shown_as_colours_and_occlusion_as_greys(
    cli: Cli, evaluated_flow: Path, store: Store, tmp_path: Path
) -> None:
    code, _, err = cli("report", evaluated_flow, "--store", store.path, "--out", tmp_path)
    assert code == 0, err
    assert_alone(tmp_path / "index.html")
    text, pictures = text_of(tmp_path / "index.html"), pictures_of(tmp_path / "index.html")
    assert "generated motion vectors" not in pictures
    assert "flow, from each place to that of its pixels in frame 0, as colours" in text
    assert "occlusion, from black, 0, to white, 1." in text
    arrays = load_file(evaluated_flow / "evaluation" / "generated.safetensors")
    parts = {name: arrays[name] for name in ("flow", "occlusion")}
    assert parts["flow"].shape == (len(LABELS), OPTIONS.frames - 1, 2, 4, 4)
    most = np.argsort(-abs(parts["flow"]).mean(axis=(1, 2, 3, 4)))[:3]
    expected = drawn_rows(arrays["frames"][most], {n: part[most] for n, part in parts.items()})
    [shown] = pictures["generated flow and occlusion"]
    assert np.array_equal(np.asarray(shown), expected)

    # The clip whose vectors are longest, with the flow that the autoencoder finds in it.
    trained = load_run(evaluated_flow, torch.device("cpu"))
    clips = Clips(store, trained.recipe.split)
    moves = abs(clips.read("motion", clips.test)[:, :, :2].float()).mean(dim=(1, 2, 3, 4))
    chosen, cpu = clips.test[int(moves.argmax())][None], torch.device("cpu")
    batch = clips.batch(chosen, cpu)
    found = reconstruct(trained.space, clips, chosen, cpu).parts
    expected = drawn_rows(
        clips.frames(batch).numpy(), {name: part.numpy() for name, part in found.items()}
    )
    [shown] = pictures["flow and occlusion of a real clip"]
    assert np.array_equal(np.asarray(shown), expected)


def test_previews_show_flow_where_nothing_was_evaluated(
    cli: Cli, flow_run: Path, tmp_path: Path
) -> None:
    assert cli("report", flow_run, "--out", tmp_path)[0] == 0
    latest = read_latest(flow_run / "diffusion")
    assert latest is not None and set(latest.parts) == {"flow", "occlusion"}
    pictures = pictures_of(tmp_path / "index.html")
    assert len(pictures["generated flow and occlusion"]) == 1
    assert "flow and occlusion of a real clip" not in pictures


def test_previews_are_of_the_same_clips_and_noise_at_every_step(bare: Path, store: Store) -> None:
    latest = read_latest(bare / "diffusion")
    assert latest is not None
    test = np.flatnonzero(store.column("split")[:, 0] == 1)
    picked = test[np.linspace(0, len(test) - 1, 4).astype(int)]
    assert latest.label.tolist() == store.column("label")[picked].tolist()
    for index, real, generated in zip(picked, latest.real, latest.generated, strict=True):
        first = store.clip("first_frame", int(index))
        assert (real[0] == first).all() and (generated[0] == first).all()


def test_scores_of_other_protocols_are_shown_as_they_are(
    cli: Cli, bare: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(bare, run)
    (run / "evaluation" / "lfdm").mkdir(parents=True)
    scores = {"protocol": "lfdm", "fvd": {"mean": 12.5}, "psnr_by_frame": [30.5, 29, 28, 27]}
    (run / "evaluation" / "lfdm" / "scores.json").write_text(json.dumps(scores))
    assert cli("report", run)[0] == 0
    text = text_of(run / "report" / "index.html")
    assert "lfdm fvd · mean 12.50" in text and "protocol lfdm" in text
    assert 'id="scores" data-files="1"' in (run / "report" / "index.html").read_text()


def test_clips_without_their_real_ones_are_not_shown_as_evaluated(
    evaluated: Path, tmp_path: Path
) -> None:
    arrays = load_file(evaluated / "evaluation" / "generated.safetensors")
    del arrays["real"]
    save_file(arrays, tmp_path / "generated.safetensors")
    shown = shown_clips(tmp_path, evaluated / "diffusion", ())
    assert shown is not None and shown.origin == "the checkpoint of step 4"
    assert shown_clips(tmp_path, tmp_path, ()) is None


def test_restored_clips_are_not_shown_as_generated(evaluated: Path, tmp_path: Path) -> None:
    whole = evaluated / "evaluation"
    for name, restored in (("a", True), ("b", False)):
        (tmp_path / name).mkdir()
        shutil.copy(whole / "generated.safetensors", tmp_path / name)
        scores = {"protocol": {"name": name, "reconstruct": restored}}
        (tmp_path / name / "scores.json").write_text(json.dumps(scores))
    shown = shown_clips(tmp_path, tmp_path, ())
    assert shown is not None and shown.origin == "the evaluation"
    shutil.rmtree(tmp_path / "b")
    assert shown_clips(tmp_path, tmp_path, ()) is None


def test_clips_that_would_make_the_page_large_are_left_out_and_counted(
    cli: Cli, evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.evaluate.report.pictures.CARDS_BYTES", 10)
    monkeypatch.setattr("train.evaluate.report.pictures.FILMS_BYTES", 10)
    assert cli("report", evaluated, "--out", tmp_path)[0] == 0
    pictures = pictures_of(tmp_path / "index.html")
    source = (tmp_path / "index.html").read_text()
    assert f'<data id="left_out" value="{len(LABELS) - 1}">' in source
    assert len(pictures[f"generated: {LABELS[0]}"]) == 1
    assert f"generated: {LABELS[1]}" not in pictures
    assert 'id="films"' not in source


def test_a_run_whose_blocks_choose_their_reference(cli: Cli, tmp_path: Path) -> None:
    options = OPTIONS.model_copy(update={"reference": "either"})
    store, run = make_store(tmp_path / "store", options=options), tmp_path / "run"
    assert train_stages(store.path, run, NO_REFINER) == [0, 0, 0]
    code, _, err = cli("report", run, "--store", store.path)
    assert code == 0, err
    text = text_of(run / "report" / "index.html")
    assert "the frame before or frame 0, whichever the block has chosen" in text
    latest = read_latest(run / "diffusion")
    assert latest is not None
    # Vectors, the reference index, and the latents of the residual.
    assert latest.parts["motion"].shape[2] == 3 and "7 × 3 × 4 × 4" in text


def test_a_run_that_was_not_trained_is_named(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("report", tmp_path / "none")
    assert (code, out) == (2, "")
    assert "run first: dvdm-train diffusion" in err and "Traceback" not in err


@pytest.mark.parametrize("stages", [(), ("vae",), ("diffusion",)])
def test_stages_without_a_line_in_their_log(
    cli: Cli, bare: Path, tmp_path: Path, stages: tuple[str, ...]
) -> None:
    """As a stage that was stopped before its first line leaves it."""
    run = tmp_path / "run"
    shutil.copytree(bare, run)
    for log in run.glob("*/metrics.jsonl"):
        if log.parent.name not in stages:
            log.unlink()
    code, _, err = cli("report", run, "--out", tmp_path)
    assert code == 0, err
    source = (tmp_path / "index.html").read_text()
    assert ('id="training"' in source) == bool(stages)
    assert ("curves of vae" in source) == ("vae" in stages)
    assert ('aria-label="diffusion: loss"' in source) == ("diffusion" in stages)
