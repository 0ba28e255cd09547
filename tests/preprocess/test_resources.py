"""Disk full, nothing writable, hostile headers, long videos: memory stays bounded, work is kept."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import av
import numpy as np
import pytest

from shared.store.store import Store
from tests.conftest import call_preprocess, moving_square, write_video

OPTIONS = "--size 32 --frames 4 --block 8 --search-range 4 --workers"


def python(code: str, *arguments: object) -> str:
    """Run code in a process of its own; its standard output."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def unshare() -> list[str]:
    """A command that runs another where it may mount file systems; skips where that is barred."""
    command = ["unshare", "--map-root-user", "--mount", "sh", "-ec"]
    try:
        subprocess.run([*command, "mount -t tmpfs tmpfs /mnt"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine lets nobody mount a file system")
    return command


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_full_disk_is_named_and_what_is_done_is_kept(
    workers: int, unshare: list[str], tmp_path: Path
) -> None:
    """The disk is a small one in memory, copied away when it is full; more room, and it goes on."""
    # Noise does not compress: 160 clips of 4 x 32 x 32 pixels, in 3 partitions of some 1.4 MB.
    noise = np.random.default_rng(0).integers(0, 255, (320, 32, 32, 3), dtype=np.uint8)
    for name in ("a", "b"):
        write_video(tmp_path / "v" / f"{name}.mkv", noise, codec="ffv1", pixels="bgr0")
    run = f"{sys.executable} -m preprocess run folder --root {tmp_path}/v {OPTIONS} {workers}"
    script = f"""
        mkdir {tmp_path}/disk {tmp_path}/kept
        mount -t tmpfs -o size=2m tmpfs {tmp_path}/disk
        {run} --out {tmp_path}/disk/store && exit 9 || echo exit $? >&2
        cp -a {tmp_path}/disk/. {tmp_path}/kept
    """
    full = subprocess.run([*unshare, textwrap.dedent(script)], capture_output=True, text=True)
    assert full.returncode == 0, full.stderr
    assert "exit 2" in full.stderr
    assert "No space left on device; free some space" in " ".join(full.stderr.split())
    assert "Traceback" not in full.stderr
    kept = tmp_path / "kept" / "store"
    before = {path: path.stat().st_mtime_ns for path in kept.glob("partitions/*")}
    assert 0 < len(before) < 3
    assert call_preprocess(*run.split()[3:], "--out", kept) == 0
    assert before.items() <= {p: p.stat().st_mtime_ns for p in kept.glob("partitions/*")}.items()
    assert len(Store(kept)) == 160


def test_a_read_only_disk_is_named(unshare: list[str], folder: Path, tmp_path: Path) -> None:
    """And a finished store on one can be asked for again."""
    options = f"run folder --root {folder} {OPTIONS} 1 --out"
    run = f"{sys.executable} -m preprocess {options}"
    assert call_preprocess(*options.split(), tmp_path / "done") == 0
    script = f"""
        mount --bind {tmp_path} {tmp_path}
        mount -o remount,ro,bind {tmp_path}
        {run} {tmp_path}/done
        {run} {tmp_path}/new && exit 9 || echo exit $? >&2
    """
    done = subprocess.run([*unshare, textwrap.dedent(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "is complete already" in " ".join(done.stdout.split())
    assert "exit 2" in done.stderr
    assert "cannot write the store" in done.stderr
    assert "Read-only file system" in done.stderr
    assert "Traceback" not in done.stderr


HOSTILE = """
    import resource, sys
    from pathlib import Path
    from preprocess.frames.geometry import Geometry
    from preprocess.records import DecodeError, Probe
    from preprocess.sources.video import decode, probe

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 300 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for name in sys.argv[1:]:
        found = probe(Path(name), Geometry(64))
        if isinstance(found, Probe):
            try:
                print(len(list(decode(Path(name), range(found.frames), Geometry(64)))))
            except DecodeError as error:
                print(error)
        else:
            print(found)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_hostile_sizes_are_refused_within_300_megabytes(tmp_path: Path) -> None:
    """100,000 x 100,000 pixels in the container's header, 65,500 x 65,500 in the frames'."""
    raw = write_video(tmp_path / "raw.avi", moving_square(9, 16, 16), codec="rawvideo")
    content = bytearray(raw.read_bytes())
    for mark, offset in ((b"strf", 12), (b"avih", 40)):
        at = content.index(mark) + offset
        assert content[at : at + 8] == (16).to_bytes(4, "little") * 2
        content[at : at + 8] = (100_000).to_bytes(4, "little") * 2
    raw.write_bytes(content)
    jpeg = write_video(
        tmp_path / "jpeg.avi", moving_square(9, 64, 64), codec="mjpeg", pixels="yuvj420p"
    )
    size = (64).to_bytes(2, "big")
    jpeg.write_bytes(jpeg.read_bytes().replace(size * 2, (65_500).to_bytes(2, "big") * 2))
    with av.open(str(jpeg)) as container:
        assert container.streams.video[0].codec_context.width in (64, 65_500)
    lines = python(HOSTILE, raw, jpeg).splitlines()
    assert lines[0] == "its header states no frame size that can be decoded"
    assert "65500x65500" in lines[1]


PEAK = r"""
    import re, sys
    from pathlib import Path
    from preprocess.executor import ExecutorOptions
    from preprocess.options import codec_options
    from preprocess.pipeline import Extraction, run
    from shared.console import Progress
    from shared.manifest import load_manifest

    manifest = load_manifest("folder")
    given = {"size": 64, "block": 16, "search_range": 4}
    options = codec_options(manifest, given)
    root, store = Path(sys.argv[1]), Path(sys.argv[2])
    run(Extraction(manifest, root, store, options, ExecutorOptions()), Progress())
    # Not getrusage: its maximum outlives exec, and is then that of the process that started this.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(int(peak[1]) // 1024)
"""


def peak_mb(video: Path, store: Path) -> int:
    return int(python(PEAK, video.parent, store).splitlines()[-1])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_video(tmp_path: Path) -> None:
    """64 clips, one whole partition, against 1250 clips in twenty."""
    peaks = {}
    for frames in (1_024, 20_000):
        path = tmp_path / str(frames) / "v.mp4"
        path.parent.mkdir()
        write_video(path, np.repeat(moving_square(20, 48, 64), frames // 20 + 1, 0)[:frames])
        peaks[frames] = peak_mb(path, tmp_path / f"store{frames}")
    print(peaks)
    assert peaks[20_000] < peaks[1_024] + 20, peaks


@pytest.mark.slow
def test_memory_of_a_real_long_video(real_clips: Path, tmp_path: Path) -> None:
    """1394 frames of 768 x 432 pixels; each would be a megabyte."""
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "v.mp4").symlink_to(real_clips / "clips" / "persons_one_by_one.mp4")
    peak = peak_mb(tmp_path / "v" / "v.mp4", tmp_path / "store")
    print(peak)
    assert peak < 400
    assert len(Store(tmp_path / "store")) == 1394 // 16
