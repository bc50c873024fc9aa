"""What each section of the page shows: numbers as words, charts as markup, in the order of reading."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from markupsafe import Markup

from einthoven.evaluate.calibrate import temper
from einthoven.report import curves, forest, heat, plots, words
from einthoven.report.folder import Figure, Run, figure

METRICS = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "f1": "F1",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "brier": "Brier",
    "ece": "ECE",
}
OTHERS = {
    "fmax_samples": "Fmax, sample-centred",
    "fmax_labels": "Fmax, label-centred (macro)",
    "challenge_f2": "F2 as on CPSC 2018 (macro)",
    "challenge_g2": "G2 as on CPSC 2018 (macro)",
    "accuracy": "Accuracy of the class with the highest score",
    "balanced_accuracy": "Balanced accuracy",
}
NUMBERS = {
    "rmse": "Root mean squared error",
    "mae": "Mean absolute error",
    "r2": "R²: share of variance explained",
    "pearson": "Pearson r",
    "calibration_slope": "Calibration slope: measured per predicted, 1 is best",
    "calibration_intercept": "Calibration intercept: measured where predicted is 0",
    "bias": "Bias: mean of predicted minus measured",
    "limit_low": "Lower limit of agreement",
    "limit_high": "Upper limit of agreement",
}
SPREADS = {"features": "feature_sd", "embeddings": "embedding_sd", "ECGs": "ecg_sd", "reports": "text_sd"}
RANKS = {
    "features": "effective_rank",
    "embeddings": "embedding_rank",
    "ECGs": "ecg_rank",
    "reports": "text_rank",
}
CURVES = (
    ("Loss", {"training": "loss", "validation": "validation_loss"}, "lowest"),
    ("Validation AUROC", {"validation": "validation_auroc"}, "highest"),
    ("Learning rate", {"learning rate": "lr"}, "highest"),
    ("Spread of the features (0: all ECGs alike)", SPREADS, "lowest"),
    ("Effective rank: directions in use", RANKS, "lowest"),
    ("Perplexity: codes in use", {"perplexity": "perplexity"}, "lowest"),
)
AT_ONCE = 12  # classes whose curves are shown without asking


def result(run: Run) -> dict[str, Any]:
    """Prepare the headline: the figure, the honest rows, the verdict."""
    own, lines = run.overall(run.main), words.rows(run)
    places = words.places_for(own.value) if run.regression else 3
    axis = forest.axis_for([line.figure for line in lines], bounded=not run.regression)
    best = next((line.figure.value for line in lines if not line.own and line.figure.known), math.nan)
    return {
        "value": words.fixed(own.value, places),
        "span": words.span(own, places),
        "unit": run.results["task"].get("unit") or "",
        "validation": words.fixed(run.overall(run.main, split="validation").value, places),
        "verdict": words.verdict(run),
        "axis": Markup(forest.axis_strip(axis)),
        "paired": any(line.gain.known for line in lines),
        "rows": [
            {
                "name": line.name,
                "what": line.what,
                "own": line.own,
                "time": line.time,
                "gain": words.gained(line.gain, places) if line.gain.known else "",
                "value": words.fixed(line.figure.value, places),
                "span": words.span(line.figure, places),
                "whisker": Markup(forest.whisker(line.figure, axis, reference=best, own=line.own)),
            }
            for line in lines
        ],
    }


def data(run: Run) -> dict[str, Any]:
    """Prepare the counts of each split."""
    splits = [split for split in ("train", "validation", "test") if split in run.results["counts"]]
    counts = [run.results["counts"][split] for split in splits]
    nouns = {"ECGs": "records"} | ({"Patients": "patients"} if run.patients_named else {})
    lines = [(noun, [(f"{c[key]:,}", "") for c in counts]) for noun, key in nouns.items()]
    labels = [] if run.regression else run.labels
    for label in labels:
        positives = [int(c.get("positives", {}).get(label, 0)) for c in counts]
        shares = [f"{100 * p / max(1, c['records']):.1f} %" for p, c in zip(positives, counts, strict=True)]
        lines.append((label, [(f"{p:,}", share) for p, share in zip(positives, shares, strict=True)]))
    return {"splits": splits, "lines": lines, "labels": labels}


def learning(run: Run) -> list[dict[str, Any]]:
    """Draw the columns of the log over epochs (or over steps, if it has a line for each)."""
    log = run.log
    if log.empty:
        return []
    by = "step" if "step" in log and ("epoch" not in log or log["epoch"].duplicated().any()) else "epoch"
    x = log[by].astype(float).tolist() if by in log else [float(n) for n in range(len(log))]
    charts = []
    for title, columns, best in CURVES:
        lines = {
            k: log[c].astype(float).tolist() for k, c in columns.items() if c in log and log[c].notna().any()
        }
        if lines:
            courses = {name: _course(x, line, by, best) for name, line in lines.items()}
            told = "; ".join(
                f"{name} {course}" if len(lines) > 1 else course for name, course in courses.items()
            )
            label = f"{title} over {by}s: {told}"
            chart = plots.learning_chart(x, lines, names=(by, ""), label=label)
            charts.append({"title": title, "chart": Markup(chart), "told": told})
    return charts


def _course(x: Sequence[float], line: Sequence[float], by: str, best: str) -> str:
    """Tell a curve in words, also for who cannot see it."""
    seen = [(a, b) for a, b in zip(x, line, strict=True) if math.isfinite(b)]
    at, value = (min if best == "lowest" else max)(seen, key=lambda point: point[1])
    return f"{best} {value:.3g} at {by} {at:g}, {seen[-1][1]:.3g} at the end"


def classes(run: Run) -> dict[str, Any]:
    """Prepare the table of classes, and the names of those that have no figure."""
    shown = {key: name for key, name in METRICS.items() if key in run.results["test"]}
    auroc = run.results["test"].get("auroc", {})
    positives = run.results["counts"]["test"].get("positives", {})
    lines = [
        {
            "label": label,
            "positives": f"{int(positives.get(label, 0)):,}",
            "threshold": words.fixed(run.threshold(label)),
            "cells": [_cell(run.of_label(key, label)) for key in shown],
        }
        for label in run.labels
    ]
    macro = {"label": "Macro mean", "cells": [_cell(run.overall(key)) for key in shown]}
    return {
        "metrics": list(shown.values()),
        "lines": lines,
        "macro": macro,
        "undefined": [str(label) for label in auroc.get("undefined", [])],
        "dropped": [(str(k), f"{100 * v:.1f} %") for k, v in auroc.get("dropped", {}).items() if v],
        "others": [(name, _cell(run.overall(key))) for key, name in OTHERS.items() if run.overall(key).known],
    }


def _cell(value: Figure, places: int = 3) -> tuple[str, str]:
    return words.fixed(value.value, places), words.span(value, places)


def thresholds(run: Run) -> dict[str, Any]:
    """Draw ROC and precision-recall of each class that has positives and negatives in the test set."""
    panels: list[dict[str, Any]] = []
    for number, label in enumerate(run.labels):
        known = np.isfinite(run.truth[:, number])
        truth, score = run.positive[known, number], run.score[known, number]
        if truth.all() or not truth.any():
            continue
        auroc, auprc = _cell(run.of_label("auroc", label)), _cell(run.of_label("auprc", label))
        pictures = _curves(truth, score, run.threshold(label), f"of {label}: areas {auroc[0]}, {auprc[0]}")
        panels.append(
            {
                "label": label,
                "positives": int(truth.sum()),
                "auroc": auroc,
                "auprc": auprc,
                "pictures": [Markup(picture) for picture in pictures],
            }
        )
    seldom = sorted((panel["positives"] for panel in panels), reverse=True)[:AT_ONCE]
    often = [panel["positives"] >= min(seldom, default=0) for panel in panels]
    return {
        "at_once": [panel for panel, shown in zip(panels, often, strict=True) if shown],
        "rest": [panel for panel, shown in zip(panels, often, strict=True) if not shown],
        "whole": len(panels),
    }


def _curves(
    truth: Bool[np.ndarray, " record"], score: Float[np.ndarray, " record"], threshold: float, label: str
) -> list[str]:
    """Draw both curves of one class, with the point of its threshold."""
    rate, sensitivity, precision = math.nan, math.nan, math.nan
    if math.isfinite(threshold):
        rate, sensitivity, precision = curves.at_threshold(truth, score, threshold)
    share = float(truth.mean())
    return [
        plots.threshold_curve(curve, kind=kind, chance=share, chosen=chosen, label=f"{name} curve {label}")
        for curve, kind, chosen, name in (
            (curves.roc(truth, score), "roc", (rate, sensitivity), "ROC"),
            (curves.precision_recall(truth, score), "pr", (sensitivity, precision), "Precision-recall"),
        )
    ]


def reliability(run: Run) -> dict[str, Any]:
    """Draw the reliability of all classes together and, where they are few, of each."""
    temperature = run.results.get("temperature")
    after = temper(run.score, float(temperature)) if temperature else None

    def chart(columns: slice, size: float, label: str) -> Markup:
        truth = run.truth[:, columns].ravel()
        before = curves.reliability(truth, run.score[:, columns].ravel())
        scaled = None if after is None else curves.reliability(truth, after[:, columns].ravel())
        told = ", ".join(f"{x:.2f}: {y:.2f}" for x, y in zip(before.predicted, before.observed, strict=True))
        label = f"Reliability of {label}; predicted: observed {told}"
        return Markup(plots.reliability_chart(before, scaled, size=size, label=label))

    each = [(label, chart(slice(n, n + 1), 190, label)) for n, label in enumerate(run.labels)]
    calibrated = run.results.get("calibrated", {})
    table = [
        (
            METRICS[key],
            _cell(run.overall(key)),
            _cell(figure(calibrated.get(key, {}).get("macro", calibrated.get(key)))),
        )
        for key in ("brier", "ece")
        if run.overall(key).known
    ]
    return {
        "temperature": words.fixed(float(temperature)) if temperature else "",
        "all": chart(slice(None), 340, "all classes together"),
        "each": each if len(each) <= AT_ONCE else [],
        "table": table,
    }


def subgroups(run: Run) -> dict[str, Any]:
    """Prepare the table of subgroups, with whiskers on one axis."""
    groups = [(group, figure(group.get(run.main))) for group in run.results.get("subgroups", [])]
    whole = run.overall(run.main)
    places = words.places_for(whole.value) if run.regression else 3
    axis = forest.axis_for([whole, *(value for _, value in groups)], bounded=not run.regression)

    def line(name: str, group: dict[str, Any], value: Figure, *, own: bool) -> dict[str, Any]:
        strip = forest.whisker(value, axis, reference=whole.value, own=own)
        counts = {key: f"{group.get(key, 0):,}" for key in ("records", "patients")}
        known = {"value": words.fixed(value.value, places), "span": words.span(value, places)}
        lost = ", ".join(map(str, group.get("undefined", [])))
        what = f"without {lost}" if lost and len(run.labels) > 1 else ""
        return {"name": name, "own": own, "what": what, "whisker": Markup(strip), **counts, **known}

    named = [line(f"{group['column']}: {group['value']}", group, value, own=False) for group, value in groups]
    everyone = line("everyone", run.results["counts"]["test"], whole, own=True)
    return {"rows": [everyone, *named] if named else [], "axis": Markup(forest.axis_strip(axis))}


def together(run: Run) -> dict[str, Any]:
    """Draw which labels meet in one ECG or, where classes exclude each other, which are taken for which."""
    if run.results["task"]["kind"] == "multiclass":
        size = len(run.labels)
        pairs = run.truth.argmax(axis=1) * size + run.score.argmax(axis=1)
        counts = np.bincount(pairs, minlength=size * size).reshape(size, size)
        chart = heat.heat_map(counts, run.labels, own=True, label="Classes: row true, column predicted")
        return {"chart": Markup(chart), "exclusive": True, "none": "", "more": ""}
    carried = run.positive.sum(axis=1)
    counts = curves.together(run.positive)
    off = [(counts[i, j], i, j) for i in range(len(counts)) for j in range(i) if counts[i, j]]
    told = ", ".join(
        f"{run.labels[j]} with {run.labels[i]}: {n}" for n, i, j in sorted(off, reverse=True)[:5]
    )
    chart = heat.heat_map(counts, run.labels, own=False, label=f"Labels that meet in one ECG. {told}")
    none, more = f"{(carried == 0).sum():,}", f"{(carried > 1).sum():,} ECGs"
    return {"chart": Markup(chart), "exclusive": False, "none": none, "more": more}


def numbers(run: Run) -> dict[str, Any]:
    """Prepare the figures and the two charts of a regression."""
    unit = str(run.results["task"].get("unit") or "")
    places = words.places_for(run.overall("rmse").value)
    plain = ("r2", "pearson", "calibration_slope")
    table = [
        (name, *_cell(value, 3 if key in plain else places), "" if key in plain else unit)
        for key, name in NUMBERS.items()
        if (value := run.overall(key)).known
    ]
    table += _above(run, unit)
    measured, predicted = run.truth[:, 0], run.score[:, 0]
    known = np.isfinite(measured) & np.isfinite(predicted)
    pair = curves.agreement(measured[known], predicted[known])
    level = {key: run.overall(key).value for key in ("bias", "limit_low", "limit_high")}
    said = {"bias": "bias", "limit_low": "lower limit", "limit_high": "upper limit"}
    levels = {f"{said[k]} {words.fixed(v, places)}": v for k, v in level.items() if math.isfinite(v)}
    name, tail = run.labels[0], f" ({unit})" if unit else ""
    r = words.fixed(run.overall("pearson").value)
    scatter = plots.agreement_chart(
        measured[known],
        predicted[known],
        names=(f"measured {name}{tail}", f"predicted{tail}"),
        label=f"Predicted against measured {name}: Pearson r {r}",
    )
    bland = plots.agreement_chart(
        pair.mean,
        pair.difference,
        names=(f"mean of both{tail}", f"predicted − measured{tail}"),
        levels=levels,
        label=f"Bland-Altman plot of {name}: " + ", ".join(levels),
    )
    return {
        "table": table,
        "scatter": Markup(scatter),
        "bland": Markup(bland),
        "shown": min(int(known.sum()), plots.MOST_POINTS),
        "records": int(known.sum()),
    }


def _above(run: Run, unit: str) -> list[tuple[str, str, str, str]]:
    """Prepare how well the numbers rank the ECGs above a threshold, where the recipe asked for it."""
    told = run.results["test"].get("above")
    if not told:
        return []
    what = f"> {told['threshold']:g} {unit}".strip()
    counted = f"{told['positives']:,} of {run.results['counts']['test']['records']:,} ECGs"
    return [
        (f"AUROC of {what}", *_cell(figure(told["auroc"])), ""),
        (f"AUPRC of {what} ({counted})", *_cell(figure(told["auprc"])), ""),
    ]
