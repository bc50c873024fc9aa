"""Points of the curves that are drawn: ROC, precision-recall, reliability, Bland-Altman."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from einthoven.evaluate.calibrate import reliability as equal_mass


class Curve(NamedTuple):
    """A curve over all thresholds, from the strictest (nothing is called positive) to the loosest."""

    x: Float[np.ndarray, " point"]
    y: Float[np.ndarray, " point"]


class Bins(NamedTuple):
    """Records grouped by predicted probability; `low` and `high` hold the observed share in 95 % (Wilson)."""

    predicted: Float[np.ndarray, " bin"]
    observed: Float[np.ndarray, " bin"]
    low: Float[np.ndarray, " bin"]
    high: Float[np.ndarray, " bin"]
    records: Int[np.ndarray, " bin"]


class Agreement(NamedTuple):
    """Bland-Altman: the mean of both measurements, and predicted minus measured."""

    mean: Float[np.ndarray, " record"]
    difference: Float[np.ndarray, " record"]


def _counts(
    truth: Bool[np.ndarray, " record"], score: Float[np.ndarray, " record"]
) -> tuple[Float[np.ndarray, " threshold"], Float[np.ndarray, " threshold"]]:
    """Count true and false positives at each distinct score, highest first: ties count together."""
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    hits = np.cumsum(truth[order])[last_of_tie].astype(np.float64)
    return hits, last_of_tie + 1.0 - hits


def roc(truth: Bool[np.ndarray, " record"], score: Float[np.ndarray, " record"]) -> Curve:
    """Return the false positive rate (x) and the sensitivity (y), from (0, 0) to (1, 1).

    >>> roc(np.array([True, False]), np.array([0.9, 0.1])).y
    array([0., 1., 1.])
    """
    hits, false = _counts(truth, score)
    x, y = false / max(false[-1], 1.0), hits / max(hits[-1], 1.0)
    return Curve(np.append(0.0, x), np.append(0.0, y))


def precision_recall(truth: Bool[np.ndarray, " record"], score: Float[np.ndarray, " record"]) -> Curve:
    """Return the sensitivity (x) and the precision (y) at each distinct score, strictest first."""
    hits, false = _counts(truth, score)
    return Curve(hits / max(hits[-1], 1.0), hits / (hits + false))


def at_threshold(
    truth: Bool[np.ndarray, " record"], score: Float[np.ndarray, " record"], threshold: float
) -> tuple[float, float, float]:
    """Return false positive rate, sensitivity and precision when `score >= threshold` is positive."""
    called = score >= threshold
    hits, false = int((called & truth).sum()), int((called & ~truth).sum())
    positives = int(truth.sum())
    return false / max(1, len(truth) - positives), hits / max(1, positives), hits / max(1, hits + false)


def reliability(
    truth: Float[np.ndarray, " record"], probability: Float[np.ndarray, " record"], *, bins: int = 10
) -> Bins:
    """Group records as the ECE does, in bins of equal mass, lowest scores first; NaN truth is left out."""
    score, share, records = (part[::-1] for part in equal_mass(truth, probability, bins=bins))
    z = 1.959963984540054
    middle = (share + z**2 / (2 * records)) / (1 + z**2 / records)
    half = z * np.sqrt(share * (1 - share) / records + z**2 / (4 * records**2)) / (1 + z**2 / records)
    return Bins(score, share, middle - half, middle + half, records)


def agreement(measured: Float[np.ndarray, " record"], predicted: Float[np.ndarray, " record"]) -> Agreement:
    """Pair the mean of two measurements with their difference (Bland and Altman 1986)."""
    return Agreement((measured + predicted) / 2, predicted - measured)


def together(truth: Bool[np.ndarray, "record label"]) -> Int[np.ndarray, "label label"]:
    """Count the records that carry both labels; the diagonal counts each label."""
    whole = truth.astype(np.int64)
    return whole.T @ whole
