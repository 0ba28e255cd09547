"""The exhaustive search's kernel: elimination, and brute force where that is quicker.

Frames lie one after another in one flat array, so that a place is one number. Places before a row
or behind it may be read, as whole vectors are; what lies there is never chosen.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from preprocess.motion.expected import expect_row
from preprocess.motion.kernels.brute_force import search_group
from preprocess.motion.kernels.candidate_key import JIT, KERNEL_SOURCE_HASH, store
from preprocess.motion.kernels.elimination import (
    DENSE,
    TO_SEARCH,
    TO_SEARCH_SURELY,
    quarter_sums,
    search_row,
)
from preprocess.motion.kernels.vectors import COLUMNS, LANES, WIDE

SLACK = 256
"""Zeros before and behind the luma: more than a vector and a row of WIDE bytes reach."""

_UNKNOWN = np.iinfo(np.int64).max


@njit(cache=True, **JIT)
def search_clip(  # type: ignore[no-untyped-def]
    luma, size, first, brute_force, penalty, rates, motion, sources=KERNEL_SOURCE_HASH
):
    """Search all blocks of all frames; see `preprocess.motion.exhaustive`.

    Args:
        luma: uint8, T planes of H x W between SLACK zeros, flat.
        size: a `Size`.
        first: whether vectors point into frame 0 rather than into the frame before.
        brute_force: whether nothing is to be left out; the result is the same.
        penalty: int32, see `preprocess.motion.penalty`, flat.
        rates: uint16, penalties of a whole block's vectors other than zero in units of the
            bound, rounded down; flat, with a span more behind.
        motion: receives the vectors, int8, shape (T-1, 2, ceil(H/b), ceil(W/b)).
        sources: not to be given.
    """
    height, width, block = size.height, size.width, size.block
    plane = height * width
    # Quarter sums of two frames: the current one, and the one that vectors point into.
    sums_plane = plane + SLACK
    sums = np.zeros(2 * sums_plane, np.int16)
    columns = np.zeros(2 * (width + 4 * COLUMNS), np.int16)
    own = np.zeros(block * block, np.uint8)
    mask = np.zeros(WIDE, np.uint8)
    lanes = np.zeros((5, LANES), np.int64)
    grid_width, in_group = motion.shape[3], WIDE // block
    keys = np.zeros(grid_width, np.int64)
    states = np.zeros(grid_width, np.int64)
    expected = np.zeros((2, grid_width), np.int64)
    eliminates = not brute_force and height >= block and width >= block
    if eliminates:
        quarter_sums(size, luma, SLACK, columns, sums, 0)
    for n in range(1, motion.shape[0] + 1):
        here, there = SLACK + n * plane, SLACK + (0 if first else (n - 1) * plane)
        ours = sums_plane * (1 if first else n % 2)
        theirs = sums_plane * (0 if first else (n - 1) % 2)
        if eliminates:
            quarter_sums(size, luma, here, columns, sums, ours)
        for row in range(motion.shape[2]):
            whole = width // block if eliminates and (row + 1) * block <= height else 0
            for column in range(grid_width):
                states[column] = TO_SEARCH if column < whole else DENSE
                keys[column] = _UNKNOWN
            expect_row(size, motion, n, row, expected)
            for state in (TO_SEARCH, TO_SEARCH_SURELY):
                search_row(
                    size,
                    luma,
                    here,
                    there,
                    sums,
                    ours,
                    theirs,
                    rates,
                    penalty,
                    expected,
                    own,
                    motion,
                    n,
                    row,
                    keys,
                    states,
                    state,
                )
                for start in range(0, whole, in_group):
                    stop = min(start + in_group, whole)
                    dense = 0
                    for column in range(start, stop):
                        dense += states[column] == DENSE
                    # One dense block among many is not worth a group's brute force.
                    if 2 * dense <= in_group:
                        for column in range(start, stop):
                            if states[column] == DENSE:
                                states[column] = TO_SEARCH_SURELY
            for start in range(0, grid_width, in_group):
                stop = min(start + in_group, grid_width)
                dense = 0
                for column in range(start, stop):
                    dense += states[column] == DENSE
                if dense:
                    search_group(
                        size,
                        luma,
                        here,
                        there,
                        penalty,
                        expected,
                        mask,
                        lanes,
                        row,
                        keys,
                        states,
                        DENSE,
                        start,
                        stop,
                    )
                    for column in range(start, stop):
                        store(size, keys[column], motion, n, row, column)
