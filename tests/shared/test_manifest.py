from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import shared.manifest
from shared.errors import ManifestError
from shared.manifest import (
    Manifest,
    PathSplit,
    RandomSplit,
    SubjectSplit,
    load_manifest,
    manifest_names,
)


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
        ("weizmann", "wave1/s0_wave1.mkv", "wave1", "s0"),
        ("weizmann", "deep/er/bend/s8_bend.mkv", "bend", "s8"),
        ("weizmann-strips", "data/actions/0/00000002.jpg", "0", "02"),
        ("weizmann-strips", "4/00000070.jpg", "4", "70"),
        ("weizmann-original", "daria_walk.avi", "walk", "daria"),
        ("weizmann-original", "walk/lena_walk1.avi", "walk", "lena"),
        ("weizmann-original", "lena_run2.avi", "run", "lena"),
        ("weizmann-original", "a/b/moshe_wave2.avi", "wave2", "moshe"),
        ("weizmann-original", "ido_pjump.avi", "pjump", "ido"),
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
    ("name", "texts"),
    [
        ("natops", 24),
        ("gestures", 24),
        ("mhad", 27),
        ("ucf101", 101),
        ("mug", 7),
        ("weizmann", 4),
        ("weizmann-strips", 4),
        ("weizmann-original", 10),
    ],
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


def test_weizmann_is_the_same_people_and_texts_in_each_layout() -> None:
    cut, strips, original = (load_manifest(f"weizmann{x}") for x in ("", "-strips", "-original"))
    assert cut.splits == strips.splits
    assert set(cut.labels.values()) == set(strips.labels.values()) < set(original.labels.values())
    people = [f"s{n}" for n in range(9)]
    # Eight numbers a person, each second one mirrored.
    named = {f"{n:02}": people[n // 8] for n in range(0, 72, 2)}
    assert strips.subject_names == named
    names = ["shahar", "moshe", "lyova", "lena", "ira", "ido", "eli", "denis", "daria"]
    for name, split in cut.splits.items():
        assert isinstance(split, SubjectSplit)
        assert sorted([*split.train, *split.test]) == people
        theirs = original.splits[name]
        assert isinstance(theirs, SubjectSplit)
        assert set(theirs.test) == {names[int(person[1])] for person in split.test}
        assert set(theirs.train) == set(names) - set(theirs.test)


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
    with pytest.raises(ManifestError, match=r"(?s)toy\.yaml is malformed:.*line 2, globs: no such"):
        load_manifest("toy")


PLAIN = """\
name: mine
title: Mine
holds: little
obtain: ask
layout: LABEL/PERSON.mp4
glob: ["*.mp4"]
pattern: '(?P<label>[a-z]+)/(?P<subject>[a-z]+)\\.mp4'
"""
"""Seven lines; what a test adds begins in the eighth."""


def own(folder: Path, added: str = "", without: str = "") -> Manifest:
    """A manifest of one's own: the plain one without a field, then what is added."""
    lines = [x for x in PLAIN.splitlines(True) if not without or not x.startswith(without + ":")]
    path = folder / "mine.yaml"
    path.write_text("".join(lines) + added)
    return load_manifest(str(path))


def test_a_manifest_of_ones_own_is_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = own(tmp_path)
    assert (found.name, found.size.option, list(found.splits)) == ("mine", 128, ["random"])
    monkeypatch.chdir(tmp_path)
    assert load_manifest("mine.yaml") == load_manifest("./mine.yaml") == found
    (tmp_path / "mine.yml").write_text(PLAIN)
    assert load_manifest("mine.yml").hash == found.hash
    natops = next(f for f in shared.manifest._FOLDERS if f.is_dir()) / "natops.yaml"
    assert load_manifest(str(natops)) == load_manifest("natops")


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("size: 0", "line 8, size: got 0; must be the side of a square, or WIDTHxHEIGHT"),
        ("hop: x", "line 8, hop: got x; must be a valid integer"),
        ("fps: -1.5", "line 8, fps: got -1.5; must be greater than 0"),
        ("\n\nclips: windos", "line 10, clips: got windos; must be 'windows', 'span'"),
        ("subject_names: {anna: [b]}", "line 8, subject_names.anna: must be a valid string"),
        ("labels:\n  wave: Wave\n  clap: no", "line 10, labels.clap: got no; must be a text; put"),
        ("labels: {\n  01: Wave}", "line 9, labels.1: got 01; must be a text; put it in quotes"),
        ("exclude: {'(': a}", "line 8, exclude: not a regular expression"),
        ("crop: [9, 2, 3, 4]", "line 8, crop: must be top < bottom and left < right"),
        ("crop: [1, 2, 3]", "line 8, crop.3: is missing"),
        ("sizes: 3", "line 8, sizes: no such field; the fields are name, title, holds, homepage"),
        (
            "files: [{url: a},\n  {url: b, md: c}]",
            "line 9, files.1.md: no such field; the fields are",
        ),
        ("splits: {a: {by: video}}", "line 8, splits.a: its kind must be one of random, subjects"),
        ("splits:\n  a: {kind: b}", "line 9, splits.a: its kind must be one of random, subjects"),
        (
            "splits:\n  a: {kind: random, by: video, test_fraction: 2}",
            "line 9, splits.a.test_fraction: got 2; must be less than or equal to 1",
        ),
        (
            "splits:\n  a:\n    kind: subjects\n    test: [a]\n    train: [a, b]",
            "line 9, splits.a: a on both sides",
        ),
        (
            "splits: {a: {kind: paths, train: a, tset: b}}",
            "line 8, splits.a.tset: no such field; the fields are kind, train, test",
        ),
        (
            "splits: {1: {kind: lists, train: a, test: b}}",
            "line 8, splits.1: got 1; must be a text",
        ),
        ("splits: {a: 3}", "line 8, splits.a: got 3; must be a mapping, `field: value`"),
        ("splits: [a]", "line 8, splits: must be a mapping, `field: value`"),
        ("labels: {a: b,\n  c: d, a: e}", "line 9: a is there twice; keep one of them"),
        ("labels: [a", "line 8: expected ',' or ']'"),
        ("labels: {[a]: b}", "line 8: found unhashable key"),
    ],
)
def test_a_mistake_is_named_with_line_field_and_what_is_allowed(
    tmp_path: Path, added: str, message: str
) -> None:
    with pytest.raises(ManifestError, match=re.escape(message)) as caught:
        own(tmp_path, added)
    assert f"manifest {tmp_path / 'mine.yaml'}" in str(caught.value)


