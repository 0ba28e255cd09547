from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from torch import Tensor

import train.stages.derived
from shared.conventions import FrameSize
from shared.errors import StoreError, UserError
from shared.schema import CodecOptions
from shared.store.store import Store
from tests.stores import contents
from tests.train.stores import OPTIONS, make_store, random_clip
from train.data.clips import ClipBatch, Clips, stored_frames
from train.models.block_autoencoder import BlockAutoencoder, BlockAutoencoderOptions
from train.models.layers import pad_to_blocks
from train.spaces.base import Derived
from train.spaces.codec import CodecSpace, CodecSpaceOptions
from train.stages.derived import DerivedArray, write_derived

CPU = torch.device("cpu")
SHARD_CLIPS = 5
"""Three shards of the 12 clips, the last of them short."""

BATCH = 2


class Slow(CodecSpace):
    """Slow enough to be killed while it encodes."""

    def compress(self, batch: ClipBatch) -> Tensor:
        time.sleep(0.1)
        return super().compress(batch)


def codec(store: Store, seed: int = 0, kind: type[CodecSpace] = CodecSpace) -> CodecSpace:
    torch.manual_seed(seed)
    network = BlockAutoencoder(
        BlockAutoencoderOptions(latent_channels=3, hidden=8), 4, store.options
    )
    return kind(store.options, CodecSpaceOptions(), network)


def latents_of(store: Store, space: CodecSpace | None = None) -> Derived:
    (array,) = (space or codec(store)).derived()
    return array


def write(store: Store, space: CodecSpace | None = None) -> Path:
    made = write_derived(Clips(store, None), latents_of(store, space), CPU)
    assert isinstance(made, Path)
    return made


def read(store: Store, space: CodecSpace | None = None) -> np.ndarray:
    latents = DerivedArray(store, latents_of(store, space))
    return Clips(store, None, {"latent": latents}).read("latent", range(len(store))).numpy()


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.stages.derived, "SHARD_CLIPS", SHARD_CLIPS)
    monkeypatch.setattr(train.stages.derived, "_BATCH", BATCH)


@pytest.fixture
def own_store(tmp_path: Path) -> Store:
    """13 pixels: a grid of 4 blocks of 4, the last ones cut."""
    return make_store(
        tmp_path / "store", options=OPTIONS.model_copy(update={"size": FrameSize(13, 13)})
    )


def test_latents_are_those_of_the_autoencoder(own_store: Store) -> None:
    space = codec(own_store)
    path = write(own_store, space)
    assert path == own_store.path.with_name(f"store.latents-{space.identity}")
    latents = read(own_store, space)
    assert latents.shape == (12, 3, 3, 4, 4)
    assert latents.dtype == np.float16
    for index in (0, 2, 4, 5, 11):
        residual = torch.from_numpy(own_store.clip("residual", index)).float() / 255
        with torch.no_grad():
            expected = space.autoencoder.encode(pad_to_blocks(residual, 4)).numpy()
        assert np.allclose(latents[index], expected, rtol=1e-3, atol=1e-5)


def test_a_derived_array_is_any_function_of_the_clips(own_store: Store) -> None:
    """Not of the autoencoder alone; its name and identity name the cache."""
    means = Derived(
        "mean", lambda: "abc", (3,), lambda batch: batch.first_frame.float().mean((2, 3)) / 255
    )
    path = write_derived(Clips(own_store, None), means, CPU)
    assert path == own_store.path.with_name("store.means-abc")
    array = DerivedArray(own_store, means)
    assert (array.path, array.shape, array.dtype) == (path, (3,), np.float16)
    entry = np.empty(array.shape, array.dtype)
    for index in range(len(own_store)):
        array.read_into(index, entry)
        expected = own_store.clip("first_frame", index).mean((1, 2)) / 255
        assert np.allclose(entry, expected, rtol=1e-3)


def test_any_zarr_reader_reads_them(own_store: Store) -> None:
    path = write(own_store)
    group = zarr.open_group(path, mode="r")
    assert np.array_equal(np.asarray(group["latent"]), read(own_store))


def test_latents_are_written_once(own_store: Store) -> None:
    path = write(own_store)
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    assert write(own_store) == path
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before
    assert {found.name for found in path.parent.iterdir()} == {"store", path.name}


SCRIPT = f"""
import sys
from pathlib import Path
import train.stages.derived
from shared.schema import CodecOptions
from shared.store.store import Store
from tests.train.stages.test_derived import Slow, codec, write
train.stages.derived.SHARD_CLIPS, train.stages.derived._BATCH = {SHARD_CLIPS}, {BATCH}
store = Store(Path(sys.argv[1]))
write(store, codec(store, kind=Slow))
"""


