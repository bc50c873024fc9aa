"""How well the made-up filling pressure could be told at best: by one who knew all but the catheter's error.

No ECG tells the pressure exactly, so what a network can reach lies lower. No squared error is smaller and no
correlation or area larger, save by the luck of a small test set. The mean absolute error is that of the same
answer, the mean reading, where the median would be the best: it is no bound, but close to one.
"""

import math
from typing import NamedTuple

import numpy as np

from einthoven.data.synthesis.cohort import CATHETER, HIGHEST, LOWEST, draw_visit, pressure


class Ceiling(NamedTuple):
    """The figures of the answer to `pcwp` that is best by squared error, correlation and rank."""

    rmse: float  # mmHg
    mae: float  # mmHg, of the answer that is best by squared error
    r2: float
    pearson: float
    auroc: float  # of pcwp > above
    share: float  # of the records with pcwp > above


def ceiling(*, records: int = 20_000, seed: int = 0, above: float = 18.0) -> Ceiling:
    """Answer the first records of a cohort with what the catheter would read on average.

    Ranking by the true pressure is the best ranking there is, and that mean the answer of least squares.

    >>> ceiling(records=500).rmse < 1.6
    True
    """
    visits = [draw_visit(seed, index) for index in range(records)]
    truth = np.array([visit.pcwp for visit in visits])
    score = np.array([expected(pressure(visit.filling)) for visit in visits])
    rank = np.argsort(np.argsort(score)) + 1
    high = truth > above
    pairs = high.sum() * (~high).sum()
    won = rank[high].sum() - high.sum() * (high.sum() + 1) / 2
    return Ceiling(
        rmse=float(np.sqrt(np.mean((score - truth) ** 2))),
        mae=float(np.abs(score - truth).mean()),
        r2=float(1 - np.mean((score - truth) ** 2) / truth.var()),
        pearson=float(np.corrcoef(truth, score)[0, 1]),
        auroc=float(won / pairs) if pairs else math.nan,
        share=float(high.mean()),
    )


def expected(true: float) -> float:
    """Return the mean reading (mmHg) of a true pressure: its error is normal, then cut off at both ends."""
    low, high = (LOWEST - true) / CATHETER, (HIGHEST - true) / CATHETER
    inside = normal(high) - normal(low)
    slope = math.exp(-0.5 * low**2) - math.exp(-0.5 * high**2)
    cut = LOWEST * normal(low) + HIGHEST * (1 - normal(high))
    return true * inside + CATHETER * slope / math.sqrt(2 * math.pi) + cut


def normal(z: float) -> float:
    """Return the share of a normal distribution below z standard deviations."""
    return 0.5 * math.erfc(-z / math.sqrt(2))
