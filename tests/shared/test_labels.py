from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import UserError
from shared.labels import find_label, normalised

COMPOSED, DECOMPOSED = "\u00e9", "e\u0301"


def test_an_exact_match_comes_before_a_folded_one() -> None:
    labels = ["Wave", "wave", "WAVE "]
    assert [find_label(label, labels) for label in labels] == [0, 1, 2]
    assert find_label(" WAVE", labels) == 2
    assert find_label("wAvE", ["Wave", "Clap"]) == 0
    with pytest.raises(UserError, match="'wAvE' may be any of the labels 'Wave', 'wave', 'WAVE '"):
        find_label("wAvE", labels)
    assert find_label("walk", labels) is None


def test_letters_written_in_two_ways_are_the_same() -> None:
    assert find_label(DECOMPOSED, [COMPOSED]) == find_label(COMPOSED, [DECOMPOSED]) == 0
    assert find_label("CAF" + DECOMPOSED.upper(), ["caf" + COMPOSED]) == 0
    assert find_label("STRASSE", ["Stra\u00dfe"]) == 0
    assert normalised(f" \u00a0{DECOMPOSED}\t") == COMPOSED


@given(st.lists(st.text(max_size=4), unique=True))
def test_every_label_names_itself(labels: list[str]) -> None:
    assert [find_label(label, labels) for label in labels] == list(range(len(labels)))
