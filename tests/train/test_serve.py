"""The page's server without a browser; tests/browser/test_serve.py has the page itself."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import train
from shared.errors import UserError
from shared.store.store import Store
from tests.train.conftest import call_train


def test_without_gradio_the_command_names_the_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "train.serve", raising=False)
    code, _, errors = cli("serve", tmp_path)
    assert code == 2
    assert errors == "Error: serve needs gradio: pip install 'dvdm[serve]'\n"


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        pytest.importorskip("gradio", reason="no gradio: pip install 'dvdm[serve]'")
        import train.serve

        return train.serve


PIXELS = np.full((20, 30, 3), 128, np.uint8)


def silent(*_: object, **__: object) -> None:
    """A progress that nobody sees."""


def test_every_model_generates_what_its_sample_gives(serve: Any, run: Path, flow_run: Path) -> None:
    models = {"codec": train.load(run, "cpu"), "flow": train.load(flow_run, "cpu")}
    studio = serve.Studio(models)
    videos = studio.generate("me", PIXELS, "Go", silent, seed=3, steps=2)
    assert studio.texts == ["Go", "Halt", "Turn Left", "Turn Right"]
    for name, model in models.items():
        expected = model.sample(PIXELS, "Go", seed=3, steps=2)
        assert np.array_equal(videos[name].frames, expected.frames)


def test_a_visitor_cancels_only_its_own(serve: Any, run: Path) -> None:
    """The next one in the queue gets its turn, and its own steps."""
    studio = serve.Studio({"codec": train.load(run, "cpu")})
    seen: list[tuple[int, int]] = []

    def progress(at: tuple[int, int], **_: object) -> None:
        seen.append(at)
        studio.cancel("somebody else")
        if at[0] == 5:
            studio.cancel("me")

    with pytest.raises(serve.CancelledError):
        studio.generate("me", PIXELS, "Go", progress, steps=1000)
    assert seen == [(done, 1000) for done in range(1, 6)]
    assert len(studio.generate("me", PIXELS, "Go", silent, steps=1)["codec"]) == 4


def test_one_generation_at_a_time(serve: Any, run: Path) -> None:
    studio = serve.Studio({"codec": train.load(run, "cpu")})
    order: list[str] = []

    def visit(name: str) -> None:
        studio.generate(name, PIXELS, "Go", lambda *_, **__: order.append(name), steps=20)

    visitors = [threading.Thread(target=visit, args=(name,)) for name in "ab"]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert order in (["a"] * 20 + ["b"] * 20, ["b"] * 20 + ["a"] * 20)


def test_examples_are_first_frames_of_test_clips(serve: Any, store: Store, tmp_path: Path) -> None:
    from PIL import Image

    import shared

    examples = serve.example_frames(str(store.path), tmp_path)
    clips = shared.open_store(str(store.path))
    assert len(examples) == 4  # of subject c
    for path, text in examples:
        clip = clips[int(Path(path).stem.removeprefix("example-"))]
        assert np.array_equal(np.asarray(Image.open(path)), clip.frames[0])
        assert (text, clip.subject) == (clip.label, "c")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("steps", 0, None), ("steps", 7.0, 7), ("guidance", 0, None), ("guidance", 2.5, 2.5),
     ("seed", 0, 0), ("frames", 256, 256)],
)  # fmt: skip
def test_options_of_zero_are_the_runs_own(
    serve: Any, name: str, value: float, expected: float | None
) -> None:
    assert serve._bounded(name, value) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [("steps", 1001), ("seed", -1), ("frames", 1), ("frames", 257), ("guidance", float("nan"))],
)
def test_options_out_of_range_are_refused(serve: Any, name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{name} .*: give \\d+ to \\d+"):
        serve._bounded(name, value)


def test_a_port_that_is_taken_is_an_error(
    serve: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before any run is loaded."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert call_train("serve", tmp_path, "--port", port) == 2
    error = capsys.readouterr().err
    assert f"--host 127.0.0.1 --port {port}: " in error
    assert "choose another --port" in error
