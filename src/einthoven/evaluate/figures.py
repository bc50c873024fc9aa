"""Intervals as they stand in results.json: numbers, or null where there is none."""

import math

import numpy as np
from jaxtyping import Float

from einthoven.evaluate.bootstrap import Interval, interval
from einthoven.evaluate.metric import macro

Number = float | None


def clean(value: float) -> Number:
    """Return the number, or None for NaN and infinities, which JSON does not have."""
    return float(value) if math.isfinite(value) else None


def figure(result: Interval) -> dict[str, Number]:
    """Return {value, low, high} of one interval."""
    return {name: clean(number) for name, number in zip(("value", "low", "high"), result, strict=True)}


def macro_figure(
    value: Float[np.ndarray, " label"], draws: Float[np.ndarray, "resample label"]
) -> dict[str, Number]:
    """Return the macro average; each resample averages the labels that it still has."""
    return figure(interval(macro(value), macro(draws)))


def label_figures(
    labels: tuple[str, ...], value: Float[np.ndarray, " label"], draws: Float[np.ndarray, "resample label"]
) -> dict[str, dict[str, Number]]:
    """Return {label: {value, low, high}}."""
    bounds = interval(value, draws)
    return {label: figure(Interval(*line)) for label, *line in zip(labels, *bounds, strict=True)}
