from __future__ import annotations

import pytest

from shared.conventions import COMPENSATIONS
from shared.schema import CodecOptions
from train.evaluate.deviations import deviations
from train.recipes import load_recipe


@pytest.mark.parametrize("compensation", COMPENSATIONS)
def test_compensation_is_a_deviation_of_the_codec_alone(compensation: str) -> None:
    store = CodecOptions(size=64, block=8, compensation=compensation)
    named = {
        name: [
            clause
            for clause in deviations(load_recipe(name, []).to_dict(), store)
            if "nearest four blocks" in clause or "interpolated" in clause
        ]
        for name in ("ed_vdm_64", "d_vdm_64")
    }
    assert named["d_vdm_64"] == []
    assert len(named["ed_vdm_64"]) == (compensation != "block")


@pytest.mark.parametrize(
    ("recipe", "clause"),
    [
        ("ed_vdm_vectors_demo", "vectors are generated alone"),
        ("ed_vdm_filled_demo", "the decoder fills in"),
        ("ed_vdm_filled_demo", "from what it draws"),
    ],
)
def test_what_takes_the_stores_vectors_names_how_they_were_made(recipe: str, clause: str) -> None:
    store = CodecOptions(size=64, block=4, reference="first", method="variational", vector_unit=4)
    found = "; ".join(deviations(load_recipe(recipe, []).to_dict(), store))
    for named in (clause, "predicted from the first one", "fitted to whole frames", "fractions"):
        assert named in found
    assert "fitted" not in "; ".join(deviations(load_recipe("lfdm_demo", []).to_dict(), store))


def test_what_the_demo_of_movideo_does_otherwise_is_named_and_the_papers_recipe_does_none() -> None:
    store = CodecOptions(size=64, block=8)
    named = deviations(load_recipe("movideo_demo", []).to_dict(), store)
    for part in ("key frame is the first", "depth is left out", "standardised", "patches", "label"):
        assert any(part in clause for clause in named), part
    assert deviations(load_recipe("movideo_256", []).to_dict(), store) == []
