"""F and G of the CPSC 2018 (ICBEB) benchmark: missed labels weigh twice, records with many labels weigh less.

As Strodthoff et al. 2021 (doi:10.1109/jbhi.2020.3022989) score that set. They choose thresholds on the
predictions of the training folds; give ours to the validation fold, as for every other decision here.
"""

import numpy as np
from jaxtyping import Bool, Float

from einthoven.evaluate.metric import Draws, Matrix, Metric, ratio, totals
from einthoven.evaluate.scores import PerLabel, values

Thresholds = Float[np.ndarray, " label"] | float


def decided(score: Matrix, thresholds: Thresholds) -> Bool[np.ndarray, "record label"]:
    """Say yes where score > threshold and, in a record without any yes, to the label of highest score."""
    said = np.asarray(score > thresholds)
    empty = ~said.any(1)
    said[empty, score[empty].argmax(1)] = True
    return said


def counts(
    truth: Matrix, score: Matrix, weights: Draws, thresholds: Thresholds
) -> tuple[PerLabel, PerLabel, PerLabel]:
    """Return true positives, false positives and false negatives, each record's by 1 / its true labels.

    A record without a true label weighs 1. True positives are NaN where a label has no score.
    """
    positive, negative = values(truth)
    said = decided(score, thresholds)
    share = 1 / np.maximum(positive.sum(1, keepdims=True), 1)
    cells = np.hstack([positive & said, negative & said, positive & ~said, negative & ~said])
    hits, alarms, misses, rejections = np.split(totals(weights, share * cells), 4, axis=1)
    undefined = (hits + misses == 0) | (alarms + rejections == 0) | np.isnan(thresholds)
    return np.where(undefined, np.nan, hits), alarms, misses


@Metric
def f_beta(
    truth: Matrix, score: Matrix, weights: Draws, *, thresholds: Thresholds = 0.5, beta: float = 2.0
) -> PerLabel:
    """F of the challenge: (1 + beta²) TP / ((1 + beta²) TP + FP + beta² FN), each record by its weight."""
    hits, alarms, misses = counts(truth, score, weights, thresholds)
    found = (1 + beta**2) * hits
    return ratio(found, found + alarms + beta**2 * misses)


@Metric
def g_beta(
    truth: Matrix, score: Matrix, weights: Draws, *, thresholds: Thresholds = 0.5, beta: float = 2.0
) -> PerLabel:
    """G of the challenge: TP / (TP + FP + beta FN), each record by its weight."""
    hits, alarms, misses = counts(truth, score, weights, thresholds)
    return ratio(hits, hits + alarms + beta * misses)


def challenge_thresholds(
    truth: Matrix, score: Matrix, *, beta: float = 2.0, points: int = 100
) -> Float[np.ndarray, " label"]:
    """Return each label's threshold of the best G on an even grid over [0, 1]; the lowest among equals.

    Every record weighs the same, and no label stands in for another. NaN where a label lacks positives
    or negatives.
    """
    positive, negative = values(np.asarray(truth, float))
    grid = np.linspace(0, 1, points)
    chosen = np.full(truth.shape[1], np.nan)
    for label in np.flatnonzero(positive.any(0) & negative.any(0)):
        hits = above(score[positive[:, label], label], grid)
        alarms = above(score[negative[:, label], label], grid)
        misses = positive[:, label].sum() - hits
        chosen[label] = grid[np.argmax(hits / (hits + alarms + beta * misses))]
    return chosen


def above(
    score: Float[np.ndarray, " some"], grid: Float[np.ndarray, " point"]
) -> Float[np.ndarray, " point"]:
    """Count the scores above each point of a grid."""
    return len(score) - np.searchsorted(np.sort(score), grid, side="right").astype(float)
