"""Whether one run is better than another: paired differences over the same drawn patients."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from einthoven.evaluate.answers import Answers, read_answers
from einthoven.evaluate.bootstrap import Interval, Score, evaluated, interval, resample_weights
from einthoven.evaluate.figures import Number, clean, figure
from einthoven.evaluate.metric import macro_of
from einthoven.evaluate.regression import rmse
from einthoven.evaluate.scores import auroc

Better = Literal["higher", "lower"]
Table = Shaped[np.ndarray, "record *label"]


class Comparison(NamedTuple):
    """B against a: floats, or arrays where the metric gives arrays.

    `difference` is b - a. `beats` is the share of resamples in which b is better, ties counting half;
    `p` is the two-sided bootstrap p-value of no difference.
    """

    a: Any
    b: Any
    difference: Interval
    beats: Any
    p: Any


def paired(
    metric: Score,
    truth: Table,
    a: Table,
    b: Table,
    patient: Shaped[np.ndarray, " record"],
    *,
    better: Better = "higher",
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare two scores of the same records, each resample drawing the same patients for both."""
    weights = resample_weights(patient, resamples, seed)
    value_a, draws_a = evaluated(metric, truth, a, weights)
    value_b, draws_b = evaluated(metric, truth, b, weights)
    gap = draws_b - draws_a
    count = np.maximum((~np.isnan(gap)).sum(0), 1)
    wins, tied = (gap > 0 if better == "higher" else gap < 0).sum(0), (gap == 0).sum(0)
    difference = interval(np.asarray(value_b - value_a), gap)
    judged = ~np.isnan(difference.low)
    beats = np.where(judged, (wins + tied / 2) / count, np.nan)
    p = np.where(judged, no_difference(gap), np.nan)
    return Comparison(plain(value_a), plain(value_b), difference, plain(beats), plain(p))


def no_difference(gap: Float[np.ndarray, "resample *result"]) -> Float[np.ndarray, "*result"]:
    """Return the two-sided bootstrap p-value of no difference, from the resamples that are defined."""
    above, below, tied = ((gap > 0).sum(0), (gap < 0).sum(0), (gap == 0).sum(0))
    # One is added to both counts, so that 1,000 resamples never claim p = 0.
    tail = (np.minimum(above, below) + tied + 1) / (above + below + tied + 1)
    return np.asarray(np.minimum(2 * tail, 1.0))


def plain(value: Float[np.ndarray, "*result"]) -> Any:
    """Return a float for an array of no axes."""
    return float(value) if value.ndim == 0 else value


def compare_runs(run_a: Path, run_b: Path, *, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Compare the test predictions of two run folders: macro AUROC and per label, or RMSE of numbers.

    Returns {"metric", "better", "records", "patients", "macro": row, "labels": {label: row}}, a row being
    {"a", "b", "difference": {value, low, high}, "beats", "p"}; difference is b - a.
    """
    a, b = read_answers(run_a), read_answers(run_b)
    b_rows = matching(a, b, run_a, run_b)
    graded = bool(np.isin(a.truth[~np.isnan(a.truth)], (0, 1)).all())
    metric, better = (auroc, "higher") if graded else (rmse, "lower")
    pair = (a.truth, a.score, b.score[b_rows], a.patient)
    options: dict[str, Any] = {"better": better, "resamples": resamples, "seed": seed}
    per_label = paired(metric, *pair, **options)
    lines = zip(
        a.labels, *per_label[:2], zip(*per_label.difference, strict=True), *per_label[3:], strict=True
    )
    return {
        "metric": metric.name,
        "better": better,
        "records": len(a.truth),
        "patients": len(np.unique(a.patient)),
        "macro": row(paired(macro_of(metric), *pair, **options)),
        "labels": {name: row(Comparison(x, y, Interval(*gap), *rest)) for name, x, y, gap, *rest in lines},
    }


def row(one: Comparison) -> dict[str, Number | dict[str, Number]]:
    """Return one comparison as JSON has it."""
    return {
        "a": clean(one.a),
        "b": clean(one.b),
        "difference": figure(one.difference),
        "beats": clean(one.beats),
        "p": clean(one.p),
    }


def matching(a: Answers, b: Answers, run_a: Path, run_b: Path) -> Shaped[np.ndarray, " record"]:
    """Return the rows of b in a's order, or refuse: another test set is another question."""
    here, there = run_b / "predictions.parquet", run_a.name
    if a.labels != b.labels:
        odd = sorted(set(a.labels) ^ set(b.labels)) or ["their order"]
        raise ValueError(
            f"{here}: labels differ from {there}'s in {', '.join(odd[:5])}; compare runs of one task."
        )
    assert a.record is not None and b.record is not None
    place = {record: row for row, record in enumerate(b.record)}
    if odd := sorted(set(a.record) ^ set(place)):
        raise ValueError(
            f"{here}: {len(odd)} test records are not in both runs ({odd[0]} is one); compare one split."
        )
    if len(a.record) != len(place) or len(b.record) != len(place):
        raise ValueError(
            f"{here}: a test record appears twice in {there} or {run_b.name}; train the run again."
        )
    rows = np.array([place[record] for record in a.record])
    if not np.array_equal(a.truth, b.truth[rows], equal_nan=True):
        changed = (a.truth != b.truth[rows]) & ~(np.isnan(a.truth) & np.isnan(b.truth[rows]))
        record, label = np.argwhere(changed)[0]
        raise ValueError(
            f"{here}: the truth of {a.record[record]}, {a.labels[label]}, is not {there}'s; compare one task."
        )
    return rows
