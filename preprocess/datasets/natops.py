"""NATOPS: each file holds 20 repetitions, divided by `data/segmentation.txt`.

The file has a comment line for every subject (`// Subject 1`), then for every gesture a line
`subject,gesture,repetitions`, then a line `n:start,end` for each repetition, whose frames are
counted from 1, the last one included.
"""

from __future__ import annotations

import re

from preprocess.records import Segment
from shared.errors import UserError
from shared.store.paths import Location

SEGMENTATION = "data/segmentation.txt"
"""Place of the file in the data set's layout; it is also found at the root."""

_HEADER = re.compile(r"(\d+)\s*,\s*(\d+)\s*,\s*(\d+)")
_REPETITION = re.compile(r"(\d+)\s*:\s*(\d+)\s*,\s*(\d+)")


def read_segments(root: Location) -> dict[str, tuple[Segment, ...]]:
    """Read the segmentation file of a data set; keys are the file names of its videos.

    Raises:
        UserError: the file is missing or a line of it is malformed.
    """
    path = root / SEGMENTATION
    if not path.exists() and (root / path.name).exists():
        path = root / path.name
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise UserError(
            f"NATOPS: {path} is missing; it states where each repetition starts and ends."
            " Fetch segmentation.txt from where the videos came and put it there."
        ) from None
    return parse_segmentation(text)


def parse_segmentation(text: str) -> dict[str, tuple[Segment, ...]]:
    """Parse repetitions by the video's file name, as half-open segments counted from 0.

    Raises:
        UserError: a line is malformed, out of place, or a repetition is empty.
    """
    segments: dict[str, list[Segment]] = {}
    current: list[Segment] | None = None
    for number, line in enumerate(map(str.strip, text.lstrip("\ufeff").splitlines()), start=1):
        if not line or line.startswith("//"):
            continue
        if header := _HEADER.fullmatch(line):
            current = segments.setdefault(_file_name(int(header[1]), int(header[2])), [])
        elif (repetition := _REPETITION.fullmatch(line)) and current is not None:
            current.append(_segment(int(repetition[2]), int(repetition[3]), number))
        else:
            raise UserError(
                f"{SEGMENTATION} line {number}: {line!r}; expected `// comment`,"
                " `subject,gesture,repetitions` or, after one, `n:start,end`"
            )
    return {name: tuple(found) for name, found in segments.items()}


def _file_name(subject: int, gesture: int) -> str:
    return f"g{gesture:02d}s{subject:02d}.avi"


def _segment(first: int, last: int, line_number: int) -> Segment:
    if not 1 <= first <= last:
        raise UserError(
            f"{SEGMENTATION} line {line_number}: frames {first} to {last}; frames count from 1"
            " and the last may not come before the first"
        )
    return Segment(first - 1, last)
