"""Measure this project against its peers: `make bench`, or `python -m benchmarks`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import clips, ffmpeg
from benchmarks.loading import loading_figures
from benchmarks.measure import Figure, show, write
from benchmarks.pipelines import pipeline_figures
from benchmarks.searches import search_figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    parser.add_argument("--data", type=Path, default=Path("data/gestures"))
    parser.add_argument("--only", choices=["search", "pipeline", "loading"])
    given = parser.parse_args()
    sys.stderr.write(f"peer: {ffmpeg.binary()}\n")
    real = clips.real_videos()
    if not real:
        sys.stderr.write("DVDM_TEST_CLIPS names no real clips; on rendered gestures alone\n")
    gestures = clips.gesture_videos(given.data)
    figures: list[Figure] = []
    if given.only in (None, "search"):
        videos = [*real, *gestures[:4]]
        for figure in search_figures({size: clips.lumas(videos, size) for size in (128, 256)}):
            figures.append(figure)
            sys.stderr.write(f"{figure.name}: {figure.ratio:.3g}\n")
    if given.only in (None, "pipeline"):
        hd = real[:1] or gestures[:1]
        figures += pipeline_figures(hd[0], real[1:2] or gestures, real or gestures)
    if given.only in (None, "loading"):
        kinds = {"gestures": gestures, "people": clips.real_people()}
        figures += loading_figures({kind: videos for kind, videos in kinds.items() if videos})
    show(figures)
    write(figures, given.out)


if __name__ == "__main__":
    main()
