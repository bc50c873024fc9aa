"""What embeddings are worth: a probe, neighbours, retrieval, clusters, separability, each as figures.

A probe and neighbours learn from train, choose on validation and are measured on test, like a model.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from einthoven.evaluate import regression
from einthoven.evaluate.bootstrap import Interval, evaluated, interval, resample_weights
from einthoven.evaluate.cluster import Way, classes_of, cluster
from einthoven.evaluate.compare import Better, paired
from einthoven.evaluate.figures import clean, figure, label_figures
from einthoven.evaluate.knn import Vote, average, knn, votes
from einthoven.evaluate.metric import Metric, macro_of
from einthoven.evaluate.nearest import Distance, Vectors
from einthoven.evaluate.permute import permute_models
from einthoven.evaluate.probe import logistic, ridge
from einthoven.evaluate.retrieve import RECALLS, Relevance, mean_score, retrieve
from einthoven.evaluate.scores import auroc, macro_auroc
from einthoven.evaluate.separability import SCORES, separability

JOBS = ("probe", "knn", "retrieve", "cluster", "separability")
WAYS: tuple[Way, ...] = ("k-means", "HDBSCAN")
TWENTY = 20  # neighbours that are asked whatever validation says, as others do
NUMBERS: tuple[tuple[str, Better], ...] = (
    ("rmse", "lower"),
    ("mae", "lower"),
    ("r2", "higher"),
    ("pearson", "higher"),
)
Row = dict[str, Any]


def splits_of(what: str) -> tuple[str, ...]:
    """Return the splits that a job looks at; clusters and separability are those of the test records."""
    return ("test",) if what in ("cluster", "separability") else ("train", "validation", "test")


class Folds(NamedTuple):
    """The embeddings of train, validation and test."""

    train: Vectors
    validation: Vectors
    test: Vectors


@dataclass(frozen=True, kw_only=True)
class How:
    """How embeddings are judged.

    `distance` is that of neighbours, clusters and classes, `weights` that of the votes of neighbours,
    `gallery` where labels are searched: in train, or among the other test records. `smallest` is the least
    size of a cluster of HDBSCAN (0: a hundredth of the records, but at least 5).
    """

    distance: Distance = "cosine"
    weights: Vote = "uniform"
    gallery: Literal["train", "test"] = "train"
    resamples: int = 1000
    permutations: int = 1000
    starts: int = 10
    smallest: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("resamples", "permutations", "starts", "smallest", "seed"):
            least = 0 if name in ("smallest", "seed") else 1
            if (given := getattr(self, name)) < least:
                raise ValueError(f"Option {name} of an evaluation is from {least} up; got {given}.")
        if self.smallest == 1:
            raise ValueError("Option smallest of an evaluation is from 2 up, or 0 to choose; got 1.")


class Finding(NamedTuple):
    """One figure of one job, with what it is made of, so that two embeddings can be compared in pairs."""

    job: str
    name: str
    metric: Metric
    truth: Float[np.ndarray, "record *label"]
    score: Float[np.ndarray, "record *label"]
    chance: float
    better: Better = "higher"


class Judged(NamedTuple):
    """Figures of one embedding: those to compare in pairs, those that stand alone, and what else is told."""

    findings: list[Finding]
    alone: list[Row]
    about: dict[str, Any]


class Judge:
    """Judges embeddings of one task on the same folds of records."""

    def __init__(self, kind: str, labels: tuple[str, ...], how: How):
        self.kind, self.labels, self.how = kind, labels, how

    def judge(self, what: str, folds: Folds) -> Judged:
        """Do one job."""
        found: Judged = getattr(self, what)(folds)
        return found

    def unfit(self, what: str, folds: Folds) -> str:
        """Say why a job cannot be done, or nothing."""
        if what == "retrieve" and self.kind == "regression" and not several(folds.test):
            return "numbers have no equal labels, and no test patient has two ECGs"
        if what in ("cluster", "separability") and self.kind == "regression":
            return "numbers are no classes; ask for a threshold, as in 'age > 60'"
        if what in ("cluster", "separability") and len(set(classes_of(folds.test.truth).tolist()) - {-1}) < 2:
            return "the test records with exactly one label all have the same"
        return ""

    def probe(self, folds: Folds) -> Judged:
        """Fit a linear probe."""
        train, validation, test = folds
        solve = ridge if self.kind == "regression" else logistic
        truths = [np.asarray(fold.truth, float) for fold in folds]
        score = solve(train.vector, truths[0], validation.vector, truths[1], test.vector)
        return self.answered("probe", folds, score, {})

    def knn(self, folds: Folds) -> Judged:
        """Ask the neighbours: as many as validation likes best, and twenty."""
        train, validation, test = folds
        how: Any = {"distance": self.how.distance, "weights": self.how.weights}
        said = knn(train, validation, test.vector, regression=self.kind == "regression", **how)
        best = self.answered("knn", folds, said.score, {"neighbours": said.neighbours})
        if len(train.vector) < TWENTY:
            return best
        score = votes(train, test.vector, [TWENTY], **how)[0]
        fixed = self.answered(f"knn k={TWENTY}", folds, score, {"neighbours": TWENTY})
        return Judged(best.findings + fixed.findings, [], best.about | fixed.about)

    def answered(
        self, job: str, folds: Folds, score: Float[np.ndarray, "record label"], about: Row
    ) -> Judged:
        """Score answers: macro AUROC and each label's, or what numbers are scored by."""
        truth = np.asarray(folds.test.truth, float)
        if self.kind == "regression":
            told = np.tile(average(np.asarray(folds.train.truth, float)), (len(truth), 1))
            named = [(name, macro_of(getattr(regression, name)), better) for name, better in NUMBERS]
            found = [
                Finding(job, name, metric, truth, score, float(metric(truth, told)), better)
                for name, metric, better in named
            ]
            return Judged(found, [], {job: about})
        weights = resample_weights(folds.test.patient, self.how.resamples, self.how.seed)
        per_label = label_figures(self.labels, *evaluated(auroc, truth, score, weights))
        found = [Finding(job, "auroc", macro_auroc, truth, score, 0.5)]
        return Judged(found, [], {job: about | {"per_label": per_label}})

    def retrieve(self, folds: Folds) -> Judged:
        """Look for records with the same labels, and for other records of the same patient."""
        test = folds.test
        shelf = folds.train if self.how.gallery == "train" else None
        kinds: list[tuple[Relevance, Vectors | None]] = []
        if self.kind != "regression":
            kinds.append(("identical", shelf))
        if self.kind == "labels" and any((np.asarray(fold.truth) == 1).sum(1).max() > 1 for fold in folds):
            kinds.append(("shared", shelf))
        kinds += [("patient", None)] if several(test) else []
        parts = [self.searched(test, gallery, relevant) for relevant, gallery in kinds]
        return Judged([f for part in parts for f in part.findings], [], {"retrieve": merged(parts)})

    def searched(self, query: Vectors, gallery: Vectors | None, relevant: Relevance) -> Judged:
        """Search by one notion of what is relevant."""
        distance = self.how.distance
        found = retrieve(query, gallery, relevant=relevant, distance=distance)
        chance = retrieve(
            query.collapsed(), gallery and gallery.collapsed(), relevant=relevant, distance=distance
        )
        known = np.where(np.isnan(found.map_at_r), np.nan, 0.0)
        named = {f"recall_at_{k}": (found.recall[:, i], chance.recall[:, i]) for i, k in enumerate(RECALLS)}
        named |= {key: (getattr(found, key), getattr(chance, key)) for key in ("r_precision", "map_at_r")}
        findings = [
            Finding(
                f"retrieve {relevant}",
                name,
                mean_score,
                known,
                np.nan_to_num(mine),
                mean_of(by_chance),
            )
            for name, (mine, by_chance) in named.items()
        ]
        queries = int((~np.isnan(found.map_at_r)).sum())
        about = {
            "gallery": "train" if gallery else "test",
            "queries": queries,
            "nothing_to_find": len(known) - queries,
        }
        return Judged(findings, [], {relevant: about})

    def cluster(self, folds: Folds) -> Judged:
        """Compare the clusters of the test records with their labels."""
        parts = [self.clustered(folds.test, way) for way in WAYS]
        about = {"cluster": {way: part.about for way, part in zip(WAYS, parts, strict=True)}}
        return Judged([], [row for part in parts for row in part.alone], about)

    def clustered(self, test: Vectors, way: Way) -> Judged:
        """Find clusters one way."""
        how = self.how
        kept: Any = {"distance": how.distance, "starts": how.starts, "smallest": how.smallest}
        found = cluster(test.vector, classes_of(test.truth), test.patient, way=way, seed=how.seed, **kept)
        job, named = f"cluster {way}", ("nmi", "ari", "purity")
        rows = [
            alone(job, name, getattr(found, name), chance)
            for name, chance in zip(named, found.chance, strict=True)
        ]
        about: Row = {"clusters": found.clusters, "records": found.records}
        if way == "HDBSCAN":
            return Judged([], [*rows, alone(job, "noise", found.noise, np.nan, "lower")], about)
        return Judged([], rows, about | {"sd_over_starts": dict(zip(named, found.sd, strict=True))})

    def separability(self, folds: Folds) -> Judged:
        """Say how far apart the test records of different labels lie."""
        test, how = folds.test, self.how
        classes = classes_of(test.truth)
        found = separability(test.vector, classes, test.patient, distance=how.distance, seed=how.seed)
        rows = [
            alone(
                "separability",
                name,
                getattr(found, name),
                chance,
                "lower" if name == "davies_bouldin" else "higher",
            )
            for name, chance in zip(SCORES, found.chance, strict=True)
        ]
        return Judged([], rows, {"separability": {"records": found.records}})


