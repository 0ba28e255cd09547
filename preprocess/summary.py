"""Text for the user: the summary of a run and the contents of a store."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from preprocess.records import Reject, read_rejects
from shared.console import byte_count, escaped, shell_command
from shared.schema import ARRAYS, NEITHER, TEST, TRAIN, StoreAttributes
from shared.store.paths import Location, sizes
from shared.store.store import Store, read_attributes, read_markers

OTHER_FILES = "(other files)"
"""Name for the files of a store that belong to no array: markers, metadata, rejects."""

_EXAMPLES = 3

_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class Rejected:
    """Files that were rejected, cut short or used in part for one reason.

    Attributes:
        reason: in words; … for numbers that are not the same for all.
        rejects: one for each file.
        lost: clips that were planned and not made.
        kept: clips made of clips planned.
        usable_frames: of damaged videos; 0 if none was damaged.
        examples: names of a few files.
    """

    reason: str
    rejects: tuple[Reject, ...]
    lost: int
    kept: str
    usable_frames: int
    examples: str

    @property
    def files(self) -> int:
        """Number of files."""
        return len(self.rejects)


def describe(path: Location) -> dict[str, Any]:
    """Describe a store as plain data, for `inspect`; an unfinished one as far as it is made.

    Raises:
        StoreError: there is no store, or files of it are missing.
    """
    attributes = read_attributes(path)
    done = read_markers(path, range(attributes.partitions))
    by_array = _bytes_by_array(path)
    stored = sum(by_array.values())
    valid = sum(marker.valid for marker in done if marker)
    raw = valid * attributes.options.frames * 3 * attributes.options.size.pixels
    return {
        "store": str(path),
        **attributes.model_dump(mode="json"),
        "partitions": attributes.partitions,
        "partitions_done": sum(marker is not None for marker in done),
        "valid_clips": valid,
        "arrays": {
            spec.name: {
                "dtype": spec.dtype,
                "shape": [attributes.clips, *spec.shape(attributes)],
                "axes": list(spec.axes),
                "units": spec.units,
                "meaning": spec.meaning_in(attributes),
            }
            for spec in ARRAYS
        },
        "bytes": stored,
        "bytes_by_array": by_array,
        "raw_rgb_bytes": raw,
        "compression": raw / stored if stored else 0.0,
        "clips_by_label": _count(path, attributes, "label", attributes.labels),
        "clips_by_subject": _count(path, attributes, "subject", attributes.subjects),
        "clips_by_split": _count_sides(path, attributes),
        "rejects": [reject.record() for reject in read_rejects(path)],
    }


def print_made(
    console: Console,
    facts: dict[str, Any],
    origin: Sequence[tuple[str, str]],
    check: Sequence[object],
    rate: float,
) -> None:
    """Print the summary at the end of `run` and `reblock`.

    Args:
        console: to print on.
        facts: from `describe`.
        origin: heading and text of the rows for the clips' origin.
        check: options that make `verify` compare the store with its videos.
        rate: clips made a second; 0 if none were made now.
    """
    table = _grid()
    rejects = [Reject(**record) for record in facts["rejects"]]
    left_out = sum(row.lost for row in by_reason(_selected(rejects)))
    failed = facts["clips"] - facts["valid_clips"] - left_out
    for row in origin:
        _row(table, *row)
    of_others = f", {left_out} left out" * bool(left_out) + f", {failed} failed" * bool(failed)
    _row(table, "clips", f"{facts['valid_clips']}{of_others}")
    if rate:
        _row(table, "speed", f"{rate:.1f} clips/s")
    _row(table, "store", f"{facts['store']}, {byte_count(facts['bytes'])}")
    _row(table, "raw RGB", _raw_rgb(facts))
    _row(table, "labels", _counts(facts["clips_by_label"]))
    _row(table, "subjects", _counts(facts["clips_by_subject"]))
    console.print(table)
    print_rejects(console, rejects)
    store = facts["store"]
    following = (
        f"\nLook:  {shell_command('dvdm-preprocess', 'inspect', store)}\n"
        f"Check: {shell_command('dvdm-preprocess', 'verify', store, *check)}\n"
        f"Next:  {shell_command('dvdm-train', 'vae', '--store', store)}"
    )
    # Commands will be copied: a line broken at the terminal's width would not run.
    console.print(Text(following), soft_wrap=True)


def print_store(console: Console, facts: dict[str, Any]) -> None:
    """Print the facts of `describe`, for `inspect`."""
    table = _grid()
    state = "sealed" if facts["sealed"] else "NOT sealed: run the same command again"
    progress = f"{facts['partitions_done']} of {facts['partitions']} partitions"
    _row(table, "store", f"{facts['store']}, {byte_count(facts['bytes'])}, {state}, {progress}")
    _row(table, "data set", f"{facts['dataset']}, manifest {facts['manifest_hash']}")
    _row(table, "options", ", ".join(f"{k} {v}" for k, v in facts["options"].items()))
    _row(table, "frames", f"from {facts['source']}, {facts['colour']}")
    _row(table, "clips", f"{facts['valid_clips']} valid of {facts['clips']}")
    _row(table, "raw RGB", _raw_rgb(facts))
    splits = [
        _protocol(name, protocol, facts["clips_by_split"].get(name, {}))
        for name, protocol in facts["splits"].items()
    ]
    _row(table, "splits", "\n".join(splits) or "none")
    console.print(table)
    console.print(_array_table(facts["arrays"]))
    for kind in ("label", "subject"):
        if facts[f"clips_by_{kind}"]:
            console.print(_count_table(kind, facts[f"clips_by_{kind}"]))
    print_rejects(console, [Reject(**record) for record in facts["rejects"]])


def print_rejects(console: Console, rejects: Sequence[Reject]) -> None:
    """Print rejects by reason, with a few names each; then clips that the options leave out."""
    selected = _selected(rejects)
    others = [reject for reject in rejects if reject.stage != "select"]
    if others:
        files = "1 file" if len(others) == 1 else f"{len(others)} files"
        table = Table(title=f"{files} rejected or cut short", title_justify="left")
        for column in ("files", "clips kept", "usable frames", "reason", "for example"):
            table.add_column(column, overflow="fold")
        for row in by_reason(others):
            # Text, because names may hold what rich would take for markup.
            reason, names = Text(escaped(row.reason)), Text(escaped(row.examples))
            table.add_row(str(row.files), row.kept, str(row.usable_frames or ""), reason, names)
        console.print(table)
    if selected:
        table = Table(title="Clips left out, as the options ask for it", title_justify="left")
        for column in ("clips", "of files", "reason", "for example"):
            table.add_column(column, overflow="fold")
        for row in by_reason(selected):
            reason, names = Text(escaped(row.reason)), Text(escaped(row.examples))
            table.add_row(str(row.lost), str(row.files), reason, names)
        console.print(table)


def _selected(rejects: Sequence[Reject]) -> list[Reject]:
    """Records of clips that the options leave out."""
    return [reject for reject in rejects if reject.stage == "select"]


def by_reason(rejects: Sequence[Reject]) -> list[Rejected]:
    """Group rejects by reason, whatever its numbers, the most frequent first."""
    groups: dict[tuple[str, ...], list[Reject]] = {}
    for reject in rejects:
        groups.setdefault(tuple(_NUMBER.split(reject.reason)), []).append(reject)
    rows = [_rejected(group) for group in groups.values()]
    return sorted(rows, key=lambda row: (-row.files, row.reason))


def _rejected(group: list[Reject]) -> Rejected:
    words = _NUMBER.split(group[0].reason)
    numbers = zip(*(_NUMBER.findall(reject.reason) for reject in group), strict=True)
    shown = [same[0] if len(set(same)) == 1 else "…" for same in numbers]
    reason = "".join(chain.from_iterable(zip_longest(words, shown, fillvalue="")))
    names = ", ".join(repr(reject.file) for reject in group[:_EXAMPLES])
    planned = sum(reject.clips_planned for reject in group)
    made = sum(reject.clips_made for reject in group)
    return Rejected(
        reason,
        tuple(group),
        planned - made,
        f"{made} of {planned}" if planned else "0",
        sum(reject.frames_recovered for reject in group),
        names + (", …" if len(group) > _EXAMPLES else ""),
    )


def _bytes_by_array(path: Location) -> dict[str, int]:
    """Bytes on disk of each array, and of all other files."""
    found = {spec.name: 0 for spec in ARRAYS} | {OTHER_FILES: 0}
    for name, size in sizes(path).items():
        top = name.partition("/")[0]
        found[top if top in found else OTHER_FILES] += size
    return found


def _count(
    path: Location, attributes: StoreAttributes, column: str, names: tuple[str, ...]
) -> dict[str, int]:
    """Count valid clips by label or subject, in the store's order; empty for an unsealed store."""
    if not attributes.sealed or not names:
        return {}
    indices = Store(path).column(column)
    counts = {name: int(np.count_nonzero(indices == i)) for i, name in enumerate(names)}
    none = int(np.count_nonzero(indices < 0))
    return {**counts, "(none)": none} if none else counts


