from __future__ import annotations

import io
import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageSequence
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from train.trainer.distributed import World
from train.trainer.monitor import (
    NonFiniteMonitor,
    RunLog,
    RunningMeans,
    Throughput,
    autocast,
    computes_bfloat16,
    peak_memory,
    processor,
    read_metrics,
)

CPU = torch.device("cpu")
NUMBERS = st.floats(-1e6, 1e6, width=32)


def test_the_last_line_of_a_repeated_step_counts(tmp_path: Path) -> None:
    for steps in ((1, 2, 3), (2, 3, 4)):
        log = RunLog(tmp_path / "stage")
        for step in steps:
            log.scalars(step, {"loss": step + steps[0] / 10})
        log.close()
    assert read_metrics(tmp_path / "stage") == [
        {"step": 1, "loss": 1.1},
        {"step": 2, "loss": 2.2},
        {"step": 3, "loss": 3.2},
        {"step": 4, "loss": 4.2},
    ]


def test_a_line_that_a_kill_tore_is_dropped(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.scalars(1, {"loss": 1.0})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 1.0}], "a run that nobody resumed"
    log = RunLog(tmp_path, 1)
    log.scalars(2, {"loss": 2.0})
    log.close()
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 2.0}]


def test_tensorboard_shows_each_step_of_a_resumed_run_once(tmp_path: Path) -> None:
    for done, steps in ((0, (1, 2, 3)), (1, (2, 3, 4))):
        log = RunLog(tmp_path, done)
        for step in steps:
            log.scalars(step, {"loss": step + done / 10})
        log.close()
        time.sleep(1.1)  # event files are ordered by the second they were begun in
    shown = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert [(event.step, round(event.value, 1)) for event in shown] == [
        (1, 1.0), (2, 2.1), (3, 3.1), (4, 4.1),
    ]  # fmt: skip


def test_videos_go_to_tensorboard_and_move(tmp_path: Path) -> None:
    clip = np.zeros((3, 3, 16, 24), np.uint8)
    clip[1:, 0] = 200
    log = RunLog(tmp_path)
    log.video(5, "clip", clip)
    log.close()
    (event,) = EventAccumulator(str(tmp_path)).Reload().Images("clip")
    assert event.step == 5
    picture = Image.open(io.BytesIO(event.encoded_image_string))
    assert (picture.format, picture.size) == ("GIF", (24, 16))
    reds = [np.asarray(frame.convert("RGB"))[0, 0, 0] for frame in ImageSequence.Iterator(picture)]
    assert (reds[0], reds[-1]) == (0, 200)


def test_no_log_is_empty(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []


def test_pictures_go_to_tensorboard(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    log.picture(1, "sheet", np.zeros((64, 64, 3), np.uint8))
    log.close()
    events = b"".join(path.read_bytes() for path in tmp_path.glob("events.out.tfevents.*"))
    assert b"sheet" in events
    assert b"PNG" in events


@pytest.mark.parametrize(
    ("capabilities", "fast"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, True),
        ({"amx_bf16": False, "avx512_bf16": True}, True),
        ({"amx_bf16": False, "avx512_bf16": False, "avx512_f": True}, False),
        ({"neon": True}, False),
    ],
)
def test_products_are_bfloat16_where_a_cpu_has_instructions_for_them(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], fast: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert computes_bfloat16(CPU) is fast
    with autocast(CPU):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if fast else torch.float32)


def test_a_gpu_computes_bfloat16() -> None:
    assert computes_bfloat16(torch.device("cuda"))


def test_the_most_memory_so_far_never_falls() -> None:
    before = peak_memory(CPU)
    held = torch.ones(2**26)  # 256 MiB, touched
    more = peak_memory(CPU)
    assert more >= before
    assert more >= held.nbytes
    del held
    assert peak_memory(CPU) >= more


def test_the_processor_has_a_name() -> None:
    assert "cores" in processor() or torch.cuda.is_available()


@given(st.lists(st.lists(NUMBERS | st.just(math.nan), min_size=1, max_size=5), min_size=1))
def test_means_are_over_rows_with_a_number(parts: list[list[float]]) -> None:
    means = RunningMeans(World())
    for rows in parts:
        means.add({"rows": torch.tensor(rows), "scalar": torch.tensor(float(len(rows)))}, len(rows))
    known = [value for rows in parts for value in rows if not math.isnan(value)]
    popped = means.pop()
    sizes = [len(rows) for rows in parts]
    assert popped["scalar"] == pytest.approx(sum(n * n for n in sizes) / sum(sizes))
    if known:
        assert popped["rows"] == pytest.approx(math.fsum(known) / len(known), abs=1e-6)
    else:
        assert "rows" not in popped
    assert means.pop() == {}


@given(st.lists(NUMBERS, min_size=2, max_size=20), st.integers(0, 20))
def test_sums_outlive_their_process_bit_for_bit(values: list[float], cut: int) -> None:
    whole, first = RunningMeans(World()), RunningMeans(World())
    for value in values:
        whole.add({"loss": torch.tensor(value)}, 3)
    for value in values[:cut]:
        first.add({"loss": torch.tensor(value)}, 3)
    second = RunningMeans(World())
    second.restore(json.loads(json.dumps(first.state())), CPU)
    for value in values[cut:]:
        second.add({"loss": torch.tensor(value)}, 3)
    assert second.pop() == whole.pop()


def test_only_rank_0_continues_from_the_sums_of_all() -> None:
    """The others have zeros of the same names: a finished stage saves without another step."""
    follower = RunningMeans(World(rank=1, size=2))
    follower.restore({"loss": [3.0, 1.0], "l1": [1.0, 1.0]}, CPU)
    assert {n: pair.tolist() for n, pair in follower._sums.items()} == {
        "loss": [0, 0],
        "l1": [0, 0],
    }
    follower.restore({}, CPU)
    assert not follower._sums


def test_the_first_step_that_is_not_finite_is_remembered() -> None:
    monitor = NonFiniteMonitor(World(), CPU)
    one = torch.ones(())
    monitor.watch(3, one, one)
    assert monitor.first_step() is None
    monitor.watch(4, one, one * math.inf)
    monitor.watch(5, one * math.nan, one)
    monitor.watch(6, one, one)
    assert monitor.first_step() == 4


def test_pauses_do_not_count() -> None:
    times = iter([0, 1, 301, 302, 305, 306, 310, 314, 314])  # start, pause, wait, pop twice
    throughput = Throughput(World(), lambda: next(times))
    with throughput.paused():
        pass
    with throughput.waiting():
        pass
    throughput.count(12)
    assert throughput.pop() == {"clips_per_second": 2, "wait": 0.5}
    assert throughput.pop() == {"clips_per_second": 0, "wait": 0}
