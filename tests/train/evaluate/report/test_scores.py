from __future__ import annotations

import re
from html import unescape

from train.evaluate.report.scores import score_tables


def cells(shown: str) -> list[tuple[str, str]]:
    found = re.findall(r"<tr><td[^>]*>(.*?)</td><td[^>]*>(.*?)</td></tr>", shown)
    return [(unescape(name), unescape(value)) for name, value in found]


def facts(shown: str) -> dict[str, str]:
    found = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", shown)
    return {unescape(name): unescape(value) for name, value in found}


def test_numbers_of_any_depth_stand_in_a_table() -> None:
    shown = score_tables({"psnr_generated": 25.2443, "fvd": {"value": 3, "per_class": {"a": 0.5}}})
    assert cells(shown) == [
        ("PSNR of generated clips against the real ones, dB", "25.24"),
        ("fvd · value", "3"),
        ("fvd · per class · a", "0.5000"),
    ]


def test_what_is_not_a_number_is_told_below() -> None:
    scores = {"lpips": "not computed: <no weights>", "read_as_asked": None, "ours": True}
    shown = score_tables(scores)
    assert not cells(shown)
    assert facts(shown) == {
        "lpips": "not computed: <no weights>",
        "generated clips that the classifier reads as the text asked for": "–",
        "ours": "yes",
    }


def test_lists_of_measurements_are_drawn_and_lists_of_seeds_are_not() -> None:
    shown = score_tables({"psnr_by_frame": [30.5, 29.0, 28.25, 27.0], "seeds": [0, 1, 2, 3, 4]})
    assert shown.count("<svg") == 1
    assert 'aria-label="psnr by frame"' in shown
    assert facts(shown) == {"seeds": "0, 1, 2, 3, 4"}


def test_nothing_gives_nothing() -> None:
    assert score_tables({}) == ""


def test_values_that_are_not_finite_are_named() -> None:
    shown = score_tables({"frechet": float("inf"), "curve": [1.5, float("nan"), 2.0, 3.0]})
    assert cells(shown) == [("frechet", "inf")]
    assert facts(shown) == {"curve": "1.5, nan, 2.0, 3.0"}
