"""From a trained method to a finished run: answers, honest rows, figures, examples, report."""

import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from einthoven.assemble import Job
from einthoven.data.files import new_file, read_json, write_json
from einthoven.data.split import patients_named
from einthoven.drawn import draw_examples
from einthoven.evaluate import Answers, judge_labels, judge_regression
from einthoven.evaluate.embed import answers
from einthoven.examples import choose_examples
from einthoven.fused import reports_told
from einthoven.honest import cohort, honest_rows
from einthoven.log import latest, seconds_of
from einthoven.plan import Plan

PACKAGES = ("einthoven", "torch", "numpy", "scipy", "pandas", "scikit-learn", "numba")


class Clock:
    """Notes how long each stage took."""

    def __init__(self, seconds: dict[str, float]):
        self.seconds = seconds

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Time one stage."""
        before = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - before, 2)


def finish(job: Job, out: Path) -> None:
    """Answer the validation and test records, judge, and write the run folder's last files."""
    planned, clock = job.plan, Clock({"train": seconds_of(out)})
    results: dict[str, Any] = {
        "format": 1,
        "task": task_told(planned),
        "model": model_told(job),
        "counts": counts(planned),
    }
    results |= {"left_out": planned.left_out, "split": planned.split.by, **planned.taught}
    if not job.answers:  # nothing to judge: what the features are worth, a later run says
        results["task"] |= {"kind": "unlabelled", "labels": [], "unit": None}
        results["alarms"] = list(job.method.alarms(latest(out)))
        results |= {"thresholds": {}, "rows": [], "examples": []}
        with clock.of("drawing"):
            shown = draw_examples(job)
        if shown:
            write_array(out / "examples.npy", shown.ecg)
            write_array(out / "drawn.npy", shown.drawn)
            results["drawn"] = shown.told
        write_json(out / "environment.json", environment(job, clock.seconds))
        return write_json(out / "results.json", results)
    with clock.of("answers"):
        told = {name: answer(job, getattr(planned.split, name)) for name in ("validation", "test")}
        write_predictions(planned, told, out / "predictions.parquet")
    regression = planned.task.kind == "regression"
    judge = judge_regression if regression else judge_labels
    how: dict[str, Any] = {"above": planned.judging.above} if regression else {"kind": planned.task.kind}
    with clock.of("judging"):
        verdict = judge(*told.values(), resamples=planned.judging.resamples, **how)
    rows = honest_rows(job, told["test"], clock.seconds)
    if "fusion" in planned.recipe:
        with clock.of("reports"):
            results["reports"] = reports_told(job, told, out)
    examples, drawn = choose_examples(planned, told["test"], verdict["thresholds"])
    write_array(out / "examples.npy", drawn)
    write_json(out / "environment.json", environment(job, clock.seconds))
    write_json(out / "results.json", results | verdict | {"rows": rows, "examples": examples})


def write_array(path: Path, values: Float[np.ndarray, "example lead time"]) -> None:
    """Write ECGs in mV, whole or not at all."""
    with new_file(path) as file:
        np.save(file, values, allow_pickle=False)


def answer(job: Job, rows: Int[np.ndarray, " record"]) -> Answers:
    """Let the method answer some records, in the precision that `predict` has."""
    planned = job.plan
    score = answers(job.method, planned.windows(), rows, planned.task, pool=planned.pool)
    known = cohort(planned, rows)
    ids = planned.store.records["record_id"].iloc[rows].to_numpy(dtype=object).astype(str)
    return Answers(known.truth, score, known.patient, known.age, known.sex, known.labels, ids)


def write_predictions(planned: Plan, told: dict[str, Answers], path: Path) -> None:
    """Write one line per answered record, whole or not at all."""
    tables = []
    for name, said in told.items():
        frame = {
            "record_id": said.record,
            "patient_id": said.patient,
            "store_row": getattr(planned.split, name),
        }
        frame |= {"split": name, "age": said.age, "sex": said.sex}
        frame |= {f"truth/{label}": said.truth[:, i] for i, label in enumerate(said.labels)}
        frame |= {f"score/{label}": said.score[:, i] for i, label in enumerate(said.labels)}
        tables.append(pd.DataFrame(frame))
    with new_file(path) as file:
        held = BytesIO()
        pd.concat(tables).to_parquet(held, index=False)
        file.write(held.getvalue())


def task_told(planned: Plan) -> dict[str, Any]:
    """Describe the task for results.json."""
    task = planned.task
    told = {"name": task.name, "kind": task.kind, "labels": list(task.labels), "unit": task.unit or None}
    return told | ({"flip": task.flip} if task.flip else {})


def model_told(job: Job) -> dict[str, Any]:
    """Describe the model for results.json."""
    recipe = job.plan.recipe
    heads = recipe.get("head", {})
    names = [t["name"] for t in (heads if isinstance(heads, list) else [heads]) if t]
    weights = [*job.method.backbone.parameters()]
    rest = sum(w.numel() for name, w in job.method.named_parameters() if not name.startswith("backbone."))
    return {
        "backbone": recipe["backbone"]["name"],
        "head": " + ".join(names),
        "parameters": sum(w.numel() for w in weights) + rest,
        "steps": job.learner.schedule.steps if job.learner.schedule.solver != "probe" else 0,
    }


def counts(planned: Plan) -> dict[str, Any]:
    """Count records, patients and positives of each split."""
    told: dict[str, Any] = {}
    for name, rows in planned.split.named().items():
        truth = planned.truth[rows]
        told[name] = {
            "records": len(rows),
            "patients": int(planned.store.records["patient_id"].iloc[rows].nunique()),
        }
        if planned.task.kind in ("labels", "multiclass"):
            positives = np.nansum(truth > 0.5, axis=0)
            told[name]["positives"] = {n: int(p) for n, p in zip(planned.task.labels, positives, strict=True)}
    return told


def environment(job: Job, seconds: dict[str, float] | None = None) -> dict[str, Any]:
    """Say with what, on what and how long a run was made; nothing here is a result."""
    store = job.plan.store
    return {
        "versions": {"python": platform.python_version()} | {p: installed(p) for p in PACKAGES},
        "git": git_state(),
        "store": {
            "path": str(store.path),
            "title": store.title,
            "source": store.source,
            "synthetic": store.synthetic,
            "fingerprint": store.fingerprint,
            "leads": list(store.leads),
            "hertz": store.hertz,
            "seconds": store.seconds,
            "records": len(store),
            "patients": int(store.records["patient_id"].nunique()),
            "patients_named": patients_named(store.records),
        },
        "seed": job.plan.seed,
        "device": job.device,
        "processes": job.processes.count,
        "machine": platform.machine(),
        "seconds": seconds or {},
    }


def installed(package: str) -> str | None:
    """Return a package's version, None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def git_state() -> str | None:
    """Return the commit that this package is worked on at, with + if files differ; None elsewhere."""
    asked = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--abbrev=10"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return told.stdout.strip() or None


def read_results(run: Path) -> dict[str, Any]:
    """Read the results of a finished run."""
    path = run / "results.json"
    if not path.is_file():
        raise ValueError(f"{run} has no results.json: its training has not finished; go on with --resume.")
    told: dict[str, Any] = read_json(path)
    return told
