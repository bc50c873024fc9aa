"""Scores of multi-label predictions; truth is 0, 1 or NaN (unknown: left out for that label).

One rule for every score per label: it is NaN unless the label has a positive and a negative among its
known records. Each score is a `Metric`: `auroc(truth, score)`, `f1(truth, score, thresholds=t)`.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from einthoven.cores import shared
from einthoven.evaluate.metric import Draws, Matrix, Metric, macro, macro_of, ratio, totals

PerLabel = Float[np.ndarray, "resample label"]


def values(truth: Matrix) -> tuple[Bool[np.ndarray, "record label"], Bool[np.ndarray, "record label"]]:
    """Return where truth is 1 and where it is 0."""
    positive, negative = truth == 1, truth == 0
    if not (positive | negative | np.isnan(truth)).all():
        other = truth[~(positive | negative | np.isnan(truth))][0]
        raise ValueError(f"Truth of a label is 0, 1 or NaN (unknown), got {other:g}.")
    return positive, negative


def ranking(score: Matrix) -> tuple[Int[np.ndarray, "label record"], Bool[np.ndarray, "label record"]]:
    """Return the records of each label, best score first, and where a run of ties ends."""
    falling = -np.ascontiguousarray(score.T)
    order = np.argsort(falling, axis=1)
    in_order = np.take_along_axis(falling, order, axis=1)
    ends = np.ones(order.shape, bool)
    ends[:, :-1] = in_order[:, 1:] != in_order[:, :-1]
    return order, ends


def in_order(
    values: Shaped[np.ndarray, "record label"], order: Int[np.ndarray, "label record"]
) -> Shaped[np.ndarray, "label record"]:
    """Sort a table of records the way each label ranks them."""
    return np.take_along_axis(np.ascontiguousarray(values.T), order, axis=1)


def ranked(what: int, truth: Matrix, score: Matrix, weights: Draws) -> PerLabel:
    """Walk down the ranking of every label, for every resample."""
    from einthoven.evaluate.walks import rank_walk

    positive, negative = values(truth)
    out = np.empty((truth.shape[1], len(weights)))  # (label, resample): each thread writes whole lines

    def work(labels: slice) -> None:
        order, ends = ranking(score[:, labels])
        yes, no = in_order(positive[:, labels], order), in_order(negative[:, labels], order)
        rank_walk(what, order, ends, yes, no, weights, out[labels])

    shared(work, truth.shape[1], steps=truth.size * len(weights))
    return out.T


@Metric
def auroc(truth: Matrix, score: Matrix, weights: Draws) -> PerLabel:
    """Area under the ROC curve: the chance that a positive outranks a negative, ties counting half."""
    return ranked(0, truth, score, weights)


@Metric
def auprc(truth: Matrix, score: Matrix, weights: Draws) -> PerLabel:
    """Average precision: precision at each distinct score, weighted by the recall that it adds."""
    return ranked(1, truth, score, weights)


@Metric
def fmax_labels(truth: Matrix, score: Matrix, weights: Draws) -> PerLabel:
    """Fmax, label-centric: each label's F1 at its own best threshold, chosen on the same records."""
    return ranked(2, truth, score, weights)


@Metric
def fmax_samples(
    truth: Matrix, score: Matrix, weights: Draws, *, grid: float | None = None
) -> Float[np.ndarray, " resample"]:
    """Fmax, sample-centric, as the PTB-XL benchmark once had it; one threshold for all labels.

    At a threshold t a label is predicted where score >= t. Precision averages TP / predicted over the
    records with a prediction, recall averages TP / true over the records with a true label; Fmax is the
    best 2PR / (P + R) over every distinct score, or over 0, `grid`, 2 `grid` ... 1 (0.01 in the benchmark).
    """
    from einthoven.evaluate.walks import sample_steps, sample_walk

    positive, negative = values(truth)
    record, label = np.nonzero(positive | negative)
    falling = -score[record, label]
    order = np.argsort(falling)
    record, label, falling = record[order], label[order], falling[order]
    if grid is None:
        stops = np.append(np.flatnonzero(np.diff(falling)) + 1, len(falling))
    else:
        # The thresholds are k / 100, not k * 0.01: the two differ in the last bit, and scores may be round.
        count = round(1 / grid)
        stops = np.unique(np.searchsorted(falling, -np.arange(count, -1, -1) / count, side="right"))
    truths = positive.sum(1)
    steps = np.empty((len(record), 3))
    sample_steps(record, positive[record, label], truths, steps)
    out = np.empty(len(weights))

    def work(some: slice) -> None:
        sample_walk(record, truths, steps, stops, weights[some], out[some])

    shared(work, len(weights), steps=len(record) * len(weights))
    return out


class Decisions(NamedTuple):
    """Counts per resample and label of the decisions score >= threshold; NaN where the label has no score."""

    hits: PerLabel
    misses: PerLabel
    alarms: PerLabel
    rejections: PerLabel


def decisions(
    truth: Matrix, score: Matrix, weights: Draws, thresholds: Float[np.ndarray, " label"] | float
) -> Decisions:
    """Count; a label whose threshold is NaN has no score."""
    positive, negative = values(truth)
    said = score >= thresholds
    counts = [
        totals(weights, c.astype(float)) for c in (positive & said, positive, negative & said, negative)
    ]
    hits, positives, alarms, negatives = counts
    hits[(positives == 0) | (negatives == 0) | np.isnan(thresholds)] = np.nan
    return Decisions(hits, positives - hits, alarms + 0 * hits, negatives - alarms + 0 * hits)


