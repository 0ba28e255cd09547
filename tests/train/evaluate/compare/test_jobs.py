from __future__ import annotations

from pathlib import Path

import pytest

from train.evaluate.compare.jobs import cpu_seconds, once


def test_a_part_is_done_once_and_has_a_time_unless_it_was_interrupted(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        once(tmp_path, "sum", lambda: 1 // 0)
    once(tmp_path, "sum", lambda: None)
    once(tmp_path, "sum", lambda: pytest.fail("done before"))
    assert cpu_seconds(tmp_path, "sum") is None
    once(tmp_path, "product", lambda: None)
    assert cpu_seconds(tmp_path, "product") is not None
