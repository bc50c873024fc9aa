"""Dynamic time warping between whole ECGs: all leads bend time together, within a band.

Sakoe & Chiba 1978, doi:10.1109/TASSP.1978.1163055; for several leads the dependent form, in which one path
serves all of them (Shokoohi-Yekta et al. 2017, doi:10.1007/s10618-016-0455-0).

Compiled for the CPU: one ECG meets sixteen at a time, side by side in the lanes of a vector register.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from jaxtyping import Float

LANES = 16  # float32 numbers in a vector of 512 bits; two vectors where they have 256

Ecgs = Float[np.ndarray, "record lead time"]


def pairwise(
    ecg: Ecgs,
    *,
    band: int | None = None,
    other: Float[np.ndarray, "another _ _"] | None = None,
    threads: int | None = None,
) -> Float[np.ndarray, "record another"]:
    """Return the distance of every ECG to every other, or to those of `other`.

    The distance is the square root of the least sum, over the steps of a warping path, of squared
    differences summed over leads: in the unit of the ECG (mV). A path may not stray from the diagonal by
    more than `band` samples; None: it may go anywhere. `threads`: None, one for each core.

    >>> step = np.array([[[0, 0, 1, 1, 1.0]], [[0, 1, 1, 1, 1.0]]], dtype=np.float32)
    >>> pairwise(step)[0, 1], pairwise(step, band=0)[0, 1]
    (np.float32(0.0), np.float32(1.0))
    """
    refuse_odd(ecg, ecg if other is None else other, band)
    time = ecg.shape[2]
    reach = time if band is None else min(band, time)
    one = np.ascontiguousarray(ecg, dtype=np.float32)
    many = side_by_side(one if other is None else np.asarray(other, dtype=np.float32))
    out = np.zeros((len(one), LANES * len(many)), np.float32)
    count = max(1, min(threads or os.cpu_count() or 1, len(one)))
    with ThreadPoolExecutor(count) as pool:  # a stride each: later rows of a triangle are shorter
        parts = [slice(first, None, count) for first in range(count)]
        rows = [np.arange(len(one))[part] for part in parts]
        list(pool.map(lambda mine: walk(one, many, mine, reach, other is None, out), rows))
    if other is not None:
        return out[:, : len(other)]
    upper = np.triu(out[:, : len(one)], 1)
    return upper + upper.T


def refuse_odd(ecg: Ecgs, other: Float[np.ndarray, "another _ _"], band: int | None) -> None:
    """Refuse ECGs that cannot be compared."""
    if ecg.ndim != 3 or other.ndim != 3 or ecg.shape[1:] != other.shape[1:] or ecg.shape[2] < 1:
        raise ValueError(
            "DTW compares ECGs (record, lead, time) of the same leads and length; "
            f"got {ecg.shape} and {other.shape}."
        )
    if band is not None and band < 0:
        raise ValueError(f"A band of DTW is a number of samples from 0, got {band}.")
    for table in (ecg, other):
        if not np.isfinite(table).all():
            row = int(np.argmin(np.isfinite(table).all((1, 2))))
            raise ValueError(f"ECG {row} of those to compare by DTW has missing samples: fill or drop them.")


def side_by_side(ecg: Ecgs) -> Float[np.ndarray, "group lead time_lane"]:
    """Put sixteen ECGs into neighbouring numbers at each moment; the last group repeats the last ECG."""
    count, leads, time = ecg.shape
    groups = -(-count // LANES)
    full = np.concatenate([ecg, np.repeat(ecg[-1:], groups * LANES - count, axis=0)])
    lanes = full.reshape(groups, LANES, leads, time).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(lanes, dtype=np.float32).reshape(groups, leads, time * LANES)


@numba.njit(nogil=True, cache=True)
def walk(ecg, groups, rows, band, upper, out):  # type: ignore[no-untyped-def]
    """Compare some ECGs with all groups, or with those that reach above the diagonal."""
    width = min(2 * band + 1, ecg.shape[2]) * LANES
    cost, step = np.empty(width, np.float32), np.empty(width, np.float32)
    best = np.empty((ecg.shape[2] + 1) * LANES, np.float32)
    for i in rows:
        for g in range(i // LANES if upper else 0, len(groups)):
            warp(ecg[i], groups[g], band, cost, step, best)
            out[i, g * LANES : (g + 1) * LANES] = np.sqrt(best[-LANES:])


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def warp(one, many, band, cost, step, best):  # type: ignore[no-untyped-def]
    """Leave in the last lanes of `best` the least sums of squares between one ECG and sixteen.

    `best` holds for each sample of the sixteen the least sum of a path that ends there and at sample i of
    the one, behind a border of infinity. The loops run over samples and lanes alike, in one long line.
    """
    time = one.shape[1]
    best[:] = np.inf
    best[:LANES] = 0.0
    for i in range(time):
        low, high = max(0, i - band), min(time, i + band + 1)
        first, size = low * LANES, (high - low) * LANES
        costs(one, many, i, first, first + size, cost)
        for k in range(size):
            up, diagonal = best[first + LANES + k], best[first + k]
            step[k] = up if up < diagonal else diagonal
        best[:LANES] = np.inf
        best[first : first + LANES] = np.inf
        for k in range(size):
            left = best[first + k]
            best[first + LANES + k] = cost[k] + (left if left < step[k] else step[k])


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def costs(one, many, i, first, last, cost):  # type: ignore[no-untyped-def]
    """Sum the squared differences over leads between sample i of one ECG and a stretch of sixteen."""
    leads, size = len(one), last - first
    cost[:size] = 0.0
    for lead in range(0, leads - leads % 4, 4):  # four leads for each time that a cost is read and written
        a, b, c, d = one[lead, i], one[lead + 1, i], one[lead + 2, i], one[lead + 3, i]
        x, y = many[lead, first:last], many[lead + 1, first:last]
        z, w = many[lead + 2, first:last], many[lead + 3, first:last]
        for k in range(size):
            p, q, r, s = a - x[k], b - y[k], c - z[k], d - w[k]
            cost[k] += (p * p + q * q) + (r * r + s * s)
    for lead in range(leads - leads % 4, leads):
        a, x = one[lead, i], many[lead, first:last]
        for k in range(size):
            p = a - x[k]
            cost[k] += p * p
