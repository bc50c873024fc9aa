"""Whether a probability means what it says: temperature scaling and the reliability curve.

Guo et al. 2017, arXiv:1706.04599: one number, fitted on validation, divides every logit. Order is kept.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

CERTAIN = 1e-7  # what float32 can tell from 0 and 1: a rounded 0 must not cost an infinite loss
COLDEST, HOTTEST = 0.05, 20.0


def fit_temperature(
    truth: Shaped[np.ndarray, "record *label"], score: Float[np.ndarray, "record *label"]
) -> float:
    """Return the temperature that minimises the log loss of all known answers; above 1: overconfident.

    1 where there is nothing to fit: all known truth has one value.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logit

    truth = np.asarray(truth, float)
    known = ~np.isnan(truth)
    if len(np.unique(truth[known])) < 2:
        return 1.0
    logits = logit(np.clip(score[known].astype(float), CERTAIN, 1 - CERTAIN))
    against = np.where(truth[known] == 1, -logits, logits)

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0.0, against / np.exp(log_temperature)).mean())

    bounds = (np.log(COLDEST), np.log(HOTTEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def temper(score: Float[np.ndarray, "*shape"], temperature: float) -> Float[np.ndarray, "*shape"]:
    """Divide the logits of probabilities; 0, 0.5 and 1 stay.

    >>> temper(np.array([0.2, 0.5]), 0.5).round(4).tolist()
    [0.0588, 0.5]
    """
    from scipy.special import expit, logit

    return np.asarray(expit(logit(score.astype(float)) / temperature))


class Reliability(NamedTuple):
    """One point per bin, from the highest scores down."""

    score: Float[np.ndarray, " bin"]
    share: Float[np.ndarray, " bin"]
    records: Int[np.ndarray, " bin"]


def reliability(
    truth: Shaped[np.ndarray, " record"], score: Float[np.ndarray, " record"], *, bins: int = 10
) -> Reliability:
    """Return mean score and share of positives in the equal-mass bins that `ece` uses.

    Runs of tied scores are not split, so there may be fewer bins. Pass tables flattened to pool labels.
    """
    truth = np.asarray(truth, float)
    known = ~np.isnan(truth)
    truth, score = truth[known], score[known].astype(float)
    _, tie, tied = np.unique(-score, return_inverse=True, return_counts=True)
    middle = 2 * (np.cumsum(tied) - tied) + tied
    place = (bins * middle // (2 * max(len(score), 1)))[tie]
    records = np.bincount(place, minlength=bins)
    full = records > 0
    sums = [np.bincount(place, weights=values, minlength=bins)[full] for values in (score, truth)]
    return Reliability(sums[0] / records[full], sums[1] / records[full], records[full])
