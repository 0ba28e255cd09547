from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.errors import ManifestError
from shared.manifest import PathSplit, RandomSplit, load_manifest, manifest_names


@pytest.mark.parametrize("name", manifest_names())
def test_manifests_load(name: str) -> None:
    manifest = load_manifest(name)
    assert manifest.name == name
    assert manifest.hash == load_manifest(name).hash


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ManifestError, match="known: asl, bair, davis, folder, gestures"):
        load_manifest("natop")


@pytest.mark.parametrize(
    ("name", "path", "label", "subject"),
    [
        ("natops", "data/gesture04/g04s17.avi", "04", "17"),
        ("natops", "gesture04/g04s17.avi", "04", "17"),
        ("mhad", "RGB/a27_s8_t3_color.avi", "27", "8"),
        ("ucf101", "UCF-101/YoYo/v_YoYo_g25_c01.avi", "YoYo", None),
        ("ucf101", "UCF101/v_HandStandPushups_g01_c01.avi", "HandStandPushups", None),
        ("mug", "subjects3/001/session0/anger/take000", "anger", "001"),
        ("mug", "subjects3/052/surprise/take3", "surprise", "052"),
        ("davis", "DAVIS/JPEGImages/480p/bear", None, None),
        ("sky", "sky_test/a/a_1", None, None),
        ("bair", "softmotion30_44k/test/traj_0_to_255.tfrecords#0/image_aux1", None, None),
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


def test_both_data_sets_of_signals_have_the_same_24_labels() -> None:
    natops, gestures = load_manifest("natops").labels, load_manifest("gestures").labels
    assert natops == gestures
    assert len(set(natops.values())) == 24
    assert natops["04"] == "Spread Wings"


@pytest.mark.parametrize(
    ("name", "texts"), [("natops", 24), ("gestures", 24), ("mhad", 27), ("ucf101", 101), ("mug", 7)]
)
def test_every_label_has_its_own_text(name: str, texts: int) -> None:
    assert len(set(load_manifest(name).labels.values())) == texts


@pytest.mark.parametrize("name", manifest_names())
def test_manifests_state_source_licence_and_layout(name: str) -> None:
    manifest = load_manifest(name)
    assert manifest.splits and manifest.glob and manifest.holds
    for file in manifest.files:
        assert file.url.startswith(("http://", "https://"))
    if name != "folder":
        assert manifest.citation and manifest.licence and manifest.layout


def test_the_crops_are_those_of_the_published_code() -> None:
    assert load_manifest("natops").crop == (10, 239, 30, 290)
    assert load_manifest("mhad").crop == (0, 480, 156, 492)


def test_a_random_split_has_a_fraction_or_counts() -> None:
    for wrong in ({}, {"test_fraction": 0.2, "train": 1, "test": 1}, {"train": 3}):
        with pytest.raises(ValidationError, match="either test_fraction or both train and test"):
            RandomSplit(by="video", **wrong)
    with pytest.raises(ValidationError, match="not a regular expression"):
        PathSplit(kind="paths", train="(", test="")


def test_a_malformed_manifest_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.manifest._FOLDERS", (tmp_path,))
    (tmp_path / "toy.yaml").write_text("name: toy\nglobs: [a]\n")
    with pytest.raises(ManifestError, match=r"(?s)manifest toy\.yaml is malformed: .*globs"):
        load_manifest("toy")