@pytest.mark.parametrize("kills", [(1,), pytest.param((0, 1, 2), marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_at_the_shard_where_it_was(
    kills: tuple[int, ...], own_store: Store
) -> None:
    """SIGKILL once a given number of shards is finished."""
    undisturbed = contents(write(own_store))
    path = own_store.path.with_name(f"store.latents-{codec(own_store).identity}")
    shutil.rmtree(path)
    finished: dict[str, int] = {}
    for shards in kills:
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(own_store.path)])
        while len(list(path.glob("shards/0*"))) < shards or not (path / "zarr.json").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with pytest.raises(UserError, match=rf"lacks {3 - shards} of 3 shards: run"):
            read(own_store)
        done = {file.name: file.stat().st_mtime_ns for file in path.glob("shards/0*")}
        assert len(done) == shards
        assert finished.items() <= done.items(), "finished shards are not made again"
        finished = done
    (path / "latent/c/2").mkdir(parents=True)
    (path / "latent/c/2/.0.17").touch()  # as a kill within a write leaves it
    write(own_store)
    assert contents(path) == undisturbed


def test_a_damaged_shard_is_named_and_encoded_again(
    own_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(own_store)
    undisturbed = contents(path)
    shard = path / "latent/c/1/0/0/0/0"
    content = bytearray(shard.read_bytes())
    content[10] ^= 1
    shard.write_bytes(content)
    latents = DerivedArray(own_store, latents_of(own_store))
    entry = np.empty(latents.shape, latents.dtype)
    latents.read_into(6, entry)
    with pytest.raises(StoreError, match=r"latent of clip 5: .*c/1/0.*checksum is wrong.*encode"):
        latents.read_into(5, entry)
    before = (path / "latent/c/0/0/0/0/0").stat().st_mtime_ns
    write(own_store)
    assert f"shard 1 of {path} is damaged; it is encoded again" in capsys.readouterr().out
    assert contents(path) == undisturbed
    assert (path / "latent/c/0/0/0/0/0").stat().st_mtime_ns == before


def test_a_missing_shard_is_named_and_encoded_again(own_store: Store) -> None:
    path = write(own_store)
    undisturbed = contents(path)
    (path / "latent/c/2/0/0/0/0").unlink()
    with pytest.raises(StoreError, match=r"latent of clip 10: .*c/2/0/0/0/0"):
        read(own_store)
    write(own_store)
    assert contents(path) == undisturbed


def test_a_missing_cache_names_the_command_to_run(own_store: Store) -> None:
    with pytest.raises(UserError, match=r"no latents at .*: first run `dvdm-train encode`"):
        read(own_store)


def test_another_autoencoder_has_another_place(own_store: Store) -> None:
    changed = codec(own_store)
    with torch.no_grad():
        changed.autoencoder.synthesis.weight[0, 0] += 1e-6
    spaces = (codec(own_store), changed, codec(own_store, seed=1))
    paths = {write(own_store, space) for space in spaces}
    assert len(paths) == 3
    assert all(path.is_dir() for path in paths)


@pytest.mark.parametrize("other", ["options", "plan", "identity"])
def test_latents_of_other_options_plans_and_spaces_are_refused(
    own_store: Store, other: str
) -> None:
    path = write(own_store)
    changed = {"reference": "previous"} if other == "options" else {}
    options = own_store.options.model_copy(update=changed)
    plan = "another" if other == "plan" else "plan"
    store = make_store(own_store.path.with_name("other"), options=options, plan_hash=plan)
    space = codec(own_store, seed=1 if other == "identity" else 0)
    path.rename(store.path.with_name(f"other.latents-{space.identity}"))
    message = rf"belongs to another extraction \(other {other}\); delete it"
    for use in (read, write):
        with pytest.raises(UserError, match=message):
            use(store, space)


def test_other_groups_are_refused(own_store: Store) -> None:
    path = write(own_store)
    (path / "zarr.json").write_text('{"attributes": {"plan": "plan"}}')
    for use in (read, write):
        with pytest.raises(UserError, match="delete it and run"):
            use(own_store)


def brightness(options: CodecOptions, companion: str | None) -> Derived:
    def compute(batch: ClipBatch) -> Tensor:
        return stored_frames(batch, options).float().mean(dim=(2, 3, 4))

    return Derived("brightness", lambda: "mean", (options.frames,), compute, companion)


def test_an_array_can_be_computed_from_another_store_of_the_same_clips(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    dark = [clip // 2 for clip in (random_clip(OPTIONS, seed) for seed in range(12))]
    other = make_store(tmp_path / "dark", clips=dark)
    clips, array = Clips(store, None), brightness(OPTIONS, str(other.path))
    write_derived(clips, array, CPU)
    out = np.empty(OPTIONS.frames, np.float16)
    for index in (0, 7):
        DerivedArray(store, array).read_into(index, out)
        assert out == pytest.approx(dark[index].mean(axis=(1, 2, 3)), rel=2e-3)


@pytest.mark.parametrize(("change", "named"), [("size", "size"), ("consecutive", "video")])
def test_a_store_of_other_clips_is_no_companion(tmp_path: Path, change: str, named: str) -> None:
    store = make_store(tmp_path / "store")
    larger = OPTIONS.model_copy(update={"size": FrameSize(24, 24)})
    options = {"options": larger} if change == "size" else {"consecutive": 2}
    other = make_store(tmp_path / "other", **options)
    with pytest.raises(UserError, match=rf"does not hold the clips of .*{named}.*extract it"):
        write_derived(Clips(store, None), brightness(OPTIONS, str(other.path)), CPU)
