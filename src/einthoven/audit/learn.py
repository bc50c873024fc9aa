"""Learn a task from a table of anything but ECGs: one part fits, one chooses, one is scored."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from einthoven.audit.material import FIT, SCORE, Material, Table
from einthoven.data.task import Kind
from einthoven.evaluate.bootstrap import bootstrap, evaluated, resample_weights
from einthoven.evaluate.figures import Number, clean, figure, label_figures, macro_figure
from einthoven.evaluate.metric import Metric, macro_of
from einthoven.evaluate.probe import logistic, ridge
from einthoven.evaluate.regression import r2, rmse
from einthoven.evaluate.scores import auroc, macro_auroc
from einthoven.language.ngrams import matrix

Scores = Float[np.ndarray, "scored label"]
Truth = Float[np.ndarray, "_ label"]
Entry = dict[str, Any]

DIM = 512  # of hashed n-grams; 1,024 and more told validation no more, and take their time
STRENGTHS = (1e-4, 1e-3, 1e-2)
SELDOM = 3  # training texts: what fewer have is left out
BINS = 8
MARK = "_"  # stands where something was masked; no n-gram contains it, but it can be counted


def from_text(texts: Sequence[Sequence[str]], truths: Sequence[Truth], kind: Kind) -> Scores:
    """Answer from the words of the third list of texts; the first fits, the second chooses the strength."""
    tables = [ngrams(some) for some in texts]
    usual = (tables[0] != 0).sum(0) >= SELDOM
    return solved([table[:, usual] for table in tables], truths, kind)


def solved(tables: Sequence[Float[np.ndarray, "_ feature"]], truths: Sequence[Truth], kind: Kind) -> Scores:
    """Return probabilities (or numbers) for the third table, by logistic regression (or ridge)."""
    (train, chooses, scored), (train_y, chooses_y) = tables, truths[:2]
    if kind == "regression":
        return ridge(train, train_y, chooses, chooses_y, scored)
    return logistic(train, train_y, chooses, chooses_y, scored, strengths=STRENGTHS)


def answers(table: Table, truth: Truth, part: Int[np.ndarray, " record"], kind: Kind) -> Scores:
    """Do so for a table whose records stand in three parts."""
    x, y = ([whole[part == number] for number in range(3)] for whole in (table, truth))
    return solved(x, y, kind)


def of_text(material: Material) -> Scores:
    """Answer from the texts alone."""
    texts = np.array(material.texts, object)
    parts = [material.part == number for number in range(3)]
    return from_text([texts[p].tolist() for p in parts], [material.truth[p] for p in parts], material.kind)


def ngrams(texts: Sequence[str]) -> Table:
    """Return hashed n-grams of texts, how often each has a place that was masked, and whether it is there.

    Who has a report at all may tell the label, and a model that does without one sees that it is missing.
    """
    beside = np.array([(np.log1p(text.count(MARK)), bool(text)) for text in texts]).reshape(len(texts), 2)
    return np.hstack([matrix(texts, DIM, 3, 5).toarray(), beside]).astype(np.float32)


def binned(values: Float[np.ndarray, "record measure"], part: Int[np.ndarray, " record"]) -> Table:
    """Cut each measure at the octiles of the part that fits: a column of 0 and 1 per bin, one for NaN."""
    columns = []
    for measure in values.T:
        taught = measure[(part == FIT) & ~np.isnan(measure)]
        edges = np.unique(np.quantile(taught, np.arange(1, BINS) / BINS)) if len(taught) else np.zeros(0)
        place = np.searchsorted(edges, measure, side="right")
        columns.append(np.eye(len(edges) + 2)[np.where(np.isnan(measure), len(edges) + 1, place)])
    return np.concatenate(columns, axis=1)


def macro_score(kind: Kind) -> Metric:
    """Return what a verdict looks at: macro AUROC, or the mean R² of a regression."""
    return macro_of(r2) if kind == "regression" else macro_auroc


def entry(material: Material, name: str, what: str, score: Scores) -> Entry:
    """Judge the answers: every figure is {value, low, high}, from a bootstrap that draws patients."""
    scored = material.part == SCORE
    truth, patient = material.truth[scored], material.patient[scored]
    told: Entry = {"name": name, "what": what}
    if material.kind == "regression":
        for metric in (rmse, r2):
            told[metric.name] = figure(bootstrap(macro_of(metric), truth, score, patient, seed=material.seed))
        return told
    value, draws = evaluated(auroc, truth, score, resample_weights(patient, seed=material.seed))
    return told | {
        "auroc": macro_figure(value, draws),
        "per_label": label_figures(material.labels, value, draws),
    }


def mean_row(material: Material) -> Entry:
    """Answer with the training mean: what numbers are compared with."""
    mean = np.nanmean(material.truth[material.part == FIT], axis=0)
    score = np.tile(mean, (int((material.part == SCORE).sum()), 1))
    return entry(material, "mean", "the training mean for everybody", score)


def shares(
    flags: Float[np.ndarray, " record"], material: Material, names: tuple[str, ...]
) -> dict[str, Number]:
    """Return the share of each part that is flagged; None of an empty one."""
    parts = (flags[material.part == number] for number in range(3))
    return {
        name: clean(float(part.mean())) if len(part) else None
        for name, part in zip(names, parts, strict=True)
    }
