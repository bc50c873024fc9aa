"""Nearest neighbours by dynamic time warping: exactly those that comparing all pairs would find."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float, Int

from einthoven.warp.bounds import HALF, rotation, turned
from einthoven.warp.kernel import LANES, Ecgs, in_fours, pairwise, refuse_odd
from einthoven.warp.search import Best, Room, Sides, seed, sweep

AT_ONCE = 8  # ECGs whose bounds are computed at once
BLOCK = 32  # ECGs whose distances without warping are computed at once
# Below these the search costs more than it saves, and all pairs are compared: on PTB-XL at 25 and 100 Hz.
WIDE = 40  # samples that a path may choose from, where ECGs meet each other and each pair is computed once
WORTH = 20_000  # the same times how many ECGs there are to choose from

Found = tuple[Int[np.ndarray, "record k"], Float[np.ndarray, "record k"]]


def neighbours(
    ecg: Ecgs,
    *,
    other: Float[np.ndarray, "another _ _"] | None = None,
    k: int = 1,
    band: int | None = None,
    threads: int | None = None,
) -> Found:
    """Return the `k` nearest of each ECG among the rest, or among `other`: their indices and distances.

    Nearest first; of two equally near, the lower index. The same as sorting the rows of `pairwise`, in
    less time where bands are wide and ECGs many: most pairs are given up early, by bounds that a nearer one
    has already beaten.
    """
    many = ecg if other is None else other
    refuse_odd(ecg, many, band)
    if not 1 <= k <= len(many) - (other is None):
        raise ValueError(f"{k} nearest neighbours were asked for among {len(many) - (other is None)} ECGs.")
    cells = ecg.shape[2] if band is None else min(2 * band + 1, ecg.shape[2])
    if cells * len(many) < WORTH or (other is None and cells < WIDE):
        return ranked(pairwise(ecg, band=band, other=other, threads=threads), k, other is None)
    return searched(prepared(ecg, other, band), k, max(1, min(threads or os.cpu_count() or 1, len(ecg))))


def ranked(apart: Float[np.ndarray, "record another"], k: int, same: bool) -> Found:
    """Sort the rows of all distances."""
    if same:
        np.fill_diagonal(apart, np.inf)
    order = np.argsort(apart, axis=1, kind="stable")[:, :k] if k > 1 else apart.argmin(1, keepdims=True)
    return order, np.take_along_axis(apart, order, 1)


def searched(sides: Sides, k: int, threads: int) -> Found:
    """Find the nearest with bounds: first a near one to beat for every ECG, then whoever beats it.

    Threads take blocks of ECGs in turn and share only how far it is worth to look.
    """
    count = len(sides.ecg)
    reach, slack = np.full(count, np.inf, np.float32), rounding(sides)
    bests = [
        Best(np.full((count, k), -1), np.full((count, k), np.inf, np.float32), reach, slack)
        for _ in range(threads)
    ]
    likely = min(len(sides.other) - sides.same, LANES * -(-k // LANES))

    def seeded(thread: int) -> None:
        lines = room(sides)
        for first in range(thread * BLOCK, count, threads * BLOCK):
            apart = unwarped(sides, first)
            seed(sides, bests[thread], lines, first, np.argpartition(apart, likely - 1, axis=1)[:, :likely])

    def swept(thread: int) -> None:
        lines = room(sides)
        for first in range(thread * BLOCK, count, threads * BLOCK):
            sweep(sides, bests[thread], lines, first, unwarped(sides, first))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(seeded, range(threads)))
        list(pool.map(swept, range(threads)))
    return merged(bests, k)


def prepared(ecg: Ecgs, other: Float[np.ndarray, "another _ _"] | None, band: int | None) -> Sides:
    """Rotate both sides into the directions in which the ECGs differ most."""
    reach = ecg.shape[2] if band is None else min(band, ecg.shape[2])
    one = in_fours(ecg)
    turn = rotation(one)
    mine = turned(one, turn, reach)
    if other is None:
        return Sides(one, one, mine, mine, reach, True)
    many = in_fours(other)
    return Sides(one, many, mine, turned(many, turn, reach), reach, False)


def rounding(sides: Sides) -> Float[np.ndarray, "2"]:
    """Return by how much a bound may lie above the distance, as it is computed in float32.

    A factor for sums along a path, and millivolts for the rotation.
    """
    _, leads, time = sides.ecg.shape
    tiny = float(np.finfo(np.float32).eps)
    most = max(float(np.abs(table).max(initial=0)) for table in (sides.ecg, sides.other))
    return np.array([1 + 4 * tiny * time, 4 * tiny * leads * most * np.sqrt(2 * time)], np.float32)


def room(sides: Sides) -> Room:
    """Set aside the lines that a thread writes over and over."""
    _, leads, time = sides.other.shape
    width = min(2 * sides.band + 1, time) * LANES
    left = np.zeros((AT_ONCE, len(sides.other), sides.turned.at.tiles.shape[1] + 1), np.float32)
    return Room(
        lines=np.empty((max(leads, HALF), time * LANES), np.float32),
        cost=np.empty(width, np.float32),
        step=np.empty(width, np.float32),
        best=np.empty((time + 1) * LANES, np.float32),
        left=left,
        none=np.zeros_like(left[0]),
    )


def unwarped(sides: Sides, first: int) -> Float[np.ndarray, "block another"]:
    """Return the squared distances of a block of ECGs in the first four directions, without warping."""
    many = sides.other_turned.first.reshape(len(sides.other), -1)
    one = sides.turned.first[first : first + BLOCK].reshape(-1, many.shape[1])
    apart: Float[np.ndarray, "block another"] = (
        np.square(one).sum(1)[:, None] + np.square(many).sum(1) - 2 * one @ many.T
    )
    if sides.same:
        rows = np.arange(len(one))
        apart[rows, first + rows] = np.inf
    return apart


def merged(bests: list[Best], k: int) -> Found:
    """Join what the threads found; nobody is found by two but the same pair."""
    index = np.concatenate([best.who for best in bests], 1)
    distance = np.concatenate([best.distance for best in bests], 1)
    order = np.lexsort((index, distance), axis=1)
    index, distance = np.take_along_axis(index, order, 1), np.take_along_axis(distance, order, 1)
    again = np.zeros(index.shape, bool)
    again[:, 1:] = (index[:, 1:] == index[:, :-1]) & (index[:, 1:] >= 0)
    distance[again] = np.inf
    first = np.argsort(distance, 1, kind="stable")[:, :k]
    return np.take_along_axis(index, first, 1), np.take_along_axis(distance, first, 1)
