"""Judge a model: the test, validation, threshold, calibration and subgroup parts of results.json.

Thresholds and temperature come from validation; the test fold only measures. All figures of a fold share
one set of patient-clustered resamples.
"""

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from einthoven.evaluate import regression
from einthoven.evaluate.answers import Answers
from einthoven.evaluate.bootstrap import evaluated, interval, resample_weights
from einthoven.evaluate.calibrate import fit_temperature, temper
from einthoven.evaluate.challenge import challenge_thresholds, f_beta, g_beta
from einthoven.evaluate.figures import Number, clean, figure, label_figures, macro_figure
from einthoven.evaluate.metric import Draws, Metric, macro_of
from einthoven.evaluate.scores import (
    accuracy,
    auprc,
    auroc,
    balanced_accuracy,
    best_thresholds,
    brier,
    ece,
    f1,
    fmax_labels,
    fmax_samples,
    sensitivity,
    specificity,
)
from einthoven.evaluate.subgroup import subgroups

AGREEMENT = (
    *("rmse", "mae", "r2", "pearson", "calibration_slope", "calibration_intercept"),
    *("bias", "limit_low", "limit_high"),
)


def judge_labels(
    validation: Answers,
    test: Answers,
    *,
    kind: Literal["labels", "multiclass"] = "labels",
    by: Literal["f1", "youden"] = "f1",
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge probabilities of labels; multiclass is read one class against the rest, and by accuracy."""
    same_labels(validation, test)
    weights = resample_weights(test.patient, resamples, seed)
    thresholds = best_thresholds(validation.truth, validation.score, by)
    temperature = fit_temperature(validation.truth, validation.score)
    calibrated = temper(test.score, temperature)
    figures: dict[str, Any] = {"auroc": auroc_part(test, weights), "auprc": part(auprc, test, weights)}
    figures["fmax_samples"] = single(fmax_samples, test, weights)
    best = part(fmax_labels, test, weights)
    figures["fmax_labels"] = best["macro"] | {"per_label": best["per_label"]}
    if kind == "labels" and len(test.labels) > 1:
        figures |= challenge_part(validation, test, weights)
    for decided in (f1, sensitivity, specificity):
        figures[decided.name] = part(decided.using(thresholds=thresholds), test, weights)
    figures |= {metric.name: part(metric, test, weights) for metric in (brier, ece)}
    if kind == "multiclass":
        figures |= {m.name: single(m, test, weights) for m in (accuracy, balanced_accuracy)}
    chosen = resample_weights(validation.patient, resamples, seed)
    return {
        "test": figures,
        "validation": {"auroc": {"macro": part(auroc, validation, chosen)["macro"]}},
        "thresholds": {label: clean(t) for label, t in zip(test.labels, thresholds, strict=True)},
        "temperature": temperature,
        "calibrated": {m.name: part(m, test, weights, score=calibrated) for m in (brier, ece)},
        "subgroups": subgroups(test, auroc, weights),
    }


def judge_regression(
    validation: Answers, test: Answers, *, above: float | None = None, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Judge predicted numbers of one column, in its unit; with `above`, also as scores of truth > above."""
    same_labels(validation, test)
    if len(test.labels) != 1:
        raise ValueError(f"Regression is judged one column at a time, got {', '.join(test.labels)}.")
    weights = resample_weights(test.patient, resamples, seed)
    chosen = resample_weights(validation.patient, resamples, seed)
    metrics = {name: getattr(regression, name) for name in AGREEMENT}
    figures: dict[str, Any] = {name: part(m, test, weights)["macro"] for name, m in metrics.items()}
    return {
        "test": figures | ({} if above is None else {"above": above_part(test, above, weights)}),
        "validation": {"rmse": part(regression.rmse, validation, chosen)["macro"]},
        "thresholds": {},
        "temperature": None,
        "calibrated": {},
        "subgroups": subgroups(test, regression.rmse, weights),
    }


def above_part(test: Answers, above: float, weights: Draws) -> dict[str, Any]:
    """Return how well predicted numbers rank the records whose true number is above one."""
    number = test.truth.astype(np.float32)  # as a task says `above`: 18.1 is not above 18.1
    positive = np.where(np.isnan(number), np.nan, number > np.float32(above))
    decided = replace(test, truth=positive.astype(float))
    areas = {metric.name: part(metric, decided, weights)["macro"] for metric in (auroc, auprc)}
    return {"threshold": float(above), "positives": int(np.nansum(positive))} | areas


def same_labels(validation: Answers, test: Answers) -> None:
    """Refuse folds that do not speak of the same labels."""
    if validation.labels != test.labels or test.truth.shape[1] != len(test.labels):
        raise ValueError(
            f"Validation and test need the same labels, one per column: got {len(validation.labels)} and "
            f"{len(test.labels)} names for {test.truth.shape[1]} columns."
        )


def part(
    metric: Metric,
    answers: Answers,
    weights: Draws,
    *,
    score: Float[np.ndarray, "record label"] | None = None,
) -> dict[str, Any]:
    """Return {"macro", "per_label"} of one metric."""
    value, draws = evaluated(metric, answers.truth, answers.score if score is None else score, weights)
    return {"macro": macro_figure(value, draws), "per_label": label_figures(answers.labels, value, draws)}


def auroc_part(answers: Answers, weights: Draws) -> dict[str, Any]:
    """Return AUROC with the labels that have none, and how often resamples lost one of the others."""
    value, draws = evaluated(auroc, answers.truth, answers.score, weights)
    lost = dict(zip(answers.labels, np.isnan(draws).mean(0), strict=True))
    undefined = [label for label, area in zip(answers.labels, value, strict=True) if np.isnan(area)]
    return {
        "macro": macro_figure(value, draws),
        "per_label": label_figures(answers.labels, value, draws),
        "undefined": undefined,
        "dropped": {
            name: float(share) for name, share in lost.items() if share > 0 and name not in undefined
        },
    }


def challenge_part(validation: Answers, test: Answers, weights: Draws) -> dict[str, Any]:
    """Return F and G of the CPSC 2018 benchmark, macro averaged; they need a choice among labels."""
    thresholds = challenge_thresholds(validation.truth, validation.score)
    named = {"challenge_f2": f_beta, "challenge_g2": g_beta}
    return {
        name: single(macro_of(metric.using(thresholds=thresholds)), test, weights)
        for name, metric in named.items()
    }


def single(metric: Metric, answers: Answers, weights: Draws) -> dict[str, Number]:
    """Return {value, low, high} of a metric that is one number."""
    return figure(interval(*evaluated(metric, answers.truth, answers.score, weights)))
