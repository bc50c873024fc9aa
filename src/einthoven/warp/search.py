"""The compiled search for nearest neighbours: bounds first, then few leads, then all of them."""

from typing import NamedTuple

import numba
import numpy as np

from einthoven.warp.bounds import STEP, Turned, remainders
from einthoven.warp.kernel import LANES, advance, gather

TINY = 1e-30  # where equal ECGs leave nothing to be within


class Sides(NamedTuple):
    """Who is compared with whom."""

    ecg: np.ndarray  # (record, lead, time)
    other: np.ndarray  # the same where ECGs meet each other
    turned: Turned
    other_turned: Turned
    band: int
    same: bool


class Best(NamedTuple):
    """The nearest so far: each thread has its own, but for `reach`."""

    who: np.ndarray  # (record, k), -1: none yet
    distance: np.ndarray  # (record, k), rising
    reach: np.ndarray  # (record,) no pair above this squared distance can change the answer
    slack: np.ndarray  # (factor, addend): what rounding may do to a bound, as a distance


class Room(NamedTuple):
    """Lines that a thread writes over and over."""

    lines: np.ndarray  # (lead, time x 16)
    cost: np.ndarray
    step: np.ndarray
    best: np.ndarray
    left: np.ndarray  # (8, other, segment + 1)
    none: np.ndarray  # (other, segment + 1), zero


@numba.njit(nogil=True, cache=True)
def keep(best, i, j, distance):  # type: ignore[no-untyped-def]
    """Put j among the nearest of i; of two equally near, the lower index goes first."""
    who, near = best.who[i], best.distance[i]
    for place in range(len(who)):
        if who[place] == j:
            return
    place = len(who)
    while place > 0 and (
        who[place - 1] < 0
        or distance < near[place - 1]
        or (distance == near[place - 1] and j < who[place - 1])
    ):
        place -= 1
    if place == len(who):
        return
    for k in range(len(who) - 1, place, -1):
        who[k], near[k] = who[k - 1], near[k - 1]
    who[place], near[place] = j, distance
    if who[-1] >= 0:
        within = near[-1] * best.slack[0] + best.slack[1]
        best.reach[i] = min(best.reach[i], within * within)


