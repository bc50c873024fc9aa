"""Scores of predicted numbers, in the unit of the truth; NaN truth is left out.

Agreement is Bland and Altman's (1986, doi:10.1016/S0140-6736(86)90837-8): bias is the mean of score minus
truth, the limits are bias -+ 1.96 standard deviations (n - 1) of that difference. Calibration is the
straight line of least squares from score to truth: a slope below 1 says that scores are too extreme, one
above 1 that they are too timid.
"""

import numpy as np
from jaxtyping import Float

from einthoven.evaluate.metric import Draws, Matrix, Metric, ratio, totals

PerLabel = Float[np.ndarray, "resample label"]


def mean(values: Matrix, weights: Draws) -> PerLabel:
    """Average what is not NaN over the drawn records."""
    known = ~np.isnan(values)
    return ratio(totals(weights, np.where(known, values, 0.0)), totals(weights, known.astype(float)))


def scatter(a: Matrix, b: Matrix, weights: Draws) -> PerLabel:
    """Sum (a - mean a)(b - mean b) over the drawn records where `a` is known; exactly 0 for a constant."""
    known = ~np.isnan(a)
    # Centred once by their mean over all records: values near 1,000 would otherwise lose half their digits.
    a, b = (np.where(known, x - mean(np.where(known, x, np.nan), ones(x)), 0.0) for x in (a, b))
    product, sum_a, sum_b = totals(weights, a * b), totals(weights, a), totals(weights, b)
    about_zero = np.sqrt(totals(weights, a * a) * totals(weights, b * b))
    about_mean = product - ratio(sum_a * sum_b, totals(weights, known.astype(float)))
    return np.where(np.abs(about_mean) > 1e-12 * about_zero, about_mean, 0.0)


def ones(values: Matrix) -> Draws:
    """Draw every record once."""
    return np.ones((1, len(values)), np.int16)


@Metric
def rmse(truth: Matrix, score: Matrix, weights: Draws) -> PerLabel:
    """Root of the mean squared error."""
    return np.asarray(np.sqrt(mean((score - truth) ** 2, weights)))


@Metric
def mae(truth: Matrix, score: Matrix, weights: Draws) -> PerLabel:
    """Mean absolute error."""
    return mean(np.abs(score - truth), weights)


@Metric
def r2(truth: Matrix, score: Matrix, weights: Draws) -> PerLabel:
    """Share of the variance explained: 1 - squared error / squared distance from the mean truth."""
    squares = np.where(np.isnan(truth), 0.0, (score - truth) ** 2)
    return 1 - ratio(totals(weights, squares), scatter(truth, truth, weights))


@Metric
def pearson(truth: Matrix, score: Matrix, weights: Draws) -> PerLabel:
    """Linear correlation; NaN where truth or score is constant."""
    known_score = np.where(np.isnan(truth), np.nan, score)
    spread = scatter(truth, truth, weights) * scatter(known_score, known_score, weights)
    return ratio(scatter(truth, score, weights), np.sqrt(spread))


@Metric
def calibration_slope(truth: Matrix, score: Matrix, weights: Draws) -> PerLabel:
    """Slope of the line from score to truth, 1 where it is calibrated; NaN where the score is constant."""
    known_score = np.where(np.isnan(truth), np.nan, score)
    return ratio(scatter(truth, score, weights), scatter(known_score, known_score, weights))


@Metric
def calibration_intercept(truth: Matrix, score: Matrix, weights: Draws) -> PerLabel:
    """Where that line stands at a score of 0, in the unit of the truth; 0 where it is calibrated."""
    known_score = np.where(np.isnan(truth), np.nan, score)
    slope = calibration_slope.weighted(truth, score, weights)
    return np.asarray(mean(truth, weights) - slope * mean(known_score, weights))


@Metric
def bias(truth: Matrix, score: Matrix, weights: Draws) -> PerLabel:
    """Mean of score - truth."""
    return mean(score - truth, weights)


@Metric
def limit_low(truth: Matrix, score: Matrix, weights: Draws) -> PerLabel:
    """Lower limit of agreement: bias - 1.96 standard deviations."""
    return mean(score - truth, weights) - 1.96 * deviation(score - truth, weights)


@Metric
def limit_high(truth: Matrix, score: Matrix, weights: Draws) -> PerLabel:
    """Upper limit of agreement: bias + 1.96 standard deviations."""
    return mean(score - truth, weights) + 1.96 * deviation(score - truth, weights)


def deviation(values: Matrix, weights: Draws) -> PerLabel:
    """Return the standard deviation (n - 1) of what is known; NaN for fewer than two records."""
    freedom = totals(weights, (~np.isnan(values)).astype(float)) - 1
    return np.asarray(np.sqrt(ratio(scatter(values, values, weights), np.maximum(freedom, 0))))
