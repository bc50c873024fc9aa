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
    one = in_fours(ecg)
    many = side_by_side(one if other is None else in_fours(other))
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


def in_fours(ecg: Ecgs) -> Float[np.ndarray, "record four time"]:
    """Add leads of zeros until their number is a multiple of four: they are compared four at a time."""
    padding = ((0, 0), (0, -ecg.shape[1] % 4), (0, 0))
    return np.ascontiguousarray(np.pad(ecg, padding) if padding[1][1] else ecg, dtype=np.float32)


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
    """Leave in the last lanes of `best` the least sums of squares between one ECG and sixteen."""
    best[:] = np.inf
    best[:LANES] = 0.0
    for i in range(one.shape[1]):
        advance(one, many, i, band, cost, step, best)


@numba.njit(nogil=True, cache=True, fastmath={"contract"}, inline="always")
def advance(one, many, i, band, cost, step, best):  # type: ignore[no-untyped-def]
    """Bring `best` from sample i - 1 of the one ECG to sample i.

    `best` holds for each sample of the sixteen the least sum of a path that ends there and at sample i of
    the one, behind a border of infinity. The loops run over samples and lanes alike, in one long line;
    what the last four leads add is summed on the way. Inlined: a call costs as much as a narrow row.
    """
    low, high = max(0, i - band), min(one.shape[1], i + band + 1)
    first, last, lead = low * LANES, high * LANES, len(one) - 4
    if lead > 0:
        costs(one, many, i, first, last, cost)
    here = best[first : last + LANES]
    for k in range(last - first):
        up, diagonal = here[LANES + k], here[k]
        step[k] = up if up < diagonal else diagonal
    best[:LANES] = np.inf
    here[:LANES] = np.inf
    a, b, c, d = one[lead, i], one[lead + 1, i], one[lead + 2, i], one[lead + 3, i]
    x, y = many[lead, first:last], many[lead + 1, first:last]
    z, w = many[lead + 2, first:last], many[lead + 3, first:last]
    if lead > 0:
        for k in range(last - first):
            p, q, r, s = a - x[k], b - y[k], c - z[k], d - w[k]
            paid = cost[k] + ((p * p + q * q) + (r * r + s * s))
            here[LANES + k] = paid + (here[k] if here[k] < step[k] else step[k])
    else:
        for k in range(last - first):
            p, q, r, s = a - x[k], b - y[k], c - z[k], d - w[k]
            paid = (p * p + q * q) + (r * r + s * s)
            here[LANES + k] = paid + (here[k] if here[k] < step[k] else step[k])


@numba.njit(nogil=True, cache=True, fastmath={"contract"}, inline="always")
def costs(one, many, i, first, last, cost):  # type: ignore[no-untyped-def]
    """Sum squared differences of all but the last four leads: a sample of one ECG, a stretch of sixteen."""
    for lead in range(0, len(one) - 4, 4):  # four leads for each time that a cost is read and written
        a, b, c, d = one[lead, i], one[lead + 1, i], one[lead + 2, i], one[lead + 3, i]
        x, y = many[lead, first:last], many[lead + 1, first:last]
        z, w = many[lead + 2, first:last], many[lead + 3, first:last]
        if lead == 0:
            for k in range(last - first):
                p, q, r, s = a - x[k], b - y[k], c - z[k], d - w[k]
                cost[k] = (p * p + q * q) + (r * r + s * s)
        else:
            for k in range(last - first):
                p, q, r, s = a - x[k], b - y[k], c - z[k], d - w[k]
                cost[k] += (p * p + q * q) + (r * r + s * s)


@numba.njit(nogil=True, cache=True, inline="always")
def gather(ecg, chosen, first, last, out):  # type: ignore[no-untyped-def]
    """Put some samples of up to sixteen ECGs side by side; the last ECG fills what lanes are left."""
    _, leads, time = ecg.shape
    flat, starts = ecg.reshape(-1), np.empty(LANES, np.int64)
    for lead in range(leads):
        for lane in range(LANES):
            starts[lane] = (chosen[min(lane, len(chosen) - 1)] * leads + lead) * time + first
        line = out[lead, first * LANES : last * LANES]
        for t in range(last - first):
            for lane in range(LANES):
                line[t * LANES + lane] = flat[starts[lane] + t]
