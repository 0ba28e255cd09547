"""Figures of whole stages: decoding, extraction, searching again."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType

from benchmarks import ffmpeg, straightforward
from benchmarks.measure import Figure, cpu_seconds, least_in_turn
from preprocess.executor import ExecutorOptions
from preprocess.frames.geometry import Geometry
from preprocess.motion.encode import encode
from preprocess.pipeline import Extraction, run
from preprocess.sources.dependencies import read_dependencies
from preprocess.sources.media import open_container
from preprocess.sources.video import decode, decode_all
from preprocess.steps.reblock import reblock
from shared.console import Progress
from shared.manifest import load_manifest
from shared.schema import LARGE, CodecOptions
from shared.store.partition import PartitionReader, PartitionWriter
from shared.store.store import Store, read_attributes

SIZE, ROUNDS = 128, 3


def pipeline_figures(hd: Path, small: list[Path], videos: list[Path]) -> Iterator[Figure]:
    """Yield all figures.

    Args:
        hd: a 720p file.
        small: files of about 270p.
        videos: all files.
    """
    frames = sum(1 for _ in _frames(hd))
    yield from _decoding(hd, frames)
    yield _search_fraction(small)
    yield from skipping_figures(small)
    with tempfile.TemporaryDirectory() as folder:
        yield from _again(Path(folder), [hd])
        yield _over_decoding(Path(folder), "720p", [hd] * 6, 1.2)
        yield _over_decoding(Path(folder), "all files", videos, 1.35)
        yield _end_to_end(Path(folder), videos)


def _frames(video: Path) -> Iterator[object]:
    with open_container(video) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        yield from container.decode(stream)


def _all(video: Path, frames: int) -> None:
    for _ in islice(decode(video, range(frames), Geometry(SIZE)), frames):
        pass


def _decoding(hd: Path, frames: int) -> Iterator[Figure]:
    peers = {
        "decode alone": (lambda: cpu_seconds(lambda: sum(1 for _ in _frames(hd))), 0.85),
        "an ffmpeg pipe": (lambda: ffmpeg.scaled_seconds(hd, SIZE), 1.1),
    }
    if importlib.util.find_spec("decord"):
        peers["decord"] = lambda: cpu_seconds(lambda: _decord(hd)), 1
    measures = [measure for measure, _ in peers.values()]
    ours, *theirs = least_in_turn(
        3 * ROUNDS, lambda: cpu_seconds(lambda: _all(hd, frames)), *measures
    )
    for (name, (_, target)), peer in zip(peers.items(), theirs, strict=True):
        title = f"720p: decode + resize, frames a CPU second, against {name}"
        yield Figure(title, frames / ours, frames / peer, "/s", peer / ours, target)


def _decord(video: Path) -> None:
    decord = importlib.import_module("decord")
    for _ in decord.VideoReader(str(video), width=SIZE, height=SIZE, num_threads=1):
        pass


LONG_FRAMES = 300


def skipping_figures(videos: list[Path]) -> Iterator[Figure]:
    """Clips of 16 frames a CPU second, against decoding every packet up to the last wanted one."""
    with tempfile.TemporaryDirectory() as folder:
        for gop in (12, 250):
            video = _long_video(Path(folder, f"{gop}.mp4"), videos[0], gop)
            stride = [list(range(n, n + 46, 3)) for n in range(0, LONG_FRAMES - 46, 48)]
            spread = [[round(n * (LONG_FRAMES - 1) / 15) for n in range(16)]]
            for name, clips in (("stride 3", stride), (f"16 of {LONG_FRAMES} frames", spread)):
                ours, plain = least_in_turn(
                    2 * ROUNDS,
                    lambda v=video, c=clips: cpu_seconds(lambda: _decode_clips(decode, v, c)),  # type: ignore[misc]
                    lambda v=video, c=clips: cpu_seconds(lambda: _decode_clips(decode_all, v, c)),  # type: ignore[misc]
                )
                kind = f"360p, key frames every {gop}, {name}"
                yield Figure(
                    f"{kind}: clips a CPU second, against decoding all",
                    len(clips) / ours,
                    len(clips) / plain,
                    "/s",
                    plain / ours,
                    1,
                )


def _decode_clips(by: Callable[..., Iterator[object]], video: Path, clips: list[list[int]]) -> None:
    """Decode as one task of an extraction does, which reads the packets once."""
    read_dependencies.cache_clear()
    for _ in by(video, sorted({n for clip in clips for n in clip}), Geometry(SIZE)):
        pass


def _long_video(path: Path, source: Path, gop: int) -> Path:
    """Write 300 frames of H.264 by x264's defaults, from a shorter video to and fro."""
    with open_container(source) as given, av.open(str(path), "w") as out:
        scaled = [f.reformat(640, 360, "yuv420p") for f in given.decode(video=0)][:LONG_FRAMES]
        around = [*scaled, *scaled[-2:0:-1]]
        params = {"x264-params": f"log-level=none:keyint={gop}"}
        stream = out.add_stream("libx264", rate=25, options=params)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        for n in range(LONG_FRAMES):
            frame = around[n % len(around)]
            frame.pts, frame.time_base = n, Fraction(1, 25)
            frame.pict_type = PictureType.NONE
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def _search_fraction(videos: list[Path]) -> Figure:
    """Fraction of CPU time that search and residual take of decoding, resizing and searching."""
    options = CodecOptions(size=SIZE, motion_cost=0.0)
    clips = []
    for video in videos:
        frames = [frame for _, frame in decode(video, range(16), Geometry(SIZE))]
        clips.append(np.stack(frames))

    def search_all() -> None:
        for clip in clips:
            encode(clip, options)

    def decode_all() -> None:
        for video in videos:
            _all(video, 16)

    search, decoding = least_in_turn(
        2 * ROUNDS, lambda: cpu_seconds(search_all), lambda: cpu_seconds(decode_all)
    )
    count, fraction = len(clips) * 16, search / (search + decoding)
    return Figure(
        "270p: fraction of luma, search and residual in decode + encode",
        search / count * 1e6,
        (search + decoding) / count * 1e6,
        "µs/frame",
        fraction,
        0.1,
        at_most=True,
    )


