"""Outcome of every real file, good and bad: clips, or the reason why not.

The table was made from the facts in `index.json` next to the files: how many frames
it holds, and how it was damaged. Clips have 16 frames at stride 1.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from preprocess.frames.geometry import Geometry
from preprocess.records import DecodeError
from preprocess.sources.video import decode
from preprocess.steps.verify import verify_store
from shared.console import Progress
from shared.store.store import Store

Cli = Callable[..., tuple[int, str, str]]
FRAMES = 16


class Outcome(NamedTuple):
    """Clips of a file; the reason for no more; usable frames of a damaged one."""

    clips: int
    reason: str = ""
    recovered: range | int = 0


TOO_SHORT = r"\d+ frames?; one clip at stride 1 needs 16"
NOT_A_VIDEO = "cannot be opened as a video: "

CLIPS = {
    # name: frames that a decoder shows
    "asl_again.mkv": 77,
    "asl_book.mkv": 109,
    "asl_brother.mkv": 65,
    "asl_help.mkv": 58,
    "asl_learn.mkv": 61,
    "asl_no.mkv": 66,
    "asl_school.mkv": 72,
    "asl_student.mkv": 52,
    "asl_walk.mkv": 89,
    "asl_yes.mkv": 65,
    "bbb_1080p60.mp4": 120,
    "bbb_mvx_h264_720p.mp4": 337,
    "bbb_vp8.webm": 24,
    "bikes_scene_cuts.mp4": 250,
    "chaplin.mp4": 241,
    "frame_numbers_hevc_10frames.mp4": 10,
    "head_pose_female.gif": 23,
    "keyboard_rot90_3frames.mov": 3,
    "moving_dot_vp9_alpha.webm": 150,
    # Two video streams: 320x180 with 325 frames, and the one a player shows, 480x270 with 390.
    "nasa_13013.mp4": 390,
    "nasa_13013_hevc10_hdr.mp4": 325,
    "nasa_13013_rot90.mp4": 17,
    "persons_one_by_one.mp4": 1394,
    "phone_fire_rot180_vfr.mp4": 25,
    "realshort_odd_fps.mp4": 36,
    "sam2_bedroom.mp4": 200,
    "sam2_cups.mp4": 300,
    "screen_66x50_editlist.mov": 82,  # 87 are coded, an edit list leaves out 5: not cut
    "testpattern_av1.mkv": 125,
    "testpattern_mpeg1.mpg": 100,
    "testsrc_121x80_mpeg2.mp4": 10,
    "testsrc_321x241_yuv444.mp4": 25,
    "testsrc_bt601_full_range.mp4": 60,
    "traffic_48x48_raw_bgr24.avi": 51,
    "traffic_msmpeg4v2.avi": 374,
}

LONG = "persons_one_by_one.mp4"
"""Its clips are counted by `test_resources`."""

BAD = {
    # Whole, but short.
    "-real_1x1_dash_name.mp4": Outcome(0, TOO_SHORT),
    "UPPER.MP4": Outcome(0, TOO_SHORT),
    "a:colon.mp4": Outcome(0, TOO_SHORT),
    "name with spaces.mp4": Outcome(0, TOO_SHORT),
    'quote\'s "and" $HOME.mp4': Outcome(0, TOO_SHORT),
    "take 100%d.mp4": Outcome(0, TOO_SHORT),
    "手勢 №1 – жест é 🎬.mp4": Outcome(0, TOO_SHORT),
    "gray_jpegs.mjpeg": Outcome(0, TOO_SHORT),
    "nonutf8_title.avi": Outcome(0, TOO_SHORT),
    "one_frame.mp4": Outcome(0, TOO_SHORT),
    "two_frames.mp4": Outcome(0, TOO_SHORT),
    "tiny_2x2_made.mp4": Outcome(0, TOO_SHORT),
    "thin_640x2.mp4": Outcome(0, TOO_SHORT),
    "real_2x2_3frames.mp4": Outcome(0, TOO_SHORT),
    "real_one_frame_audio.mp4": Outcome(0, TOO_SHORT),
    "real_rotation_90_1frame.mp4": Outcome(0, TOO_SHORT),
    "real_single_frame_64x64.mp4": Outcome(0, TOO_SHORT),
    "real_frame_exceeds_screen.gif": Outcome(0, TOO_SHORT),
    # Whole and long enough, of any look.
    "bframes_pyramid.mp4": Outcome(45 // FRAMES),
    "gray_h264.mp4": Outcome(40 // FRAMES),
    "matroska_named.avi": Outcome(58 // FRAMES),
    "mjpeg.avi": Outcome(30 // FRAMES),
    "vfr_gaps.mp4": Outcome(45 // FRAMES),
    # No video, or nothing of one.
    "zero_bytes.mp4": Outcome(0, "the file is empty"),
    "random_bytes.mp4": Outcome(0, NOT_A_VIDEO),
    "text_renamed.mp4": Outcome(0, NOT_A_VIDEO),
    "ftyp_then_garbage.mp4": Outcome(0, NOT_A_VIDEO),
    "no_moov.mp4": Outcome(0, NOT_A_VIDEO + "moov atom not found"),
    "real_chunk_out_of_range.mp4": Outcome(0, NOT_A_VIDEO),
    "real_audio_only.mp4": Outcome(0, "no video stream"),
    "real_encrypted_cenc.mp4": Outcome(0, "encrypted"),
    "moov_only.mp4": Outcome(0, "cut short: 0 of the 58 frames in its index are there"),
    "real_header_no_samples.mp4": Outcome(0, "cut short: 0 of the 297 frames in its index"),
    "truncated_moov_last.mp4": Outcome(0, NOT_A_VIDEO + "cut short: it ends at byte 96008 of"),
    # Damaged. asl_help has one key frame: from the damage on, nothing can be used. In the two cut
    # files 27 packets are there, of which the last are shown after others that are not.
    "truncated.mkv": Outcome(1, "cut short: File ended prematurely", range(22, 28)),
    "truncated_moov_first.mp4": Outcome(1, "cut short: 27 of the 58 frames", range(22, 27)),
    "moov_corrupted.mp4": Outcome(1, "cut short: 44 of the 58 frames", range(16, 23)),
    # The hole is in the 24th packet or before it, in decoding order.
    "zeroed_hole.mp4": Outcome(1, "damaged after frame 2[0-2]: ", range(20, 23)),
    "real_corrupted_decord.mp4": Outcome(1, "damaged after frame 2[0-8]: ", range(20, 29)),
    # 60 bits in 58 frames: not one run of 16 frames is untouched.
    "bitflips_midstream.mp4": Outcome(0, r"damaged after frame \d: ", range(1, 10)),
}


@pytest.fixture(scope="module")
def extracted(
    real_clips: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Store, dict[str, dict[str, object]]]]:
    """Extract a folder of real files once: the store, and what was rejected by name."""
    made: dict[str, Path] = {}

    def extract(kind: str) -> tuple[Store, dict[str, dict[str, object]]]:
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            (folder / "videos").mkdir()
            for path in (real_clips / kind).iterdir():
                if path.name != LONG:
                    (folder / "videos" / path.name).symlink_to(path)
            made[kind] = _extract(folder / "videos", folder / "store")
        lines = (made[kind] / "rejected.jsonl").read_text().split("\n")
        records = [json.loads(line) for line in lines if line]
        assert len({record["file"] for record in records}) == len(records)
        return Store(made[kind]), {record["file"]: record for record in records}

    return extract


def _extract(root: Path, store: Path) -> Path:
    from preprocess.executor import ExecutorOptions
    from preprocess.options import codec_options
    from preprocess.pipeline import Extraction, run
    from shared.manifest import load_manifest

    manifest = load_manifest("folder")
    given = {"size": 32, "frames": FRAMES, "stride": 1, "block": 8, "search_range": 4}
    run(
        Extraction(manifest, root, store, codec_options(manifest, given), ExecutorOptions()),
        Progress(),
    )
    return store


Extracted = Callable[[str], tuple[Store, dict[str, dict[str, object]]]]


def test_the_tables_name_every_file(real_clips: Path) -> None:
    assert set(CLIPS) == {path.name for path in (real_clips / "clips").iterdir()}
    files = {path.name for path in (real_clips / "bad").iterdir()}
    assert {name for name in files if name.startswith(".")} == files - set(BAD) == {".hidden.mp4"}
    assert set(BAD) < files
    index = json.loads((real_clips / "index.json").read_text())
    known = {Path(entry["file"]).name: entry["frames"] for entry in index["clips"]}
    assert {name for name in CLIPS if CLIPS[name] != known[name]} == {"nasa_13013.mp4"}


def test_good_files(extracted: Extracted) -> None:
    store, rejected = extracted("clips")
    clips = Counter(store.column("video").tolist())
    whole = {name: n // FRAMES for name, n in CLIPS.items() if n >= FRAMES and name != LONG}
    assert clips == Counter(whole)
    assert set(rejected) == {name for name, frames in CLIPS.items() if frames < FRAMES}
    for record in rejected.values():
        assert re.match(TOO_SHORT, str(record["reason"]))


@pytest.mark.parametrize("name", BAD)
def test_bad_files(name: str, extracted: Extracted) -> None:
    store, rejected = extracted("bad")
    expected = BAD[name]
    starts = store.column("start_frame")[store.column("video") == name].tolist()
    assert starts == [FRAMES * n for n in range(expected.clips)]
    assert (name in rejected) == bool(expected.reason)
    if expected.reason:
        assert re.match(expected.reason, str(rejected[name]["reason"]))
        recovered = expected.recovered
        allowed = recovered if isinstance(recovered, range) else range(recovered, recovered + 1)
        assert rejected[name]["frames_recovered"] in allowed
    assert not [other for other in rejected if other not in BAD]


@pytest.mark.parametrize("kind", [pytest.param("clips", marks=pytest.mark.slow), "bad"])
def test_verify_agrees(kind: str, extracted: Extracted, real_clips: Path) -> None:
    store, _ = extracted(kind)
    findings = verify_store(store.path, real_clips / kind, 2, Progress())
    assert not findings.wrong
    assert findings.clips == len(store)


@pytest.mark.parametrize(
    "name",
    ["truncated.mkv", "truncated_moov_first.mp4", "zeroed_hole.mp4", "bitflips_midstream.mp4"],
)
def test_frames_of_a_damaged_file_are_those_of_the_whole_one(name: str, real_clips: Path) -> None:
    """All four were made from asl_help: what is given out of them must be its frames, exactly."""
    whole = [
        frame for _, frame in decode(real_clips / "clips/asl_help.mkv", range(58), Geometry(32))
    ]
    given = 0
    with pytest.raises(DecodeError) as caught:
        for index, frame in decode(real_clips / "bad" / name, range(58), Geometry(32)):
            assert np.array_equal(frame, whole[index])
            given += 1
    assert caught.value.frames == given > 0