@pytest.mark.parametrize(
    ("without", "added", "message"),
    [
        ("glob", "", "line 1, glob: is missing"),
        ("glob", "glob: '*.mp4'", "line 7, glob: got *.mp4; must be a list"),
        ("glob", "glob: []", "line 7, glob: must have at least 1 item"),
        ("pattern", "pattern: '('", "line 7, pattern: got (; not a regular expression"),
        ("pattern", "pattern: '(?P<who>a)'", "group who must be `label` or `subject`"),
        (
            "pattern",
            "pattern: a\nlabels: {a: b}",
            "line 8, labels: a needs a group (?P<label>...) in the pattern",
        ),
        (
            "pattern",
            "pattern: a\nsplits: {new: {kind: random, by: subject, test_fraction: 0.5}}",
            "line 8, splits: new needs a group (?P<subject>...) in the pattern",
        ),
        ("name", "name: ../mine", "line 7, name: got ../mine; must be of letters"),
        ("title", "title:", "line 7, title: got nothing; must be a text"),
        ("name", "name: other", "its field `name` is other, and the file is called mine.yaml"),
    ],
)
def test_a_missing_or_wrong_field_is_named(
    tmp_path: Path, without: str, added: str, message: str
) -> None:
    with pytest.raises(ManifestError, match=re.escape(message)):
        own(tmp_path, added, without)


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        own(tmp_path, "size: 0\nfit: squash\n")
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: must be a mapping, `field: value`"),
        (b"- a\n", "line 1: must be a mapping, `field: value`"),
        (b"\xff", "cannot be read: 'utf-8' codec"),
        (b"a: \x01", "cannot be read: unacceptable character"),
        (b"--- a\n--- b\n", "line 2: but found another document"),
        (b"a: 2020-13-45", "month must be in 1..12"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_is_no_manifest(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(ManifestError, match=re.escape(message)):
        load_manifest(str(tmp_path / "mine.yaml"))
    with pytest.raises(ManifestError, match="cannot be read: Is a directory"):
        load_manifest(f"{tmp_path}/")


def test_a_name_of_this_software_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "natops.yaml").write_text(PLAIN.replace("mine", "natops"))
    with pytest.raises(ManifestError, match="natops is a data set of this software"):
        load_manifest(str(tmp_path / "natops.yaml"))


def test_fields_that_came_later_count_where_they_are_used(tmp_path: Path) -> None:
    """Stores record the hash: it must not change with the version of this software."""
    assert own(tmp_path).hash == "0f7685e16d1bc6c8"
    by_field = {
        own(tmp_path, added).hash for added in ("", "exclude: {a: b}", "subject_names: {a: b}")
    }
    assert len(by_field) == 3


TEMPLATE = Path(__file__).parent.parent.parent / "docs/mine.yaml"


def test_the_template_shows_every_field(tmp_path: Path) -> None:
    text = TEMPLATE.read_text()
    fields = set(re.findall(r"^#?([a-z_]+):", text, re.MULTILINE))
    assert fields == set(Manifest.model_fields)
    kinds = set(re.findall(r"kind: ([a-z]+)", text))
    assert kinds == set(shared.manifest._PROTOCOLS)
    assert load_manifest(str(TEMPLATE)).name == "mine"
    whole = re.sub(r"^( *)#(?=\S)", r"\1", text, flags=re.MULTILINE)
    (tmp_path / "mine.yaml").write_text(whole)
    assert set(load_manifest(str(tmp_path / "mine.yaml")).splits) == {
        *("unseen-person", "random", "by-folder", "by-list")
    }


PARTS = [
    "",
    ":",
    "[",
    "]",
    "{",
    "}",
    "1",
    "- ",
    "\n",
    "'",
    " ",
    "&a",
    "*a",
    "!!x",
    "~",
    "<<: ",
    "\t",
]


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from(PARTS)), max_size=6))
@settings(max_examples=200)
def test_any_text_is_a_manifest_or_a_named_mistake(changes: list[tuple[float, str]]) -> None:
    """No other exception, whatever stands where in the template."""
    letters = list(re.sub(r"^( *)#(?=\S)", r"\1", TEMPLATE.read_text(), flags=re.MULTILINE))
    for place, part in changes:
        letters[int(place * (len(letters) - 1))] = part
    with TemporaryDirectory() as folder:
        path = Path(folder, "mine.yaml")
        path.write_text("".join(letters))
        with suppress(ManifestError):
            assert load_manifest(str(path)).name == "mine"