@numba.njit(nogil=True, cache=True, inline="always")
def least(line, size, fold):  # type: ignore[no-untyped-def]
    """Leave in the first lanes of `fold` the least of each lane over a line."""
    cells = size // LANES
    fold[:size] = line[:size]
    while cells > 1:
        half = (cells + 1) // 2
        for k in range((cells - half) * LANES):
            other = fold[half * LANES + k]
            fold[k] = other if other < fold[k] else fold[k]
        cells = half


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def warp_within(one, many, chosen, band, limits, left, room):  # type: ignore[no-untyped-def]
    """Warp one ECG with up to sixteen until each is sure to end above its limit; say if the end was reached.

    `left` (other, segment + 1) is added to the sums before they are compared with their limits.
    """
    time, best, ready = one.shape[1], room.best, 0
    lines = room.lines[: len(one)]
    best[:] = np.inf
    best[:LANES] = 0.0
    for i in range(time):
        if i % STEP == 0:
            reach = min(time, i + STEP + band)
            gather(many, chosen, ready, reach, lines)
            ready = reach
        advance(one, lines, i, band, room.cost, room.step, best)
        if i % STEP == STEP - 1:
            low, high = max(0, i - band), min(time, i + band + 1)
            least(best[(low + 1) * LANES :], (high - low) * LANES, room.step)
            hopeless = True
            for lane in range(len(chosen)):
                if room.step[lane] + left[chosen[lane], i // STEP + 1] <= limits[lane]:
                    hopeless = False
            if hopeless:
                return False
    return True


@numba.njit(nogil=True, cache=True, inline="always")
def limit(sides, best, i, j):  # type: ignore[no-untyped-def]
    """Return the squared distance above which a pair is of no interest to either."""
    return max(best.reach[i], best.reach[j]) if sides.same else best.reach[i]


@numba.njit(nogil=True, cache=True)
def exact(sides, best, room, i, chosen):  # type: ignore[no-untyped-def]
    """Compare one ECG with up to sixteen in all leads, and remember the nearest of each."""
    limits = np.empty(LANES, np.float32)
    for lane in range(len(chosen)):
        limits[lane] = limit(sides, best, i, chosen[lane])
    if warp_within(sides.ecg[i], sides.other, chosen, sides.band, limits, room.none, room):
        for lane in range(len(chosen)):
            distance = np.sqrt(room.best[len(room.best) - LANES + lane])
            keep(best, i, chosen[lane], distance)
            if sides.same:
                keep(best, chosen[lane], i, distance)


@numba.njit(nogil=True, cache=True)
def seed(sides, best, room, first, likely):  # type: ignore[no-untyped-def]
    """Give ECGs from `first` on a near one to beat, from those that lie near without warping."""
    for row in range(len(likely)):
        for start in range(0, likely.shape[1], LANES):
            exact(sides, best, room, first + row, likely[row, start : start + LANES])


@numba.njit(nogil=True, cache=True)
def candidates(sides, best, left, i, apart):  # type: ignore[no-untyped-def]
    """Return those that no envelope rules out, the likely ones first.

    A distance lies between its bound and what it is without warping: their product tells the order.
    """
    start, total = i + 1 if sides.same else 0, len(sides.other)
    found, odds = np.empty(total - start, np.int64), np.empty(total - start, np.float32)
    count = 0
    for j in range(start, total):
        bound, within = left[j, 0], limit(sides, best, i, j)
        if bound <= within:
            found[count] = j
            odds[count] = bound * max(apart[j], 0.0) / max(within * within, TINY)
            count += 1
    return found[:count][np.argsort(odds[:count])]


@numba.njit(nogil=True, cache=True)
def narrowed(one, many, left, within, waiting):  # type: ignore[no-untyped-def]
    """Compare in four directions; return who may still be near.

    For those, what is `left` to pay in other directions becomes what was paid in these.
    """
    sides, best, room, i = within
    limits = np.empty(LANES, np.float32)
    for lane in range(len(waiting)):
        limits[lane] = limit(sides, best, i, waiting[lane])
    count = 0
    if warp_within(one, many, waiting, sides.band, limits, left, room):
        for lane in range(len(waiting)):
            j = waiting[lane]
            paid = room.best[len(room.best) - LANES + lane]
            if paid + left[j, -1] <= limits[lane]:
                left[j, :] = paid
                waiting[count] = j
                count += 1
    return count


@numba.njit(nogil=True, cache=True)
def sweep(sides, best, room, first, apart):  # type: ignore[no-untyped-def]
    """Find the nearest of ECGs from `first` on; where ECGs meet each other, each pair is looked at once."""
    for start in range(first, first + len(apart), len(room.left)):
        left = room.left[: first + len(apart) - start]
        low, high = sides.other_turned.low, sides.other_turned.high
        remainders(sides.turned.at, low, high, start, start + 1 if sides.same else 0, left)
        for row in range(len(left)):
            search(sides, best, room, left[row], start + row, apart[start + row - first])


@numba.njit(nogil=True, cache=True)
def search(sides, best, room, left, i, apart):  # type: ignore[no-untyped-def]
    """Find the nearest of one ECG: sixteen at a time in four directions, in four more, and in all leads."""
    mine, many, within = sides.turned, sides.other_turned, (sides, best, room, i)
    waiting, waits = np.empty((3, 4 * LANES), np.int64), np.zeros(3, np.int64)
    order = candidates(sides, best, left, i, apart)
    for place in range(len(order) + 1):
        over = place == len(order)
        if not over and left[order[place], 0] <= limit(sides, best, i, order[place]):
            waiting[0, waits[0]] = order[place]
            waits[0] += 1
        for stage in range(3):
            while waits[stage] >= LANES or (over and waits[stage]):
                count = min(LANES, waits[stage])
                taken = waiting[stage, :count].copy()
                waiting[stage, : waits[stage] - count] = waiting[stage, count : waits[stage]].copy()
                waits[stage] -= count
                if stage == 0:
                    kept = narrowed(mine.first[i], many.first, left, within, taken)
                elif stage == 1:
                    kept = narrowed(mine.second[i], many.second, left, within, taken)
                else:
                    exact(sides, best, room, i, taken)
                    continue
                waiting[stage + 1, waits[stage + 1] : waits[stage + 1] + kept] = taken[:kept]
                waits[stage + 1] += kept
