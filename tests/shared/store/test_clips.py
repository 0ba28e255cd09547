"""A store as a sequence of clips."""

from __future__ import annotations

import base64
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import shared
from shared.errors import UserError
from shared.motion_compensation import decode_clip
from shared.store.clips import Clip, StoredClips
from shared.store.store import Store
from tests.train.stores import OPTIONS, make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("clips") / "store")


@pytest.fixture(scope="module")
def clips(store: Store) -> StoredClips:
    return shared.open_store(str(store.path))


def test_arrays_are_the_stores_channels_last(clips: StoredClips, store: Store) -> None:
    for index in (0, len(store) - 1):
        clip = clips[index]
        arrays = {n: store.clip(n, index) for n in ("first_frame", "motion", "residual")}
        frames = decode_clip(*arrays.values(), OPTIONS.codec)
        assert np.array_equal(clip.frames, frames.transpose(0, 2, 3, 1))
        assert clip.frames.dtype == np.uint8
        assert np.array_equal(clip.first_frame, clip.frames[0])
        assert np.array_equal(clip.motion, arrays["motion"].transpose(0, 2, 3, 1))
        assert np.array_equal(clip.residual, arrays["residual"].transpose(0, 2, 3, 1))
        assert len(clip) == OPTIONS.frames
        assert clip.video == store.column("video")[index]
        assert clip.label == store.attributes.labels[store.column("label")[index]]
        assert clip.subject == store.attributes.subjects[store.column("subject")[index]]


def test_it_is_a_sequence(clips: StoredClips, store: Store) -> None:
    assert len(clips) == len(store)
    assert clips[-1].index == len(store) - 1
    assert [clip.index for clip in clips[2:6:2]] == [2, 4]
    assert [clip.index for clip in clips[2:6][1:]] == [3, 4, 5]
    assert [clip.index for clip in clips] == list(range(len(store)))
    with pytest.raises(IndexError):
        clips[len(store)]


def test_clips_show_themselves(clips: StoredClips) -> None:
    shown = clips[0]._repr_html_()
    [content] = re.findall(r'src="data:image/webp;base64,([^"]+)"', shown)
    picture = Image.open(BytesIO(base64.b64decode(content)))
    assert picture.n_frames == OPTIONS.frames - 1
    assert clips[0].label in shown
    assert clips._repr_html_().count("<img") == 6
    assert repr(clips[0]).startswith(f"Clip({OPTIONS.frames} frames of 16x16")


def test_captions_are_no_markup(clips: StoredClips, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clip, "label", "<b>&")
    assert "&lt;b&gt;&amp;" in clips[0]._repr_html_()


def test_a_missing_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no store at"):
        shared.open_store(str(tmp_path / "none"))
