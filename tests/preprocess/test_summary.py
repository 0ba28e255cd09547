from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.conftest import moving_square, write_video

Cli = Callable[..., tuple[int, str, str]]


def test_names_that_mean_something_elsewhere(tmp_path: Path, cli: Cli) -> None:
    """Markup, quotes, line breaks and commands in names are shown and quoted, never obeyed."""
    root = tmp_path / "[red]<b> $(touch x) 'q' \"d\"\n:dog:"
    write_video(root / "[bold]café\x1b[31m" / "v.mp4", moving_square(8, 24, 24))
    store = tmp_path / "[0] `x`; st\nore"
    options = ("--size", 16, "--frames", 4, "--block", 8, "--search-range", 2, "--workers", 1)
    code, out, err = cli("run", "folder", "--root", root, "--out", store, *options)
    assert code == 0, err
    assert "[bold]café\\x1b[31m 2" in out and "\x1b" not in out
    for name, words in {
        "Look:": ["dvdm-preprocess", "inspect", str(store)],
        "Check:": ["dvdm-preprocess", "verify", str(store), "--root", str(root)],
        "Next:": ["dvdm-train", "vae", "--store", str(store)],
    }.items():
        [line] = [line for line in out.splitlines() if line.startswith(name)]
        shown = ["bash", "-c", f"printf '%s\\0' {line.removeprefix(name)}"]
        pasted = subprocess.run(shown, capture_output=True, text=True, check=True, cwd=tmp_path)
        assert pasted.stdout.split("\0")[:-1] == words
    assert not (tmp_path / "x").exists()
    code, out, err = cli("inspect", store)
    assert code == 0 and "[bold]café" in out, err
