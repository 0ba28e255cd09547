from __future__ import annotations

import re

import pytest

from shared.errors import ManifestError
from shared.manifest import load_manifest, manifest_names


@pytest.mark.parametrize("name", manifest_names())
def test_manifests_load(name: str) -> None:
    manifest = load_manifest(name)
    assert manifest.name == name
    assert manifest.hash == load_manifest(name).hash


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ManifestError, match="known: bair, davis, folder, gestures"):
        load_manifest("natop")


@pytest.mark.parametrize(
    ("name", "path", "label", "subject"),
    [
        ("natops", "data/gesture04/g04s17.avi", "04", "17"),
        ("gestures", "gesture24/g24s01r02.mp4", "24", "01"),
        ("folder", "top.mp4", None, None),
        ("folder", "wave/deep/er.mp4", "wave", None),
        ("folder", "a\nb/-'\" %d:🎬\n.mp4", "a\nb", None),
    ],
)
def test_patterns_find_label_and_subject(
    name: str, path: str, label: str | None, subject: str | None
) -> None:
    match = re.fullmatch(load_manifest(name).pattern, path)
    assert match is not None
    groups = match.groupdict()
    assert (groups.get("label"), groups.get("subject")) == (label, subject)


def test_both_signal_data_sets_name_the_same_24() -> None:
    natops, gestures = load_manifest("natops").labels, load_manifest("gestures").labels
    assert natops == gestures
    assert len(set(natops.values())) == 24
    assert natops["04"] == "Spread Wings"
