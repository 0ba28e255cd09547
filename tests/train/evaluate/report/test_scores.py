from __future__ import annotations

from typing import Any

from train.evaluate.report.scores import ScoreTables, score_tables


def tables(scores: dict[str, Any]) -> ScoreTables:
    return score_tables(".", scores)


def test_numbers_of_any_depth_are_in_the_table() -> None:
    scores = {"psnr_generated": 25.2443, "fvd": {"value": 3, "per_class": {"a": 0.5}}}
    assert tables(scores).numbers == [
        ("PSNR of generated clips against the real ones, dB", 25.2443),
        ("fvd · value", 3),
        ("fvd · per class · a", 0.5),
    ]


def test_other_values_are_listed_as_they_are() -> None:
    scores = {"lpips": "not computed: <no weights>", "read_as_asked": None, "ours": True}
    found = tables(scores)
    assert not found.numbers
    assert dict(found.others) == {
        "lpips": "not computed: <no weights>",
        "generated clips that the classifier reads as the text asked for": None,
        "ours": True,
    }


def test_lists_of_measurements_are_drawn_and_lists_of_seeds_are_not() -> None:
    found = tables({"psnr_by_frame": [30.5, 29.0, 28.25, 27.0], "seeds": [0, 1, 2, 3, 4]})
    [chart] = found.charts
    assert 'aria-label="psnr by frame"' in chart
    assert found.others == [("seeds", "0, 1, 2, 3, 4")]


def test_an_empty_file_gives_empty_tables() -> None:
    found = tables({})
    assert not found.numbers and not found.others and not found.charts


def test_values_that_are_not_finite_are_named() -> None:
    found = tables({"frechet": float("inf"), "curve": [1.5, float("nan"), 2.0, 3.0]})
    assert found.numbers == [("frechet", float("inf"))]
    assert found.others == [("curve", "1.5, nan, 2.0, 3.0")]