def _count_sides(path: Location, attributes: StoreAttributes) -> dict[str, dict[str, int]]:
    """Count valid clips by split protocol and side; empty for an unsealed store."""
    if not attributes.sealed:
        return {}
    column = Store(path).column("split")
    return {
        name: {
            side: int(np.count_nonzero(column[:, i] == value))
            for side, value in (("train", TRAIN), ("test", TEST), ("neither", NEITHER))
        }
        for i, name in enumerate(attributes.splits)
    }


def _protocol(name: str, made: dict[str, Any], clips: dict[str, int]) -> str:
    """Describe a split in one line: clips on each side, and its definition."""
    sides = ", ".join(f"{count} {side}" for side, count in clips.items() if count)
    definition = ", ".join(f"{key} {value}" for key, value in made.items())
    return f"{name}: {sides or 'unknown until the store is sealed'} ({definition})"


def _raw_rgb(facts: dict[str, Any]) -> str:
    return f"{byte_count(facts['raw_rgb_bytes'])}, {facts['compression']:.2f} × the store"


def _counts(counts: dict[str, int]) -> str:
    if not counts:
        return "none"
    present = Counter({name: count for name, count in counts.items() if count})
    shown = ", ".join(f"{name} {count}" for name, count in present.most_common(4))
    return f"{len(present)}: {shown}" + (", …" if len(present) > 4 else "")


def _array_table(arrays: dict[str, Any]) -> Table:
    table = Table()
    for column in ("array", "type", "shape", "axes", "units", "meaning"):
        table.add_column(column, overflow="fold")
    for name, array in arrays.items():
        shape = " × ".join(map(str, array["shape"]))
        axes = ", ".join(array["axes"])
        table.add_row(name, array["dtype"], shape, axes, array["units"], array["meaning"])
    return table


def _count_table(kind: str, counts: dict[str, int]) -> Table:
    table = Table(kind, "clips")
    for name, count in counts.items():
        table.add_row(Text(escaped(name)), str(count))
    return table


def _grid() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    return table


def _row(table: Table, name: str, value: str) -> None:
    table.add_row(name, Text(escaped(value)))
