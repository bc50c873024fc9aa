"""The honest rows: what one gets without a trained network. A model that does not stand above them has not
earned its place.

Each row is scored on the test cohort with the same resamples as the model (same seed, same patients).
"""

import time
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from einthoven.evaluate.answers import Cohort
from einthoven.evaluate.bootstrap import bootstrap
from einthoven.evaluate.figures import figure
from einthoven.evaluate.metric import macro_of
from einthoven.evaluate.probe import logistic, ridge
from einthoven.evaluate.regression import mae, rmse
from einthoven.evaluate.scores import macro_auroc

Kind = Literal["labels", "multiclass", "regression"]
Scores = Float[np.ndarray, "record label"]
Features = tuple[
    Float[np.ndarray, "train feature"],
    Float[np.ndarray, "validation feature"],
    Float[np.ndarray, "test feature"],
]
Chunks = Iterable[Float[np.ndarray, "_ lead time"]]


class Folds(NamedTuple):
    """Train teaches, validation chooses, test measures."""

    train: Cohort
    validation: Cohort
    test: Cohort


class Row(NamedTuple):
    """One line of the table, as results.json has it, and the test scores behind it, to compare in pairs."""

    entry: dict[str, Any]
    score: Scores


class Rows:
    """Makes the rows of one task; all share folds, kind and resamples."""

    def __init__(self, folds: Folds, *, kind: Kind = "labels", resamples: int = 1000, seed: int = 0):
        self.folds, self.kind, self.resamples, self.seed = folds, kind, resamples, seed

    def prevalence(self) -> Row:
        """Answer with the training share of each label (AUROC 0.5), or the training mean."""
        start = time.perf_counter()
        truth = np.asarray(self.folds.train.truth, float)
        known = ~np.isnan(truth)
        level = np.where(known, truth, 0).sum(0) / np.maximum(known.sum(0), 1)
        score = np.tile(level, (len(self.folds.test.truth), 1))
        if self.kind == "regression":
            return self.row("mean", "the training mean for everybody", score, start)
        return self.row("prevalence", "the training share for everybody", score, start)

    def age_sex(self) -> Row:
        """Answer from age and sex alone, by logistic regression or ridge."""
        start = time.perf_counter()
        score = self.fit(demographics(*self.folds))
        return self.row("age + sex", f"{self.solver} on age and sex, no ECG", score, start)

    def features(self, name: str, what: str, features: Features, *, seconds: float = 0.0) -> Row:
        """Answer by a linear probe on the features of the three folds, which took `seconds` to make."""
        start = time.perf_counter() - seconds
        return self.row(name, what, self.fit(features), start)

    def random_kernels(
        self, train: Chunks, validation: Chunks, test: Chunks, *, kernels: int = 1500, seed: int = 0
    ) -> Row:
        """Answer from random convolution kernels; ECGs (mV) come in chunks, so that a store may stream."""
        start = time.perf_counter()
        features = kernel_features(train, validation, test, kernels=kernels, seed=seed)
        what = f"{kernels:,} random convolution kernels, then {self.solver}"
        return self.row("random kernels", what, self.fit(features), start)

    @property
    def solver(self) -> str:
        """What fits features to truth, for people."""
        return "ridge regression" if self.kind == "regression" else "logistic regression"

    def fit(self, features: Features) -> Scores:
        """Fit on train, choose on validation, return the answers on test."""
        train_x, validation_x, test_x = features
        solve = ridge if self.kind == "regression" else logistic
        train, validation, _ = self.folds
        return solve(train_x, train.truth, validation_x, validation.truth, test_x)

    def row(self, name: str, what: str, score: Scores, start: float) -> Row:
        """Score the answers."""
        seconds = time.perf_counter() - start
        test = self.folds.test
        numbers = {"rmse": macro_of(rmse), "mae": macro_of(mae)}
        judges = numbers if self.kind == "regression" else {"auroc": macro_auroc}
        told = {
            key: figure(bootstrap(judge, test.truth, score, test.patient, self.resamples, self.seed))
            for key, judge in judges.items()
        }
        return Row({"name": name, "what": what, **told, "seconds": round(seconds, 3)}, score)


def demographics(train: Cohort, validation: Cohort, test: Cohort) -> Features:
    """Return age, age unknown, male, sex unknown; an unknown age becomes the training median."""
    ages = [unknown_if_none(cohort) for cohort in (train, validation, test)]
    known = ages[0][~np.isnan(ages[0])]
    median = float(np.median(known)) if len(known) else 0.0
    tables = []
    for age, cohort in zip(ages, (train, validation, test), strict=True):
        sexes = [None] * len(age) if cohort.sex is None else cohort.sex
        male = np.array([sex == "male" for sex in sexes], float)
        female = np.array([sex == "female" for sex in sexes], float)
        missing = np.isnan(age)
        tables.append(np.stack([np.where(missing, median, age), missing, male, 1 - male - female], axis=1))
    return tables[0], tables[1], tables[2]


def flagged(
    train: Float[np.ndarray, "train measure"],
    validation: Float[np.ndarray, "validation measure"],
    test: Float[np.ndarray, "test measure"],
) -> Features:
    """Replace what is unknown (NaN) by the training median, and add a flag for each feature that says so."""
    known = [column[~np.isnan(column)] for column in train.T]
    usual = np.array([np.median(column) if len(column) else 0.0 for column in known])
    tables = []
    for table in (train, validation, test):
        unknown = np.isnan(table)
        tables.append(np.concatenate([np.where(unknown, usual, table), unknown], axis=1))
    return tables[0], tables[1], tables[2]


def unknown_if_none(cohort: Cohort) -> Float[np.ndarray, " record"]:
    """Return the ages, NaN where a cohort has none."""
    return np.full(len(cohort.truth), np.nan) if cohort.age is None else np.asarray(cohort.age, float)


def kernel_features(
    train: Chunks, validation: Chunks, test: Chunks, *, kernels: int = 1500, seed: int = 0
) -> Features:
    """Return the features of random kernels drawn for the shape of the first chunk."""
    from einthoven.layers.kernels import RandomKernels

    drawn: list[RandomKernels] = []

    def features(chunks: Chunks) -> Float[np.ndarray, "record feature"]:
        parts = []
        for ecg in chunks:
            if not drawn:
                drawn.append(RandomKernels.draw(*ecg.shape[1:], kernels=kernels, seed=seed))
            parts.append(drawn[0].transform(ecg))
        return np.concatenate(parts) if parts else np.zeros((0, 2 * kernels), np.float32)

    return features(train), features(validation), features(test)
