"""Intervals for figures that a bootstrap would spoil: patients are left out, never repeated.

A record that is drawn twice lies at distance 0 from itself and shares its group with itself: that lifts every
figure of groups and distances. Leaving patients out repeats nobody (Efron and Tibshirani 1993, chapter 11).
"""

import numpy as np
from jaxtyping import Float, Int

from einthoven.evaluate.answers import Texts
from einthoven.evaluate.bootstrap import Interval


def numbered(patient: Texts) -> Int[np.ndarray, " record"]:
    """Number the patients from 0."""
    return np.unique(patient.astype(str), return_inverse=True)[1]


def parts_of(patient: Texts, most: int, seed: int) -> Int[np.ndarray, " record"]:
    """Number the parts to leave out in turn: each patient, or where there are more, `most` random groups."""
    who = numbered(patient)
    people = int(who.max()) + 1
    if people <= most:
        return who
    return np.asarray(np.random.default_rng(seed).permutation(np.arange(people) % most)[who])


def normal_interval(
    value: Float[np.ndarray, " figure"],
    without: Float[np.ndarray, "part figure"],
    least: Float[np.ndarray, " figure"],
    most: Float[np.ndarray, " figure"],
) -> list[Interval]:
    """Return each figure with its normal 95 % interval, by what it is without each of the parts.

    Within `least` and `most`. Without two parts, or where the figure is undefined without one, NaN.
    """
    if (parts := len(without)) < 2:
        return [Interval(float(one), np.nan, np.nan) for one in value]
    error = np.sqrt((parts - 1) / parts * np.square(without - without.mean(0)).sum(0))
    low, high = np.maximum(value - 1.96 * error, least), np.minimum(value + 1.96 * error, most)
    return [Interval(*map(float, line)) for line in zip(value, low, high, strict=True)]
