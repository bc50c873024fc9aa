"""The inner loops of neighbours, compiled: walks down rankings, one run of ties after the other.

`far` is (query, gallery): distances; what is infinitely far takes no part. `order` ranks the gallery,
nearest first. A run of ties counts as if shuffled: each score is its mean over all orders of the run.
`tied` (query,) and `shelf_tied` (gallery,) say by how much distances differ that are ties.
"""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def run_end(
    far: np.ndarray, order: np.ndarray, start: int, stop: int, tied: float, shelf_tied: np.ndarray
) -> int:
    """Return where the run of ties that begins at `start` ends."""
    end = start + 1
    while end < stop:
        one, other = order[end - 1], order[end]
        if far[other] - far[one] > max(tied, shelf_tied[one], shelf_tied[other]):
            break
        end += 1
    return end


@njit(nogil=True, cache=True)
def first_hit(wanted: int, size: int, drawn: int) -> float:
    """Return the chance that `drawn` of `size` records, `wanted` of them relevant, hold a relevant one."""
    missed = 1.0
    for place in range(min(drawn, size)):
        missed *= (size - wanted - place) / (size - place)
        if missed <= 0.0:
            return 1.0
    return 1.0 - missed


@njit(nogil=True, cache=True)
def precision_gained(wanted: int, start: int, end: int, hits: int, relevant: int) -> float:
    """Sum precision over the relevant places of one run, up to place `relevant`, in expectation."""
    size, gained = end - start, 0.0
    others = (wanted - 1) / (size - 1) if size > 1 else 0.0  # chance that another of the run is relevant
    for place in range(1, size + 1):
        if start + place > relevant:
            break
        gained += (hits + 1 + (place - 1) * others) / (start + place)
    return gained * wanted / size


@njit(nogil=True, cache=True)
def find_walk(
    far: np.ndarray,
    order: np.ndarray,
    relevant: np.ndarray,
    tied: np.ndarray,
    shelf_tied: np.ndarray,
    ks: np.ndarray,
    found: np.ndarray,
) -> None:
    """Fill found (query, k + 2): recall at each k, MAP@R and R-precision; NaN with nothing to find."""
    for query in range(len(far)):
        stop = total = 0
        for place in range(far.shape[1]):
            stop += far[query, place] < np.inf
            total += relevant[query, place] and far[query, place] < np.inf
        found[query] = 0.0 if total else np.nan
        start = hits = 0
        while start < stop and start < max(total, ks.max()) and total:
            end = run_end(far[query], order[query], start, stop, tied[query], shelf_tied)
            wanted = 0
            for place in range(start, end):
                wanted += relevant[query, order[query, place]]
            if wanted and not hits:
                for which in range(len(ks)):
                    found[query, which] = first_hit(wanted, end - start, max(ks[which] - start, 0))
            if wanted and start < total:
                inside = min(end, total) - start
                found[query, -2] += precision_gained(wanted, start, end, hits, total) / total
                found[query, -1] += wanted * inside / (end - start) / total
            hits += wanted
            start = end


@njit(nogil=True, cache=True)
def count_run(truth: np.ndarray, run: np.ndarray, weight: float, ballots: np.ndarray) -> None:
    """Fill ballots (2, label): the sum of what a run of ties knows to be true, and how much it knows."""
    ballots[:] = 0.0
    for record in run:
        for label in range(truth.shape[1]):
            if not np.isnan(truth[record, label]):
                ballots[0, label] += weight * truth[record, label]
                ballots[1, label] += weight


@njit(nogil=True, cache=True)
def divide_votes(votes: np.ndarray, ballots: np.ndarray, share: float, out: np.ndarray) -> None:
    """Fill out (label,) with the mean over the votes and a share of the ballots."""
    for label in range(len(out)):
        known = votes[1, label] + share * ballots[1, label]
        out[label] = (votes[0, label] + share * ballots[0, label]) / known if known > 0.0 else np.nan


@njit(nogil=True, cache=True)
def vote_walk(
    far: np.ndarray,
    order: np.ndarray,
    truth: np.ndarray,
    tied: np.ndarray,
    shelf_tied: np.ndarray,
    power: float,
    ks: np.ndarray,
    out: np.ndarray,
) -> None:
    """Fill out (k, query, label) with the mean truth of the k nearest; NaN where none of them knows it.

    Each weighs `far` to the `power`; copies of the query, at distance 0, then outweigh all others.
    """
    votes, ballots = np.empty((2, truth.shape[1])), np.empty((2, truth.shape[1]))
    for query in range(len(far)):
        votes[:] = 0.0
        start = which = 0
        while which < len(ks):
            end = run_end(far[query], order[query], start, order.shape[1], tied[query], shelf_tied)
            nearest = far[query, order[query, start]]
            copies = power < 0.0 and nearest == 0.0
            weight = 1.0 if copies or power == 0.0 else nearest**power
            count_run(truth, order[query, start:end], weight, ballots)
            while which < len(ks) and (ks[which] <= end or copies):
                share = min(1.0, (ks[which] - start) / (end - start))
                divide_votes(votes, ballots, share, out[which, query])
                which += 1
            votes += ballots
            start = end
