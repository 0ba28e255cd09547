"""Layouts that a glob and a pattern cannot describe, one file each."""

from __future__ import annotations

from preprocess.datasets import natops
from preprocess.records import Segment
from shared.manifest import Manifest
from shared.store.paths import Location


def read_segments(manifest: Manifest, root: Location) -> dict[str, tuple[Segment, ...]]:
    """Labelled repetitions by the video's file name; empty where each file is one repetition."""
    if manifest.segments == "natops":
        return natops.read_segments(root)
    return {}
