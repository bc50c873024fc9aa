"""The inner loops of the scores, compiled: one walk down a ranking per label and resample.

Rankings are (label, record), best score first. `ends` marks the last place of each run of tied scores;
`weights` (resample, record) says how often a resample drew each record. Counts stay whole numbers until
the last division, so that repeating a record and weighting it give the same float.
"""

import numpy as np
from numba import njit

AUROC, AUPRC, F1 = range(3)


@njit(nogil=True, cache=True)
def area_under_roc(hits: np.ndarray, alarms: np.ndarray, ties: int) -> float:
    """Count the pairs ranked rightly; a tied pair counts half."""
    twice = 0
    hit = alarm = 0
    for tie in range(ties):
        twice += (alarms[tie] - alarm) * (hit + hits[tie])
        hit, alarm = hits[tie], alarms[tie]
    return twice / (2.0 * hit * alarm)


@njit(nogil=True, cache=True)
def average_precision(hits: np.ndarray, alarms: np.ndarray, ties: int) -> float:
    """Sum the precision at each tie times the recall it adds."""
    area = 0.0
    hit = 0
    for tie in range(ties):
        if hits[tie] > hit:
            area += (hits[tie] - hit) * (hits[tie] / (hits[tie] + alarms[tie]))
            hit = hits[tie]
    return area / hit


@njit(nogil=True, cache=True)
def best_f1(hits: np.ndarray, alarms: np.ndarray, ties: int) -> float:
    """Try every distinct threshold."""
    best = 0.0
    positives = hits[ties - 1]
    for tie in range(ties):
        best = max(best, 2.0 * hits[tie] / (positives + hits[tie] + alarms[tie]))
    return best


@njit(nogil=True, cache=True)
def rank_walk(
    what: int,
    order: np.ndarray,
    ends: np.ndarray,
    positive: np.ndarray,
    negative: np.ndarray,
    weights: np.ndarray,
    out: np.ndarray,
) -> None:
    """Fill out (label, resample) with the score `what`; NaN where positives or negatives are missing."""
    labels, records = order.shape
    hits, alarms = np.empty(records, np.int64), np.empty(records, np.int64)
    for label in range(labels):
        for resample in range(len(weights)):
            hit = alarm = ties = 0
            for place in range(records):
                weight = np.int64(weights[resample, order[label, place]])
                hit += weight * positive[label, place]
                alarm += weight * negative[label, place]
                hits[ties], alarms[ties] = hit, alarm
                ties += ends[label, place]
            if hit == 0 or alarm == 0:
                out[label, resample] = np.nan
            elif what == AUROC:
                out[label, resample] = area_under_roc(hits, alarms, ties)
            elif what == AUPRC:
                out[label, resample] = average_precision(hits, alarms, ties)
            else:
                out[label, resample] = best_f1(hits, alarms, ties)


@njit(nogil=True, cache=True)
def gap_walk(
    bins: int,
    order: np.ndarray,
    ends: np.ndarray,
    known: np.ndarray,
    gap: np.ndarray,
    weights: np.ndarray,
    out: np.ndarray,
) -> None:
    """Fill out (label, resample) with the mean absolute gap of equal-mass bins.

    A run of ties goes whole into the bin of its middle rank; gap (label, record) is score minus truth.
    """
    labels, records = order.shape
    for label in range(labels):
        for resample in range(len(weights)):
            total = np.int64(0)
            for place in range(records):
                total += weights[resample, order[label, place]] * known[label, place]
            before = tied = np.int64(0)
            tied_gap = bin_gap = error = 0.0
            bin_now = np.int64(-1)
            for place in range(records):
                weight = np.int64(weights[resample, order[label, place]]) * known[label, place]
                tied += weight
                tied_gap += weight * gap[label, place]
                if ends[label, place] and tied > 0:
                    bin_here = bins * (2 * before + tied) // (2 * total)
                    if bin_here != bin_now:
                        error += abs(bin_gap)
                        bin_gap, bin_now = 0.0, bin_here
                    bin_gap += tied_gap
                    before += tied
                    tied, tied_gap = np.int64(0), 0.0
            out[label, resample] = (error + abs(bin_gap)) / total if total else np.nan


@njit(nogil=True, cache=True)
def sample_steps(record: np.ndarray, positive: np.ndarray, truths: np.ndarray, steps: np.ndarray) -> None:
    """Fill steps (entry, 3): what each further prediction, best score first, adds for its record.

    The three are records with a prediction, precision and recall.
    """
    predicted, hits = np.zeros(len(truths)), np.zeros(len(truths))
    for entry in range(len(record)):
        here = record[entry]
        first = predicted[here] == 0
        before = 0.0 if first else hits[here] / predicted[here]
        predicted[here] += 1
        hits[here] += positive[entry]
        steps[entry, 0] = first
        steps[entry, 1] = hits[here] / predicted[here] - before
        steps[entry, 2] = positive[entry] / truths[here] if truths[here] else 0.0


@njit(nogil=True, cache=True)
def sample_walk(
    record: np.ndarray,
    truths: np.ndarray,
    steps: np.ndarray,
    stops: np.ndarray,
    weights: np.ndarray,
    out: np.ndarray,
) -> None:
    """Fill out (resample,) with the best F over the stops: counts of entries at or above a threshold."""
    for resample in range(len(weights)):
        labelled = 0.0
        for here in range(len(truths)):
            labelled += weights[resample, here] * (truths[here] > 0)
        covered = precision = recall = best = 0.0
        entry = 0
        for stop in stops:
            while entry < stop:
                weight = float(weights[resample, record[entry]])
                covered += weight * steps[entry, 0]
                precision += weight * steps[entry, 1]
                recall += weight * steps[entry, 2]
                entry += 1
            below = precision * labelled + recall * covered
            if below > 0:
                best = max(best, 2 * precision * recall / below)
        out[resample] = best if labelled else np.nan
