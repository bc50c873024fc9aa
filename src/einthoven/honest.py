"""The rows that keep a network honest: what one gets on the same records without training one."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from einthoven.assemble import Job, fill_fitted, network
from einthoven.data.loader import Reader, Windows
from einthoven.evaluate import Answers, Cohort, macro_auroc, macro_of, paired, rmse
from einthoven.evaluate.embed import features
from einthoven.evaluate.rows import Folds, Row, Rows, flagged
from einthoven.perceptron import Examples, perceptron
from einthoven.plan import Plan
from einthoven.recipe import fresh
from einthoven.rhythm import NAMES
from einthoven.rhythm import features as rhythm_features
from einthoven.wavelet import wavelet_features


def cohort(planned: Plan, rows: Int[np.ndarray, " record"]) -> Cohort:
    """Return what is known of some records."""
    records = planned.store.records.iloc[rows]
    return Cohort(
        truth=planned.truth[rows].astype(np.float64),
        patient=records["patient_id"].to_numpy(dtype=object).astype(str),
        age=records["age"].to_numpy(dtype=np.float64, na_value=np.nan),
        sex=records["sex"].to_numpy(dtype=object),
        labels=planned.task.labels,
    )


def honest_rows(job: Job, test: Answers, seconds: dict[str, float]) -> list[dict[str, Any]]:
    """Make the rows that a recipe asks for; each also says what the model gains over it, paired."""
    planned, told = job.plan, []
    assert planned.task.kind != "unlabelled"  # whose answers nobody judges
    folds = Folds(*(cohort(planned, rows) for rows in planned.split.named().values()))
    maker = Rows(folds, kind=planned.task.kind, resamples=planned.judging.resamples)
    for name in planned.judging.rows:
        row = MAKERS[name](job, maker)
        seconds[f"row {name}"] = row.entry.pop("seconds")
        told.append(row.entry | {"gain": gain(planned, test, row)})
    return told


def gain(planned: Plan, test: Answers, row: Row) -> dict[str, float | None]:
    """Return the model's score less the row's, with the interval of a paired bootstrap."""
    metric = macro_of(rmse) if planned.task.kind == "regression" else macro_auroc
    resamples = planned.judging.resamples
    found = paired(metric, test.truth, row.score, test.score, test.patient, resamples=resamples)
    bounds = {name: float(getattr(found.difference, name)) for name in ("value", "low", "high")}
    return {name: value if np.isfinite(value) else None for name, value in bounds.items()}


def random_encoder(job: Job, maker: Rows) -> Row:
    """Probe the recipe's own network before it has learned anything."""
    began, planned = time.perf_counter(), job.plan
    recipe = fresh(planned.recipe)
    untrained, _ = network(recipe, planned.wants, len(planned.task.labels), planned.seed)
    fill_fitted(untrained, job.method)
    windows = Windows(Reader(planned.store, planned.wants), planned.wants.seconds)
    seen = [features(untrained.to(job.device), windows, rows) for rows in planned.split.named().values()]
    what = f"{recipe['backbone']['name']} with random weights, then {maker.solver}"
    spent = time.perf_counter() - began
    return maker.features("random encoder", what, (seen[0], seen[1], seen[2]), seconds=spent)


def random_kernels(job: Job, maker: Rows) -> Row:
    """Draw random convolution kernels over whole ECGs, in the leads, rate and band that the model reads."""
    reader = Reader(job.plan.store, job.plan.wants)
    chunks = [in_chunks(reader, rows) for rows in job.plan.split.named().values()]
    return maker.random_kernels(*chunks)


def wavelet(job: Job, maker: Rows) -> Row:
    """Train the benchmark's perceptron on wavelet statistics of whole ECGs."""
    began, planned = time.perf_counter(), job.plan
    reader = Reader(planned.store, planned.wants)
    seen = [
        np.concatenate([wavelet_features(ecg) for ecg in in_chunks(reader, rows)])
        for rows in planned.split.named().values()
    ]
    train, validation, _ = maker.folds
    score = perceptron(
        Examples(seen[0], train.truth),
        Examples(seen[1], validation.truth),
        seen[2],
        numbers=planned.task.kind == "regression",
        seed=maker.seed,
    )
    what = f"{seen[0].shape[1]} wavelet statistics, then a perceptron of one hidden layer"
    return maker.row("wavelet", what, score, began)


def rhythm(job: Job, maker: Rows) -> Row:
    """Measure rhythm by hand-made rules: in whole ECGs as stored, of the leads that the model reads."""
    began, planned = time.perf_counter(), job.plan
    seen = [rhythm_of(planned, rows) for rows in planned.split.named().values()]
    what = f"{len(NAMES)} features of rhythm by hand-made rules, then {maker.solver}"
    spent = time.perf_counter() - began
    return maker.features("rhythm", what, flagged(seen[0], seen[1], seen[2]), seconds=spent)


def rhythm_of(
    planned: Plan, rows: Int[np.ndarray, " record"], size: int = 256
) -> Float[np.ndarray, "record feature"]:
    """Return the features of rhythm of some records, NaN where not known; a gap is no flat line."""
    store, leads = planned.store, planned.wants.leads
    place = [store.leads.index(lead) for lead in leads]
    parts = [store.read(rows[first : first + size], gaps=True) for first in range(0, len(rows), size)]
    return np.concatenate([rhythm_features(part[:, place], store.hertz, leads=leads) for part in parts])


def in_chunks(
    reader: Reader, rows: Int[np.ndarray, " row"], size: int = 256
) -> Iterator[Float[np.ndarray, "chunk lead time"]]:
    """Read whole ECGs a few at a time."""
    for first in range(0, len(rows), size):
        yield reader.whole(rows[first : first + size])


MAKERS = {
    "prevalence": lambda job, maker: maker.prevalence(),
    "age_sex": lambda job, maker: maker.age_sex(),
    "random_encoder": random_encoder,
    "random_kernels": random_kernels,
    "wavelet": wavelet,
    "rhythm": rhythm,
}
