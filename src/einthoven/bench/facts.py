"""What the table needs to know of a finished run, read at once: a damaged folder is found out here."""

import csv
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from einthoven.data import files
from einthoven.data.files import read_json
from einthoven.evaluate.answers import Answers, read_answers, unlabelled

SPLITS = ("train", "validation", "test")
REMOVE = "remove it, and the same command trains it again"
whole = partial(files.whole, remedy=REMOVE)


class Facts(NamedTuple):
    """What a run folder says besides its answers."""

    kind: str  # of the task: labels, multiclass, regression
    parameters: int
    steps: int
    labels: int
    validation: float  # the main figure there: what models may be chosen by
    scored: int  # labels with both values in the test split: those that the macro average holds
    counts: Mapping[str, tuple[int, int]]  # split -> records, patients
    seconds: float  # training and evaluation
    train_seconds: float
    records_per_second: float
    device: str
    einthoven: str
    torch: str
    git: str | None


def read_test(run: Path) -> Answers:
    """Read a run's answers to the test records."""
    file = run / "predictions.parquet"
    with whole(file):
        if not file.is_file():
            raise FileNotFoundError(file)
        told = read_answers(run)
        if np.isnan(told.score).any():
            raise ValueError("a probability is NaN")
        return told


def begun_on(run: Path) -> str:
    """Return the fingerprint of the store that a run was begun on."""
    return str(read_json(run / "environment.json", "store", "fingerprint", remedy=REMOVE))


def read_facts(run: Path) -> Facts:
    """Read `results.json`, `environment.json` and `log.csv`."""
    with whole(run / "results.json"):
        answers = not unlabelled(run)
    if not answers:
        raise ValueError(f"{run} learned features alone, which no table scores: in a grid it is a [[first]].")
    return Facts(
        **results_of(run / "results.json"),
        **environment_of(run / "environment.json"),
        records_per_second=rate_of(run / "log.csv"),
    )


def results_of(file: Path) -> dict[str, Any]:
    """Read what was found."""
    with whole(file):
        told = json.loads(file.read_text(encoding="utf-8"))
        labels = len(told["task"]["labels"])
        sizes = {name: told["counts"][name] for name in SPLITS}
        return {
            "kind": told["task"]["kind"],
            "parameters": told["model"]["parameters"],
            "steps": told["model"]["steps"],
            "labels": labels,
            "validation": figure_of(told["validation"]),
            "scored": labels - len(told["test"].get("auroc", {}).get("undefined", [])),
            "counts": {name: (size["records"], size["patients"]) for name, size in sizes.items()},
        }


def figure_of(told: Mapping[str, Any]) -> float:
    """Return the main figure of a split: an area, or the error of a regression; NaN if undefined."""
    found = told["rmse"] if "rmse" in told else told["auroc"]["macro"]
    return float("nan") if found["value"] is None else float(found["value"])


def environment_of(file: Path) -> dict[str, Any]:
    """Read with what and how long it was made."""
    with whole(file):
        told = json.loads(file.read_text(encoding="utf-8"))
        return {
            "seconds": float(sum(told["seconds"].values())),
            "train_seconds": float(told["seconds"]["train"]),
            "device": told["device"],
            "einthoven": told["versions"]["einthoven"],
            "torch": told["versions"]["torch"],
            "git": told["git"],
        }


def rate_of(file: Path) -> float:
    """Return how many records a second the run learned from."""
    with whole(file), open(file, encoding="utf-8", newline="") as log:
        lines = [(float(line["seconds"]), float(line["records_per_second"])) for line in csv.DictReader(log)]
    return sum(seconds * rate for seconds, rate in lines) / max(sum(seconds for seconds, _ in lines), 1e-9)
