"""Notebooks of docs/notebooks: they run, and are kept without outputs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.test_boundaries import PROJECT

FOLDER = PROJECT / "docs" / "notebooks"
CHECKS = {
    "first_steps": """
import av
assert len(store) == 12 and set(store.labels) >= {"Spread Wings", "Stop"}
assert video.frames.shape == (16, 64, 64, 3)
assert (model.sample(clip.first_frame, clip.label, seed=0).frames == video.frames).all()
assert "image/webp" in clip._repr_html_() and "image/webp" in video._repr_html_()
with av.open("video.mp4") as opened:
    assert sum(1 for _ in opened.decode(video=0)) == 16
""",
    "own_videos": """
assert outcome.videos == 6
assert {clip.label for clip in store} == {"spread", "stop"}
assert {clip.video for clip in store} == {
    f"{label}/person{person}.mp4" for label in ("spread", "stop") for person in (1, 2)
}
assert {reject.file for reject in rejects} == {"spread/short.mp4", "stop/notes.mp4"}
assert 0 < len(left) < len(store)
""",
    "store": """
assert np.array_equal(np.stack(frames), clip.frames)
assert findings.clips == len(store) == 2 and findings.searched == 1 and not findings.wrong
assert 0 < left < 1
assert clip.motion.any() and clip.residual.any()
""",
}
"""Code that runs after a notebook's own, and fails unless its results are right."""


def cells(name: str) -> list[dict[str, Any]]:
    content: dict[str, Any] = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))
    return list(content["cells"])


def test_every_notebook_is_tested_and_shown_on_the_site() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(CHECKS)
    site = (PROJECT / "mkdocs.yml").read_text()
    assert all(f"- notebooks/{name}.md" in site for name in CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_notebooks_are_kept_without_outputs(name: str) -> None:
    code = [cell for cell in cells(name) if cell["cell_type"] == "code"]
    assert code
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_notebooks_run_and_their_results_hold(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ipykernel", reason="no ipykernel: pip install 'dvdm[dev]'")
    import nbformat
    from nbclient import NotebookClient

    paths = (str(PROJECT), os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    for folder in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(folder, str(tmp_path / folder))
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    notebook.cells.append(nbformat.v4.new_code_cell(CHECKS[name]))
    # A cell that fails raises its error.
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
    assert all(cell["execution_count"] for cell in notebook.cells if cell["cell_type"] == "code")
