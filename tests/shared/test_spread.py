from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shared.spread import evenly


@given(st.integers(1, 500), st.integers(1, 20))
def test_positions_are_spread_from_the_first_to_the_last(total: int, most: int) -> None:
    shown = evenly(total, most)
    assert len(shown) == min(total, most)
    assert (np.diff(shown) > 0).all()
    assert shown[0] == 0
    assert most == 1 or shown[-1] == total - 1
    assert len(shown) < 3 or np.ptp(np.diff(shown)) <= 1
