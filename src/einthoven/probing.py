"""Fit a linear probe or neighbours on features as they are: exactly, not by many epochs of descent.

With solver "probe-first" the probe is where fine-tuning begins: a random head would spoil the features
before it has learned to read them. Kumar et al. 2022, arXiv:2202.10054.
"""

import time

import numpy as np
import torch
from jaxtyping import Float, Int

from einthoven.assemble import Job
from einthoven.data.loader import Progress, Windows, counted, unheard
from einthoven.evaluate.embed import evaluating, numbers, pooled
from einthoven.evaluate.knn import NEIGHBOURS, average, choice, votes
from einthoven.evaluate.nearest import Vectors
from einthoven.evaluate.probe import best_logistic, best_ridge, mean_and_scale
from einthoven.heads.neighbours import Neighbours
from einthoven.heads.probe import Probe


def fit_probe(job: Job, progress: Progress = unheard) -> dict[str, float]:
    """Fit head `probe` or `neighbours` on the features of the training records, and return a line of log.

    Validation chooses the penalty, or how many neighbours vote, by what its records are judged by: windows
    pooled as in use. Augmentation, optimiser and schedule take no part.
    """
    began, head = time.perf_counter(), only_probe(job)
    seen = job.plan.windows(counted(progress, len(job.plan.split.train) + len(job.plan.split.validation)))
    if isinstance(head, Probe):
        fit_linear(job, head, seen)
    else:
        fill_shelf(job, head, seen)
    seconds = time.perf_counter() - began
    rate = len(job.plan.split.train) / seconds
    return {"epoch": 0, "step": 0, "seconds": seconds, "records_per_second": rate, "waiting": 0.0}


def fit_linear(job: Job, probe: Probe, seen: Windows) -> None:
    """Fit logistic regression (one label against all else), or ridge for a regression, on windows."""
    planned = job.plan
    train_x, train = read(job, seen, planned.split.train)
    validation_x, validation = read(job, seen, planned.split.validation)
    truth = planned.task.scaled(planned.truth).astype(np.float64)
    place = np.searchsorted(planned.split.validation, validation)
    judged = truth[planned.split.validation]

    def records(scores: Float[np.ndarray, "window label"]) -> Float[np.ndarray, "record label"]:
        return pooled([(place, scores)], len(judged), planned.pool)

    mean, scale = mean_and_scale(train_x)
    train_x, validation_x = (train_x - mean) * scale, (validation_x - mean) * scale
    if planned.task.kind == "regression":
        slope, level = best_ridge(train_x, truth[train, 0], validation_x, judged[:, 0], pool=records)
        weights = np.append(slope, level)[:, None]
    else:
        weights = best_logistic(train_x, truth[train], validation_x, judged, pool=records)
    probe.take(*(torch.from_numpy(np.asarray(x)) for x in (mean, scale, weights[:-1], weights[-1])))


def fill_shelf(job: Job, head: Neighbours, seen: Windows) -> None:
    """Put the training records, each the mean of its windows, where the windows of others look for them."""
    planned, kind = job.plan, job.plan.task.kind
    rows, judged_rows = planned.split.train, planned.split.validation
    train_x, train = read(job, seen, rows)
    query, validation = read(job, seen, judged_rows)
    shelf = pooled([(np.searchsorted(rows, train), train_x)], len(rows), "mean").astype(np.float32)
    truth = planned.task.scaled(planned.truth).astype(np.float64)
    ks = [k for k in NEIGHBOURS if k <= len(rows)]
    place = np.searchsorted(judged_rows, validation)
    said = votes(Vectors(shelf, truth[rows], rows.astype(str)), query, ks)
    tried = np.stack([pooled([(place, one)], len(judged_rows), planned.pool) for one in said])
    best = ks[choice(truth[judged_rows], tried, regression=kind == "regression")]
    level = average(truth[rows])
    if kind != "regression":
        level = np.clip(level, 1e-4, 1 - 1e-4)
        level = np.log(level) if kind == "multiclass" else np.log(level / (1 - level))
    head.take(*(torch.from_numpy(x) for x in (shelf, truth[rows], level)), neighbours=best, kind=kind)


def only_probe(job: Job) -> Probe | Neighbours:
    """Return the head to fit; refuse what else would learn, unless all learn afterwards."""
    probes = [part for part in job.method.modules() if isinstance(part, Probe | Neighbours)]
    learns = {id(weight) for weight in job.method.parameters() if weight.requires_grad}
    own = {id(weight) for probe in probes for weight in probe.parameters()}
    if job.learner.schedule.solver == "probe-first":
        if len(probes) != 1 or not isinstance(probes[0], Probe) or not own < learns:
            raise ValueError(
                "[train] solver = 'probe-first' fits the head 'probe', then all learn from there: say "
                "[head] name = 'probe', and freeze neither it nor the whole backbone."
            )
    elif len(probes) != 1 or learns != own:
        raise ValueError(
            "[train] solver = 'probe' fits the head 'probe' or 'neighbours' alone: say [head] name = 'probe' "
            "and [backbone] freeze = true, and leave out what else learns."
        )
    return probes[0]


def read(
    job: Job, seen: Windows, rows: Int[np.ndarray, " record"]
) -> tuple[Float[np.ndarray, "window feature"], Int[np.ndarray, " window"]]:
    """Return what the probe reads of every window of some records, and whose each window is."""
    answer = evaluating(job.method, "fp32")  # as it will answer
    features, owners = [], []
    for place, batch in seen.batches(rows):
        features.append(numbers(answer(batch)["pooled"]).astype(np.float32))
        owners.append(rows[place])
    return np.concatenate(features), np.concatenate(owners)
