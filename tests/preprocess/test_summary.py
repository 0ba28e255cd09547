from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from preprocess.records import Reject
from preprocess.summary import by_reason
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


def test_reasons_that_differ_in_numbers_are_one() -> None:
    """A line for each would fill the terminal, where thousands of videos are too short."""
    rejects = [
        *(Reject(f"{n}.mp4", f"{n} frames; one clip at stride 1 needs 16", "plan") for n in (3, 7)),
        Reject("a", "frame 8, 0008.png: not an image of a known kind", "extract", 5, 3, 40),
        Reject("b", "frame 9, 0009.png: not an image of a known kind", "extract", 4, 3, 50),
        Reject("c", "the file is empty", "discover"),
    ]
    rows = by_reason(rejects)
    assert [(row.files, row.reason, row.kept, row.usable_frames) for row in rows] == [
        (2, "frame …, ….png: not an image of a known kind", "6 of 9", 90),
        (2, "… frames; one clip at stride 1 needs 16", "0", 0),
        (1, "the file is empty", "0", 0),
    ]
    assert rows[1].rejects == tuple(rejects[:2])
