"""The ECGs that a report shows: the surest hits and the worst misses of the test split."""

from typing import Any

import numpy as np
import pandas as pd

from einthoven.assemble import Plan
from einthoven.evaluate import Answers


def choose_examples(planned: Plan, test: Answers) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Choose the surest hits and the worst misses of the test split, each record once."""
    picked = pick(planned, test)
    rows = planned.split.test[[i for i, _, _ in picked]] if picked else np.empty(0, dtype=np.int64)
    told = [told_example(planned, test, *choice) for choice in picked]
    drawn = planned.store.read(rows) if len(rows) else np.zeros((0, 12, 1), np.float32)
    return told, drawn


def pick(planned: Plan, test: Answers) -> list[tuple[int, int, str]]:
    """Return (record, label, why): half hits, half misses; for a regression, by its error."""
    half = max(1, planned.judging.examples // 2)
    error = np.abs(test.truth - test.score)
    if planned.task.kind == "regression":
        hits = misses = np.where(np.isnan(error), np.inf, error)
        misses = np.where(np.isnan(error), -np.inf, error)
    else:
        present = test.truth == 1
        hits = np.where(present, error, np.inf)
        misses = np.where(np.isnan(error), -np.inf, error)
    chosen: list[tuple[int, int, str]] = []
    for why, order, limit in (("surest hit", hits, half), ("worst miss", -misses, planned.judging.examples)):
        seen_labels: set[int] = set()
        for flat in np.argsort(order, axis=None, kind="stable"):
            record, label = divmod(int(flat), test.truth.shape[1])
            if len(chosen) >= limit or not np.isfinite(order.flat[flat]):
                break
            fresh = label not in seen_labels or len(seen_labels) == test.truth.shape[1]
            if fresh and record not in [r for r, _, _ in chosen]:
                chosen.append((record, label, why))
                seen_labels.add(label)
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
        "age": None if pd.isna(line["age"]) else float(line["age"]),
        "sex": None if pd.isna(line["sex"]) else str(line["sex"]),
        "label": test.labels[label],
        "truth": [float(truth[label])] if regression else true_ones,
        "score": {n: float(s) for n, s in zip(test.labels, test.score[record], strict=True)},
    }
