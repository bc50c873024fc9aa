"""Intervals for any score, from a bootstrap that resamples patients (Efron and Tibshirani 1993, chapter 13).

Records of one patient are alike, so the patient is what is drawn; all of a patient's records come along.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from einthoven.evaluate.metric import Metric

Table = Shaped[np.ndarray, "record *label"]
Score = Metric | Callable[[Any, Any], Any]


class Interval(NamedTuple):
    """A value and its 95 % interval: floats, or arrays where the metric gives arrays."""

    value: Any
    low: Any
    high: Any


def bootstrap(
    metric: Score,
    truth: Table,
    score: Table,
    patient: Shaped[np.ndarray, " record"],
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Return the metric with its patient-clustered 95 % percentile interval.

    `metric(truth, score)` gives a float or an array. The metrics of this package take a fast path; any
    other function is called once per resample. Resamples where it is NaN are left out; where more than
    half are, or the value itself is NaN, the interval is NaN.
    """
    weights = resample_weights(patient, resamples, seed)
    return interval(*evaluated(metric, truth, score, weights))


def resample_weights(
    patient: Shaped[np.ndarray, " record"], resamples: int = 1000, seed: int = 0
) -> Int[np.ndarray, "resample record"]:
    """Return how often each resample draws each record: the one source of draws, for every figure.

    Depends on the patients and the seed, not on the order of the records.
    """
    names, place = np.unique(np.asarray(patient), return_inverse=True)
    draws = np.random.default_rng(seed).integers(0, max(len(names), 1), size=(resamples, len(names)))
    counts = np.empty((resamples, len(names)), np.int16)
    for line, drawn in zip(counts, draws, strict=True):
        line[:] = np.bincount(drawn, minlength=len(names))
    return np.take(counts, place, axis=1)


def evaluated(
    metric: Score, truth: Table, score: Table, weights: Int[np.ndarray, "resample record"]
) -> tuple[Float[np.ndarray, "*result"], Float[np.ndarray, "resample *result"]]:
    """Return the metric of the records as they are, and of every resample."""
    if len(truth) != len(score) or len(truth) != weights.shape[1]:
        raise ValueError(
            f"Truth, score and patient must name the same records, got {len(truth)}, {len(score)}, "
            f"{weights.shape[1]}."
        )
    if isinstance(metric, Metric):
        every = np.concatenate([np.ones((1, len(truth)), weights.dtype), weights])
        results = metric.weighted(truth, score, every)
        return np.asarray(results[0]), results[1:]
    with warnings.catch_warnings():
        # A resample may lose a class; a metric that warns of it has said so by its NaN.
        warnings.simplefilter("ignore")
        value = np.asarray(metric(truth, score), float)
        rows = np.arange(len(truth))
        drawn = (np.repeat(rows, line) for line in weights)
        results = np.array([metric(truth[some], score[some]) for some in drawn], float)
    return value, results.reshape(len(weights), *value.shape)


def interval(value: Float[np.ndarray, "*result"], draws: Float[np.ndarray, "resample *result"]) -> Interval:
    """Return the 2.5 and 97.5 percentiles of the draws that are defined, beside the value."""
    columns = draws.reshape(len(draws), -1)
    bounds = np.full((2, columns.shape[1]), np.nan)
    for place, column in enumerate(columns.T):
        defined = column[~np.isnan(column)]
        if len(defined) and 2 * len(defined) >= len(column):
            bounds[:, place] = np.percentile(defined, [2.5, 97.5])
    low, high = np.where(np.isnan(value), np.nan, bounds.reshape(2, *value.shape))
    if value.ndim == 0:
        return Interval(float(value), float(low), float(high))
    return Interval(value, low, high)
