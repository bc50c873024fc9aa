"""Lower bounds of dynamic time warping: fewer leads, and envelopes.

The leads of an ECG move nearly together (two of the six limb leads tell the other four), so a rotation of
lead space, which changes no distance, brings most of a difference into four directions. Warping these alone
costs a third and is a lower bound. What any path must at least pay, before any warping: LB_Keogh with one
envelope for each direction (Keogh & Ratanamahatana 2005, doi:10.1007/s10115-004-0154-9).
"""

from typing import NamedTuple

import numba
import numpy as np
from jaxtyping import Float

HALF = 4  # directions of lead space that are warped; as many more only bound
STEP = 16  # samples between two looks at what is left to pay

Ecgs = Float[np.ndarray, "record lead time"]
Turn = Float[np.ndarray, "direction lead"]
Tiles = Float[np.ndarray, "record segment tile"]
Rest = Float[np.ndarray, "record sample"]


class Box(NamedTuple):
    """Samples of ECGs, or the least or most within the band around each, in an order that is quick to sum."""

    tiles: Tiles  # the first four directions, cut into segments of time
    rest: Rest  # the other four


class Turned(NamedTuple):
    """ECGs in eight directions of lead space, most of their differences in the first."""

    first: Float[np.ndarray, "record direction time"]  # four
    second: Float[np.ndarray, "record direction time"]  # four more
    at: Box
    low: Box
    high: Box


def rotation(ecg: Ecgs) -> Turn:
    """Find the orthonormal directions of lead space in which the ECGs differ most, that first."""
    leads = ecg.shape[1]
    apart = (ecg - ecg.mean(0)).transpose(1, 0, 2).reshape(leads, -1).astype(np.float64)
    _, columns = np.linalg.eigh(apart @ apart.T)
    turn = np.zeros((2 * HALF, leads), np.float32)
    turn[:leads] = columns.T[::-1][: 2 * HALF]
    return turn


def turned(ecg: Ecgs, turn: Turn, band: int) -> Turned:
    """Rotate ECGs and find their envelopes."""
    from scipy.ndimage import maximum_filter1d, minimum_filter1d  # half a second to load

    # One product for each ECG, so that equal ECGs stay equal to the last bit.
    space = (
        np.stack([turn @ one for one in ecg])
        if len(ecg)
        else np.zeros((0, 2 * HALF, ecg.shape[2]), np.float32)
    )
    width = 2 * band + 1
    low = minimum_filter1d(space, width, axis=2, mode="nearest")
    high = maximum_filter1d(space, width, axis=2, mode="nearest")
    first, second = np.ascontiguousarray(space[:, :HALF]), np.ascontiguousarray(space[:, HALF:])
    return Turned(first, second, box(space), box(low), box(high))


def box(table: Float[np.ndarray, "record direction time"]) -> Box:
    """Put the samples of a segment and of four directions next to each other; behind the end all is 0."""
    count, _, time = table.shape
    segments = -(-time // STEP)
    first = np.zeros((count, HALF, segments * STEP), np.float32)
    first[:, :, :time] = table[:, :HALF]
    cut = first.reshape(count, HALF, segments, STEP).transpose(0, 2, 1, 3)
    rest = np.ascontiguousarray(table[:, HALF:], dtype=np.float32).reshape(count, HALF * time)
    return Box(np.ascontiguousarray(cut).reshape(count, segments, HALF * STEP), rest)


@numba.njit(nogil=True, cache=True, inline="always")
def outside(one, low, high):  # type: ignore[no-untyped-def]
    """Sum the squares of how far samples lie outside an envelope."""
    total = np.float32(0.0)
    for k in range(len(one)):
        above, below = one[k] - high[k], low[k] - one[k]
        gap = above if above > below else below
        gap = gap if gap > 0 else np.float32(0.0)
        total += gap * gap
    return total


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def remainders(at, low, high, first, start, left):  # type: ignore[no-untyped-def]
    """Fill `left` (one, other, segment + 1) with what paths must still pay, at least, from each segment on.

    The first four directions from the segment to the end, and the others over the whole path: what is
    added to a sum over the first four. For a few ECGs from `first` on, with others from `start` on: each
    of these comes from memory once.
    """
    segments = at.tiles.shape[1]
    for j in range(start, left.shape[1]):
        for i in range(len(left)):
            total = outside(at.rest[first + i], low.rest[j], high.rest[j])
            left[i, j, segments] = total
            for segment in range(segments - 1, -1, -1):
                total += outside(at.tiles[first + i, segment], low.tiles[j, segment], high.tiles[j, segment])
                left[i, j, segment] = total
