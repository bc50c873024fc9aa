"""What a score is to this package: a function of truth and score that also takes resampling weights."""

from collections.abc import Callable
from functools import update_wrapper
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

Matrix = Float[np.ndarray, "record label"]
Draws = Int[np.ndarray, "resample record"]
Weighted = Callable[..., Float[np.ndarray, "resample *label"]]


class Metric:
    """A score of every label (or one number), for the records as they are or as they were drawn.

    Call it with truth and score, each (record, label) or (record,). `weighted` also takes how often each
    resample drew each record, and gives one line of results per resample: the same numbers as repeating
    the records would give, from one sort.
    """

    def __init__(self, function: Weighted, **options: Any):
        update_wrapper(self, function)
        self.function, self.options = function, options
        self.name = function.__name__

    def __repr__(self) -> str:
        """Name the metric, for failing tests."""
        return f"Metric({self.name})"

    def __call__(
        self,
        truth: Shaped[np.ndarray, "record *label"],
        score: Shaped[np.ndarray, "record *label"],
        **options: Any,
    ) -> Any:
        """Return (label,), or a float where there is one number."""
        once = np.ones((1, len(truth)), np.int16)
        return self.using(**options).weighted(truth, score, once)[0]

    def using(self, **options: Any) -> "Metric":
        """Fix options, for those who pass the metric on: `f1.using(thresholds=t)`."""
        return Metric(self.function, **(self.options | options))

    def weighted(
        self,
        truth: Shaped[np.ndarray, "record *label"],
        score: Shaped[np.ndarray, "record *label"],
        weights: Draws,
    ) -> Float[np.ndarray, "resample *result"]:
        """Return the metric of every resample: (resample, label) or (resample,)."""
        truth, score = np.asarray(truth, float), np.asarray(score, float)
        if truth.shape != score.shape:
            raise ValueError(f"Truth and score must have one shape, got {truth.shape} and {score.shape}.")
        if np.isnan(score).any():
            at = ", ".join(str(place) for place in np.argwhere(np.isnan(score))[0])
            raise ValueError(f"The score at [{at}] is NaN: only truth may be unknown.")
        flat = truth.ndim == 1
        if flat:
            truth, score = truth[:, None], score[:, None]
        result = self.function(truth, score, np.ascontiguousarray(weights), **self.options)
        return result[:, 0] if flat and result.ndim == 2 else result


def macro(values: Float[np.ndarray, "*resample label"]) -> Float[np.ndarray, "*resample"]:
    """Average over the labels that are defined; NaN where none is.

    >>> float(macro(np.array([0.5, np.nan, 1.0])))
    0.75
    """
    defined = ~np.isnan(values)
    count = defined.sum(-1)
    total = np.where(defined, values, 0.0).sum(-1)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def macro_of(metric: Metric) -> Metric:
    """Turn a score per label into its mean over the labels defined in each resample."""

    def average(
        truth: Matrix, score: Matrix, weights: Draws, **options: Any
    ) -> Float[np.ndarray, " resample"]:
        return macro(metric.function(truth, score, weights, **(metric.options | options)))

    average.__name__ = f"macro_{metric.name}"
    average.__doc__ = f"Macro average. {metric.__doc__}"
    return Metric(average)


def totals(weights: Draws, values: Matrix) -> Float[np.ndarray, "resample label"]:
    """Sum values over the drawn records, in blocks: all weights as float64 may not fit in memory."""
    blocks = [weights[start : start + 128].astype(float) @ values for start in range(0, len(weights), 128)]
    return np.concatenate(blocks) if blocks else np.zeros((0, values.shape[1]))


def ratio(
    above: Float[np.ndarray, "*shape"], below: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape"]:
    """Divide, with NaN where the divisor is zero."""
    undefined = np.full(np.shape(above), np.nan)
    return np.asarray(np.divide(above, below, out=undefined, where=below != 0))
