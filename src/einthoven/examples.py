"""The ECGs that a report shows: the surest hits and the worst misses of the test split."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from einthoven.evaluate import Answers
from einthoven.plan import Plan


def choose_examples(
    planned: Plan, test: Answers, thresholds: Mapping[str, float | None]
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Choose the surest hits and the worst misses of the test split, each record once.

    Returns what results.json says of each, and the ECGs (example, lead, time) in mV, NaN where missing.
    """
    limits = np.array([thresholds.get(label) for label in test.labels], dtype=float)  # None: NaN
    picked = pick(test, limits, planned.task.kind == "regression", planned.judging.examples)
    rows = planned.split.test[[record for record, _, _ in picked]] if picked else np.empty(0, dtype=np.int64)
    told = [told_example(planned, test, *choice) for choice in picked]
    return told, planned.store.read(rows, gaps=True) if len(rows) else np.zeros((0, 12, 1), np.float32)


def pick(
    test: Answers, limits: Float[np.ndarray, " label"], regression: bool, most: int
) -> list[tuple[int, int, str]]:
    """Return (record, label, why): half hits, the rest misses; for a regression, by its error."""
    error = np.abs(test.truth - test.score)
    hit = miss = ~np.isnan(error)
    if not regression:  # a hit is found, a miss is on the wrong side of the threshold
        called, present = test.score >= limits, test.truth == 1
        hit, miss = present & called, ~np.isnan(error + limits) & (called != present)
    best, worst = np.where(hit, error, np.inf), np.where(miss, -error, np.inf)
    chosen: list[tuple[int, int, str]] = []
    for why, order, limit in (("surest hit", best, most // 2), ("worst miss", worst, most)):
        seen: set[int] = set()
        for flat in np.argsort(order, axis=None, kind="stable"):
            record, label = divmod(int(flat), test.truth.shape[1])
            if len(chosen) >= limit or not np.isfinite(order.flat[flat]):
                break
            fresh = label not in seen or len(seen) == test.truth.shape[1]
            if fresh and record not in [r for r, _, _ in chosen]:
                chosen.append((record, label, why))
                seen.add(label)
    return chosen


def told_example(planned: Plan, test: Answers, record: int, label: int, why: str) -> dict[str, Any]:
    """Describe one example for results.json."""
    line = planned.store.records.iloc[int(planned.split.test[record])]
    regression = planned.task.kind == "regression"
    truth = test.truth[record]
    true_ones = [n for n, t in zip(test.labels, truth, strict=True) if t == 1]
    return {
        "why": why,
        "record_id": str(line["record_id"]),
        "patient_id": str(line["patient_id"]),
        "hertz": planned.store.hertz,
        "start": int(line["start"]),
        "stop": int(line["stop"]),
        "absent": str(line["absent"]),
        "age": None if pd.isna(line["age"]) else float(line["age"]),
        "sex": None if pd.isna(line["sex"]) else str(line["sex"]),
        "label": test.labels[label],
        "truth": [float(truth[label])] if regression else true_ones,
        "score": {n: float(s) for n, s in zip(test.labels, test.score[record], strict=True)},
    }