def alone(job: str, name: str, value: Interval, chance: float, better: Better = "higher") -> Row:
    """Return the row of a figure that is not paired with another embedding's."""
    return {"job": job, "figure": name, "better": better, "run": figure(value), "chance": clean(chance)}


def merged(parts: list[Judged]) -> Row:
    """Join what several searches tell."""
    return {key: value for part in parts for key, value in part.about.items()}


def several(test: Vectors) -> bool:
    """Say whether any patient has two records."""
    return len(np.unique(test.patient)) < len(test.patient)


def mean_of(values: Float[np.ndarray, " record"]) -> float:
    """Average what is known; NaN where nothing is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def rows(mine: Judged, other: Judged | None, patient: Any, how: How) -> list[Row]:
    """Return a row per figure: `run` with its interval, chance and, beside `other`, what is gained, and p."""
    weights = resample_weights(patient, how.resamples, how.seed)
    told: list[Row] = []
    for place, found in enumerate(mine.findings):
        value = figure(interval(*evaluated(found.metric, found.truth, found.score, weights)))
        row: Row = {"job": found.job, "figure": found.name, "better": found.better, "run": value}
        row["chance"] = clean(found.chance)
        told.append(row | (beside(found, other.findings[place], patient, how) if other else {}))
    for place, row in enumerate(mine.alone):
        told.append(row | ({"untrained": other.alone[place]["run"]} if other else {}))
    return told


def beside(mine: Finding, other: Finding, patient: Any, how: How) -> Row:
    """Compare a figure with another embedding's: `untrained`, the paired gain, p by permuting patients."""
    pair = (mine.metric, mine.truth, other.score, mine.score, patient)
    found = paired(*pair, better=mine.better, resamples=how.resamples, seed=how.seed)
    weights = resample_weights(patient, how.resamples, how.seed)
    value = figure(interval(*evaluated(mine.metric, other.truth, other.score, weights)))
    p = permute_models(*pair, permutations=how.permutations, seed=how.seed).p
    return {"untrained": value, "gain": figure(found.difference), "p": clean(p)}
