"""Dynamic time warping of some pairs only: those that nobody has compared yet."""

import os
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from jaxtyping import Bool, Float, Int

from einthoven.warp.kernel import LANES, Ecgs, gather, in_fours, pairwise, refuse_odd, warp

Tasks = tuple[Int[np.ndarray, " task"], Int[np.ndarray, "task 16"]]


def fill(
    ecg: Ecgs,
    missing: Bool[np.ndarray, "record record"],
    *,
    band: int | None = None,
    threads: int | None = None,
) -> Float[np.ndarray, "record record"]:
    """Return the distances where `missing` (symmetric) says so; elsewhere may stand anything."""
    if missing.sum() * 2 > missing.size:  # most of them: without gathering it is faster
        return pairwise(ecg, band=band, threads=threads)
    refuse_odd(ecg, ecg, band)
    out = np.zeros(missing.shape, np.float32)
    row, partners = planned(missing)
    full, reach = in_fours(ecg), ecg.shape[2] if band is None else min(band, ecg.shape[2])
    count = max(1, min(threads or os.cpu_count() or 1, len(row)))
    with ThreadPoolExecutor(count) as pool:
        parts = [slice(first, None, count) for first in range(count)]
        list(pool.map(lambda part: some(full, row[part], partners[part], reach, out), parts))
    return out


def planned(missing: Bool[np.ndarray, "record record"]) -> Tasks:
    """Cover the missing pairs with comparisons of one ECG and sixteen; the ECG that lacks most goes first."""
    left = missing.copy()
    np.fill_diagonal(left, False)
    rows, partners, lacks = [], [], left.sum(1)
    while lacks.any():
        row = int(lacks.argmax())
        others = np.flatnonzero(left[row])
        lacks[others] -= 1
        lacks[row] = 0
        left[row], left[:, row] = False, False
        sixteens = np.pad(others, (0, -len(others) % LANES), "edge").reshape(-1, LANES)
        rows += [row] * len(sixteens)
        partners += [sixteens]
    return np.array(rows, np.int64), np.concatenate([np.zeros((0, LANES), np.int64), *partners])


@numba.njit(nogil=True, cache=True)
def some(ecg, row, partners, band, out):  # type: ignore[no-untyped-def]
    """Compare ECGs with sixteen others each."""
    _, leads, time = ecg.shape
    lines = np.empty((leads, time * LANES), np.float32)
    width = min(2 * band + 1, time) * LANES
    cost, step = np.empty(width, np.float32), np.empty(width, np.float32)
    best = np.empty((time + 1) * LANES, np.float32)
    for task in range(len(row)):
        gather(ecg, partners[task], 0, time, lines)
        warp(ecg[row[task]], lines, band, cost, step, best)
        for lane in range(LANES):
            i, j = row[task], partners[task, lane]
            out[i, j] = out[j, i] = np.sqrt(best[len(best) - LANES + lane])