def _extraction(folder: Path, name: str, videos: list[Path]) -> Extraction:
    root = folder / f"{name}-videos"
    root.mkdir()
    for i, video in enumerate(videos):
        (root / f"{i}-{video.name}").symlink_to(video.absolute())
    options = CodecOptions(size=SIZE, motion_cost=0.0)
    return Extraction(
        load_manifest("folder"), root, folder / name, options, ExecutorOptions(), None
    )


def _run(folder: Path, name: str, videos: list[Path]) -> float:
    extraction = _extraction(folder, name, videos)
    with contextlib.redirect_stderr(io.StringIO()):
        return cpu_seconds(lambda: run(extraction, Progress()))


def _into_new(folder: Path, work: Callable[[Path], float]) -> float:
    """Time of work that writes into a new folder, which is removed afterwards.

    Otherwise each round would write to memory that the system has not touched before, which on a
    virtual machine costs more than the writing.
    """
    with tempfile.TemporaryDirectory(dir=folder) as place:
        return work(Path(place))


def _reblock(store: Path, to: Path) -> float:
    with contextlib.redirect_stderr(io.StringIO()):
        return cpu_seconds(lambda: reblock(store, to, {"block": 8}, ExecutorOptions(), Progress()))


def _again(folder: Path, videos: list[Path]) -> Iterator[Figure]:
    # Imports, compilation and one-time work of a run are not measured.
    _run(folder, "warm", videos[:1])
    _run(folder, "hd", videos * 6)
    store = folder / "hd"
    first, searching, rewriting = least_in_turn(
        ROUNDS,
        lambda: _into_new(folder, lambda place: _run(place, "first", videos * 6)),
        lambda: _into_new(folder, lambda place: _reblock(store, place / "again")),
        lambda: _into_new(
            folder, lambda place: cpu_seconds(lambda: _rewrite(store, place / "copy"))
        ),
    )
    clips = len(Store(store))
    name = "720p: clips a CPU second, reblock against"
    yield Figure(
        f"{name} first extraction", clips / searching, clips / first, "/s", first / searching, 4
    )
    yield Figure(
        f"{name} reading and rewriting, times as long",
        clips / searching,
        clips / rewriting,
        "/s",
        searching / rewriting,
        1.5,
        at_most=True,
    )


def _over_decoding(folder: Path, title: str, videos: list[Path], target: float) -> Figure:
    """Compare a first extraction with decoding every frame of the same files, and no more."""
    name = f"{title} over decoding".replace(" ", "-")
    _run(folder, name, videos)  # everything is warm from here on
    clips = len(Store(folder / name))
    ours, alone = least_in_turn(
        2 * ROUNDS,
        lambda: _into_new(folder, lambda place: _run(place, "first", videos)),
        lambda: cpu_seconds(lambda: sum(1 for video in videos for _ in _frames(video))),
    )
    return Figure(
        f"{title}: CPU a clip of an extraction, over decoding alone",
        1000 * ours / clips,
        1000 * alone / clips,
        "ms",
        ours / alone,
        target,
        at_most=True,
    )


def _end_to_end(folder: Path, videos: list[Path]) -> Figure:
    """Compare on the same files; the script makes clips of 16 frames, too."""
    _run(folder, "all", videos)

    made: list[int] = []

    def extract_all(out: Path) -> None:
        made[:] = [straightforward.extract(video, out, SIZE) for video in videos]

    first, plain = least_in_turn(
        ROUNDS,
        lambda: _into_new(folder, lambda place: _run(place, "all", videos)),
        lambda: _into_new(folder, lambda place: cpu_seconds(lambda: extract_all(place))),
    )
    ours, theirs = len(Store(folder / "all")) / first, sum(made) / plain
    name = "all files, clips a CPU second, against a straightforward script"
    return Figure(name, ours, theirs, "/s", ours / theirs, 30)


def _rewrite(source: Path, to: Path) -> None:
    from shared.store.store import create_store

    attributes = read_attributes(source)
    create_store(to, attributes.model_copy(update={"sealed": False}))
    for partition in range(attributes.partitions):
        reader, writer = PartitionReader(source, partition), PartitionWriter(to, partition)
        for slot in range(reader.clips):
            writer.put(slot, **{name: reader.entry(name, slot) for name in LARGE})
        writer.write(reader.columns(), reader.marker.rejects)