@Metric
def f1(
    truth: Matrix, score: Matrix, weights: Draws, *, thresholds: Float[np.ndarray, " label"] | float = 0.5
) -> PerLabel:
    """Harmonic mean of precision and sensitivity of the decisions score >= threshold."""
    count = decisions(truth, score, weights, thresholds)
    return ratio(2 * count.hits, 2 * count.hits + count.misses + count.alarms)


@Metric
def sensitivity(
    truth: Matrix, score: Matrix, weights: Draws, *, thresholds: Float[np.ndarray, " label"] | float = 0.5
) -> PerLabel:
    """Share of the positives with score >= threshold."""
    count = decisions(truth, score, weights, thresholds)
    return ratio(count.hits, count.hits + count.misses)


@Metric
def specificity(
    truth: Matrix, score: Matrix, weights: Draws, *, thresholds: Float[np.ndarray, " label"] | float = 0.5
) -> PerLabel:
    """Share of the negatives with score < threshold."""
    count = decisions(truth, score, weights, thresholds)
    return ratio(count.rejections, count.rejections + count.alarms)


def best_thresholds(
    truth: Matrix, score: Matrix, by: Literal["f1", "youden"] = "f1"
) -> Float[np.ndarray, " label"]:
    """Return the score of each label at or above which to say yes; the highest among equals.

    Best by F1 or by Youden's sensitivity + specificity - 1. NaN where a label lacks positives or negatives.
    Choose on the validation fold: on the test fold the choice would be part of what is measured.
    """
    if by not in ("f1", "youden"):
        raise ValueError(f"Thresholds are chosen by 'f1' or 'youden', got {by!r}.")
    positive, negative = values(np.asarray(truth, float))
    chosen = np.full(truth.shape[1], np.nan)
    order, ends = ranking(np.asarray(score, float))
    hits, alarms = in_order(positive, order).cumsum(1), in_order(negative, order).cumsum(1)
    for label in np.flatnonzero(positive.any(0) & negative.any(0)):
        hit, alarm, end = hits[label], alarms[label], ends[label]
        gain = 2 * hit / (hit[-1] + hit + alarm) if by == "f1" else hit / hit[-1] - alarm / alarm[-1]
        best = np.argmax(np.where(end, gain, -np.inf))
        chosen[label] = score[order[label, best], label]
    return chosen


@Metric
def accuracy(truth: Matrix, score: Matrix, weights: Draws) -> Float[np.ndarray, " resample"]:
    """Share of the records whose highest score is their one true class (truth: one 1 per record)."""
    hit = named_classes(truth, score).any(1, keepdims=True).astype(float)
    right = totals(weights, hit)[:, 0]
    return ratio(right, weights.sum(1).astype(float))


@Metric
def balanced_accuracy(truth: Matrix, score: Matrix, weights: Draws) -> Float[np.ndarray, " resample"]:
    """Average sensitivity of the classes present, each record given its class of highest score."""
    right = named_classes(truth, score)
    return macro(ratio(totals(weights, right.astype(float)), totals(weights, truth)))


def named_classes(truth: Matrix, score: Matrix) -> Bool[np.ndarray, "record label"]:
    """Return where the class of highest score is the true one."""
    positive, negative = values(truth)
    if not ((positive.sum(1) == 1) & (positive | negative).all(1)).all():
        raise ValueError("Accuracy needs exactly one true class per record.")
    return np.asarray(positive & (np.arange(truth.shape[1]) == score.argmax(1)[:, None]))


@Metric
def brier(truth: Matrix, score: Matrix, weights: Draws) -> PerLabel:
    """Mean squared distance of the probability from the truth."""
    positive, negative = values(truth)
    squares = np.where(positive | negative, (score - positive) ** 2, 0.0)
    return scored(totals(weights, squares), positive, negative, weights)


@Metric
def ece(truth: Matrix, score: Matrix, weights: Draws, *, bins: int = 10) -> PerLabel:
    """Expected calibration error over equal-mass bins (a run of tied scores is never split).

    The mean over bins, weighted by their records, of |mean score - share of positives|. Chance alone
    makes it positive, the more so the fewer the records per bin.
    """
    from einthoven.evaluate.walks import gap_walk

    positive, negative = values(truth)
    known = positive | negative
    gap = np.where(known, score - positive, 0.0)
    out = np.empty((truth.shape[1], len(weights)))  # (label, resample): each thread writes whole lines

    def work(labels: slice) -> None:
        order, ends = ranking(score[:, labels])
        gap_walk(
            bins,
            order,
            ends,
            in_order(known[:, labels], order),
            in_order(gap[:, labels], order),
            weights,
            out[labels],
        )

    shared(work, truth.shape[1], steps=2 * truth.size * len(weights))
    return scored(out.T * totals(weights, known.astype(float)), positive, negative, weights)


def scored(
    total: PerLabel,
    positive: Bool[np.ndarray, "record label"],
    negative: Bool[np.ndarray, "record label"],
    weights: Draws,
) -> PerLabel:
    """Divide a total by the number of known records, where the label has both values."""
    positives, negatives = totals(weights, positive.astype(float)), totals(weights, negative.astype(float))
    return np.where((positives > 0) & (negatives > 0), ratio(total, positives + negatives), np.nan)


macro_auroc = macro_of(auroc)
macro_auprc = macro_of(auprc)
