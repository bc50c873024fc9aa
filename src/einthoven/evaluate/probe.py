"""Linear probes: what frozen features can tell, by logistic regression or ridge.

Strength is chosen on validation only. All labels are fitted in one descent, which reads the features once
per step for all of them; the optimum is that of fitting each label alone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from einthoven.evaluate.regression import rmse
from einthoven.evaluate.scores import macro_auroc

Features = Float[np.ndarray, "record feature"]
Truth = Shaped[np.ndarray, "record label"]
Scores = Float[np.ndarray, "record label"]
Pool = Callable[[Float[np.ndarray, "window label"]], Float[np.ndarray, "record label"]]

STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 1.0)
PENALTIES = (1e0, 1e1, 1e2, 1e3, 1e4, 1e5)


def logistic(
    train_x: Float[np.ndarray, "train feature"],
    train_y: Shaped[np.ndarray, "train label"],
    validation_x: Float[np.ndarray, "validation feature"],
    validation_y: Shaped[np.ndarray, "validation label"],
    test_x: Float[np.ndarray, "test feature"],
    *,
    strengths: Sequence[float] = STRENGTHS,
) -> Float[np.ndarray, "test label"]:
    """Return probabilities of the test records by L2 logistic regression, one label at a time.

    `strengths` are scikit-learn's C, of which validation's macro AUROC chooses one for all labels. NaN
    truth is left out; a label with one value in train gets its prevalence as a constant score.
    """
    train_x, validation_x, test_x = standardised(train_x, validation_x, test_x)
    return predict(test_x, best_logistic(train_x, train_y, validation_x, validation_y, strengths=strengths))


def best_logistic(
    train_x: Float[np.ndarray, "train feature"],
    train_y: Shaped[np.ndarray, "train label"],
    validation_x: Float[np.ndarray, "validation feature"],
    validation_y: Shaped[np.ndarray, "record label"],
    *,
    strengths: Sequence[float] = STRENGTHS,
    pool: Pool = lambda scores: scores,
) -> Float[np.ndarray, "weight label"]:
    """Return the weights (feature, label) that validation likes best, the intercept in the last line.

    Features are standardised already. `pool` makes the answers of records, of which `validation_y` speaks,
    from those of `validation_x`, say of their windows. Where validation cannot tell, the strength is .01.
    """
    train_y = np.asarray(train_y, float)
    weights = np.zeros((train_x.shape[1] + 1, train_y.shape[1]))
    chosen, best, falls = weights, -np.inf, 0
    for strength in sorted(strengths):
        weights = fit_logistic(train_x, train_y, strength, weights)  # starts where the stronger penalty ended
        area = macro_auroc(validation_y, pool(predict(validation_x, weights)))
        if np.isnan(area):
            return fit_logistic(train_x, train_y, 1e-2, weights)
        if area > best:
            chosen, best, falls = weights, area, 0
        elif area < best:  # as good as the best is no fall
            falls += 1
        if falls == 2:
            break  # what is left overfits more, and takes the longest to fit
    return chosen


def standardised(*tables: Float[np.ndarray, "_ feature"]) -> list[Float[np.ndarray, "_ feature"]]:
    """Bring the features of all tables to mean 0 and sd 1 on the first; constant ones to 0."""
    mean, scale = mean_and_scale(tables[0])
    return [(table - mean) * scale for table in tables]


def mean_and_scale(table: Features) -> tuple[Float[np.ndarray, " feature"], Float[np.ndarray, " feature"]]:
    """Return the mean of each feature and one over its sd; zero for a constant one."""
    mean, sd = table.mean(0), table.std(0)
    varied = sd > 1e-6 * np.abs(mean)
    return mean, np.where(varied, 1 / np.where(varied, sd, 1), 0).astype(table.dtype)


def fit_logistic(
    x: Features, y: Scores, strength: float, start: Float[np.ndarray, "weight label"], *, steps: int = 300
) -> Float[np.ndarray, "weight label"]:
    """Return weights (feature, label), the intercept in the last line; y is 0, 1 or NaN."""
    from scipy.optimize import minimize
    from scipy.special import expit
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    known = ~np.isnan(y)
    count = np.maximum(known.sum(0), 1)
    truth, share = np.where(known, y, 0.0), known / count
    penalty = 1 / (strength * count)

    def loss(flat: Any) -> tuple[float, Float[np.ndarray, " weight"]]:
        weights = flat.reshape(start.shape)
        slope = weights[:-1]
        logits = x @ slope.astype(x.dtype) + weights[-1]
        value = (share * (np.logaddexp(0, logits) - truth * logits)).sum()
        error = share * (expit(logits) - truth)
        gradient = np.vstack([x.T @ error.astype(x.dtype) + penalty * slope, error.sum(0)])
        return float(value + (penalty * slope**2).sum() / 2), gradient.ravel()

    options: Any = {"maxiter": steps, "gtol": 1e-5, "ftol": 1e-9}
    # The solver's own dot products are too short to share out: on busy cores threads took ten times longer.
    with threadpool_limits(1, user_api="blas"):
        found = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    weights: Scores = found.x.reshape(start.shape)
    share_of_ones = truth.sum(0) / count
    # With one value the intercept has no optimum: say the prevalence, short of certainty.
    constant = (share_of_ones == 0) | (share_of_ones == 1)
    weights[:-1, constant] = 0
    weights[-1, constant] = np.where(share_of_ones[constant] == 1, 16.0, -16.0)
    return weights


def predict(x: Features, weights: Float[np.ndarray, "weight label"]) -> Scores:
    """Return probabilities."""
    from scipy.special import expit

    return np.asarray(expit(x @ weights[:-1] + weights[-1]))


def ridge(
    train_x: Float[np.ndarray, "train feature"],
    train_y: Float[np.ndarray, "train label"],
    validation_x: Float[np.ndarray, "validation feature"],
    validation_y: Float[np.ndarray, "validation label"],
    test_x: Float[np.ndarray, "test feature"],
    *,
    penalties: Sequence[float] = PENALTIES,
) -> Float[np.ndarray, "test label"]:
    """Return numbers for the test records by ridge regression; validation's RMSE chooses the penalty.

    Each column is fitted on the records that know it, and has its own penalty (scikit-learn's alpha).
    """
    columns = []
    for column in range(train_y.shape[1]):
        known = ~np.isnan(train_y[:, column])
        if not known.any():
            raise ValueError(f"Ridge: column {column} of the training truth is NaN in every record.")
        x, *others = standardised(train_x[known], validation_x, test_x)
        slope, level = best_ridge(x, train_y[known, column], others[0], validation_y[:, column], penalties)
        columns.append(others[1] @ slope + level)
    return np.stack(columns, axis=1).astype(float)


def best_ridge(
    train_x: Float[np.ndarray, "train feature"],
    train_y: Float[np.ndarray, " train"],
    validation_x: Float[np.ndarray, "validation feature"],
    validation_y: Float[np.ndarray, " record"],
    penalties: Sequence[float] = PENALTIES,
    pool: Pool = lambda scores: scores,
) -> tuple[Float[np.ndarray, " feature"], float]:
    """Return slope and intercept of one known column, with the penalty that validation likes best."""
    fits = fit_ridge(train_x, train_y, penalties)
    answers = [pool((validation_x @ slope + level)[:, None])[:, 0] for slope, level in fits]
    errors = [rmse(validation_y, answer) for answer in answers]
    return fits[int(np.argmin(np.nan_to_num(errors, nan=np.inf)))]


def fit_ridge(
    x: Features, y: Float[np.ndarray, " record"], penalties: Sequence[float]
) -> list[tuple[Float[np.ndarray, " feature"], float]]:
    """Return slope and intercept for every penalty, from centred features, by the smaller Gram matrix."""
    level = float(y.mean())
    wide = x.shape[1] > x.shape[0]
    gram = (x @ x.T if wide else x.T @ x).astype(float)
    eye = np.eye(len(gram))
    centred = y - level
    if wide:
        return [(x.T @ np.linalg.solve(gram + a * eye, centred), level) for a in penalties]
    return [(np.linalg.solve(gram + a * eye, x.T @ centred), level) for a in penalties]
