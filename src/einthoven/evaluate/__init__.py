"""Judge predictions: scores, intervals, comparisons and honest rows, from arrays and without torch."""

from importlib import import_module
from typing import Any

# Not lazy: once loaded, a module of the same name would stand where the function is expected.
from einthoven.evaluate.bootstrap import Interval, bootstrap, resample_weights
from einthoven.evaluate.metric import Metric, macro, macro_of
from einthoven.evaluate.scores import auprc, auroc, macro_auprc, macro_auroc

_LATER = {
    "Answers": ".answers",
    "Cohort": ".answers",
    "RandomKernels": "..layers.kernels",
    "accuracy": ".scores",
    "balanced_accuracy": ".scores",
    "best_thresholds": ".scores",
    "bias": ".regression",
    "brier": ".scores",
    "calibration_intercept": ".regression",
    "calibration_slope": ".regression",
    "challenge_thresholds": ".challenge",
    "compare_runs": ".compare",
    "ece": ".scores",
    "f1": ".scores",
    "f_beta": ".challenge",
    "fit_temperature": ".calibrate",
    "fmax_labels": ".scores",
    "fmax_samples": ".scores",
    "g_beta": ".challenge",
    "judge_labels": ".judge",
    "judge_regression": ".judge",
    "limit_high": ".regression",
    "limit_low": ".regression",
    "logistic": ".probe",
    "mae": ".regression",
    "paired": ".compare",
    "pearson": ".regression",
    "r2": ".regression",
    "read_answers": ".answers",
    "reliability": ".calibrate",
    "ridge": ".probe",
    "rmse": ".regression",
    "sensitivity": ".scores",
    "specificity": ".scores",
    "subgroups": ".subgroup",
    "temper": ".calibrate",
}

__all__ = [
    "Interval",
    "Metric",
    "auprc",
    "auroc",
    "bootstrap",
    "macro",
    "macro_auprc",
    "macro_auroc",
    "macro_of",
    "resample_weights",
    *_LATER,
]


def __getattr__(name: str) -> Any:
    """Load the rest when it is first asked for: compilers and solvers take long to import."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name], __name__), name)
