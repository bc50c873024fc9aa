"""From the answers of finished runs to the lines of a table: means over seeds, paired gains, ensembles.

All runs of a task are scored on the same drawn patients, so any of them can be subtracted.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from einthoven.bench.asked import ENSEMBLE, MEAN, Cell
from einthoven.bench.facts import Facts, read_facts, read_test
from einthoven.bench.grid import Grid
from einthoven.data.split import Thin, patients_named
from einthoven.data.store import Store
from einthoven.evaluate.answers import Answers
from einthoven.evaluate.bootstrap import Interval, evaluated, interval, resample_weights
from einthoven.evaluate.compare import matching, no_difference
from einthoven.evaluate.metric import Matrix, Metric, macro_of
from einthoven.evaluate.regression import mae, pearson, r2, rmse
from einthoven.evaluate.scores import macro_auroc
from einthoven.parts import call

# What a table holds of each kind of task; the first is the main one.
AREAS: Mapping[str, Metric] = {"auroc": macro_auroc}
ERRORS: Mapping[str, Metric] = {
    name: macro_of(one) for name, one in {"rmse": rmse, "mae": mae, "r2": r2, "pearson": pearson}.items()
}
METRICS: Mapping[str, Metric] = {**AREAS, **ERRORS}
# A name may go on: "auroc inside" is that of a subgroup, "auroc > 18" of numbers as scores of more than that.
SPELT = {"auroc": "macro AUROC", "rmse": "RMSE", "mae": "MAE", "r2": "R²", "pearson": "r"}

Truths = Callable[[Answers], dict[str, Matrix]]  # what each metric compares answers with


class Score(NamedTuple):
    """A metric on the test records as they are, and on every resample of the patients."""

    value: float
    draws: Float[np.ndarray, " resample"]


class Gain(NamedTuple):
    """How much an arm is above the first one: mean over the seeds that both have finished."""

    value: float
    low: float
    high: float
    p: float
    seeds: tuple[int, ...]


class Line(NamedTuple):
    """One line of the long table: a run, or the mean over a network's seeds."""

    task: str
    metric: str  # auroc; for a regression rmse, mae, r2, pearson
    recipe: str  # or "ensemble", or "mean": over recipes
    arm: str
    of: str  # "run", or "seeds": the mean over them
    seeds: tuple[int, ...]
    score: Interval | None
    sd: float  # over seeds, NaN for one
    gain: Gain | None
    parameters: int | None
    validation: float = np.nan  # the main metric on the validation split

    @property
    def column(self) -> str:
        """What the page calls a metric of a task."""
        return column(self.task, self.metric)


class Finished(NamedTuple):
    """What a finished run is to the table."""

    run: Path
    scores: Mapping[str, Score]
    facts: Facts

    @property
    def score(self) -> Score:
        """The main figure."""
        return next(iter(self.scores.values()))


class Members(NamedTuple):
    """An ensemble of a task: these recipes, once for each of these seeds."""

    recipes: tuple[str, ...]
    seeds: tuple[int, ...]


class Referee:
    """Scores the answers to one task: the same records in the same order, the same drawn patients."""

    def __init__(self, run: Path, resamples: int, *, truths: Truths):
        self.run, self.first = run, read_test(run)
        self.truths = truths(self.first)
        self.metrics = {name: METRICS[name.partition(" ")[0]] for name in self.truths}
        self.weights: Int[np.ndarray, "resample record"] = resample_weights(self.first.patient, resamples)

    def answers(self, run: Path) -> Float[np.ndarray, "record label"]:
        """Read a run's probabilities, in the order of the first run's records."""
        read = read_test(run)
        rows = matching(self.first, read, self.run, run)
        return np.asarray(read.score[rows])

    def scores(self, answers: Float[np.ndarray, "record label"]) -> dict[str, Score]:
        """Score answers by every metric of the task."""
        return {name: self.score(name, answers) for name in self.metrics}

    def score(self, name: str, answers: Float[np.ndarray, "record label"]) -> Score:
        """Score answers by one metric."""
        value, draws = evaluated(self.metrics[name], self.truths[name], answers, self.weights)
        return Score(float(value), draws)


@dataclass
class Table:
    """What is known of a grid so far."""

    grid: Grid
    store: Store
    command: str
    resamples: int = 1000
    finished: dict[Cell, Finished] = field(default_factory=dict)
    failed: dict[Cell, str] = field(default_factory=dict)
    referees: dict[str, Referee] = field(default_factory=dict)
    ensembles: dict[tuple[Path, ...], Mapping[str, Score]] = field(default_factory=dict)
    firsts: dict[Cell, float] = field(default_factory=dict)  # runs to start from, and their seconds
    tests: dict[tuple[Any, ...], Any] = field(default_factory=dict)  # slow ones, to make once

    def take(self, cell: Cell, run: Path) -> str:
        """Take in a finished run; return why it cannot be compared, or nothing."""
        try:
            facts = read_facts(run)
            referee = self.referees.get(cell.task) or self.referee(cell, run, facts.kind == "regression")
            scores = referee.scores(referee.answers(run))
        except ValueError as wrong:
            return " ".join(str(wrong).split())
        self.referees[cell.task] = referee
        self.finished[cell] = Finished(run, scores, facts)
        return ""

    def referee(self, cell: Cell, run: Path, regression: bool) -> Referee:
        """Make the judge of a task."""
        thin = cell.made.get("split", {}).get("thin")
        above = cell.made.get("evaluate", {}).get("above")

        def truths(answers: Answers) -> dict[str, Matrix]:
            found = {name: answers.truth for name in (ERRORS if regression else AREAS)}
            if above is not None and regression:
                found[f"auroc > {above:g}"] = positives(answers.truth, above)
            if thin is None:
                return found
            inside = members(self.store, call(Thin, thin, where="split.thin"), answers)
            return {name + where: part for name in found for where, part in parted(found[name], inside)}

        return Referee(run, self.resamples, truths=truths)

    @property
    def patients_named(self) -> bool:
        """Whether the store knows whose each record is; otherwise each counts as its own patient."""
        return patients_named(self.store.records)

    def metrics(self, task: str) -> tuple[str, ...]:
        """Return what a task is judged by: its main figure first; before any run is finished, areas."""
        return tuple(self.referees[task].metrics if task in self.referees else AREAS)

    @property
    def columns(self) -> dict[str, str]:
        """The columns of the page, and the task that each is of."""
        return {column(task, name): task for task in self.grid.tasks for name in self.metrics(task)}

    def facts(self, task: str) -> Facts | None:
        """Return what the first finished run of a task says: labels and records are those of all."""
        return next((run.facts for cell, run in self.finished.items() if cell.task == task), None)

    def runs(self, task: str, recipe: str, arm: str) -> dict[int, Finished]:
        """Return the finished runs of a network by seed."""
        mine = (task, recipe, arm)
        found = {c.seed: f for c, f in self.finished.items() if (c.task, c.recipe, c.arm) == mine}
        return dict(sorted(found.items()))

    def members(self, task: str) -> Members:
        """Return the largest group of recipes that share a seed in every arm, with all seeds they share.

        One group for the whole task: a mean over seeds is one of ensembles of the same recipes.
        """
        recipes = self.grid.recipes(task) if self.grid.ensemble else ()
        ready = {
            name: set.intersection(*(set(self.runs(task, name, arm)) for arm in self.grid.arms))
            for name in recipes
        }
        groups = []
        for seed in sorted(set().union(*ready.values())):
            names = tuple(name for name in recipes if seed in ready[name])
            shared = set.intersection(*(ready[name] for name in names))
            groups.append(Members(names, tuple(sorted(shared))))
        best = max(groups, key=lambda group: tuple(map(len, group)), default=Members((), ()))
        return best if len(best.recipes) > 1 else Members((), ())

    def scores(self, task: str, recipe: str, arm: str, metric: str) -> dict[int, Score]:
        """Return the scores of a network, or of the ensemble, by seed."""
        if recipe != ENSEMBLE:
            return {seed: run.scores[metric] for seed, run in self.runs(task, recipe, arm).items()}
        names, seeds = self.members(task)
        return {
            seed: self.together(task, [self.runs(task, name, arm)[seed].run for name in names])[metric]
            for seed in seeds
        }

    def together(self, task: str, runs: Sequence[Path]) -> Mapping[str, Score]:
        """Score the mean of some runs' answers."""
        key, referee = tuple(runs), self.referees[task]
        if key not in self.ensembles:
            total = reduce(np.add, (referee.answers(run) for run in runs))
            self.ensembles[key] = referee.scores(total / len(runs))
        return self.ensembles[key]

    def rows(self, task: str) -> tuple[str, ...]:
        """Return the networks of a task, the ensemble last."""
        return self.grid.recipes(task) + ((ENSEMBLE,) if self.members(task).recipes else ())

    def gap(self, task: str, recipe: str, arm: str, metric: str) -> tuple[Score, tuple[int, ...]] | None:
        """Return an arm less the first one, over the seeds that both have finished."""
        base, mine = (self.scores(task, recipe, name, metric) for name in (self.grid.arms[0], arm))
        seeds = tuple(sorted(base.keys() & mine.keys()))
        if arm == self.grid.arms[0] or not seeds:
            return None
        return mean([less(mine[seed], base[seed]) for seed in seeds]), seeds

    def lines(self) -> Iterator[Line]:
        """Yield the long table in the order of the grid."""
        for task in self.grid.tasks:
            for metric in self.metrics(task):
                yield from self.metric_lines(task, metric)

    def metric_lines(self, task: str, metric: str) -> Iterator[Line]:
        """Yield the lines of one metric of a task."""
        for recipe, arm in product(self.rows(task), self.grid.arms):
            yield from self.network_lines(task, recipe, arm, metric)
        names = self.grid.recipes(task)
        for arm in self.grid.arms[1:]:
            gaps = [gap[0] for name in names if (gap := self.gap(task, name, arm, metric))]
            if len(gaps) > 1:
                gain = judged(mean(gaps), ())
                yield Line(task, metric, MEAN, arm, "recipes", (), None, np.nan, gain, None)

    def network_lines(self, task: str, recipe: str, arm: str, metric: str) -> Iterator[Line]:
        """Yield the runs of a network, then their mean over seeds."""
        scores = self.scores(task, recipe, arm, metric)
        if not scores:
            return
        runs = {} if recipe == ENSEMBLE else self.runs(task, recipe, arm)
        weights = next(iter(runs.values())).facts.parameters if runs else None
        base = {} if arm == self.grid.arms[0] else self.scores(task, recipe, self.grid.arms[0], metric)
        main = metric == self.metrics(task)[0]
        chosen = {seed: run.facts.validation if main else np.nan for seed, run in runs.items()}
        for seed, score in scores.items():
            gain = judged(less(score, base[seed]), (seed,)) if seed in base else None
            seen = chosen.get(seed, np.nan)
            yield Line(task, metric, recipe, arm, "run", (seed,), bounds(score), np.nan, gain, weights, seen)
        several = list(scores.values())
        sd = float(np.std([s.value for s in several], ddof=1)) if len(several) > 1 else np.nan
        gap = self.gap(task, recipe, arm, metric)
        gain = judged(*gap) if gap else None
        whole = bounds(mean(several))
        seen = float(np.mean([*chosen.values()])) if chosen else np.nan
        yield Line(task, metric, recipe, arm, "seeds", tuple(scores), whole, sd, gain, weights, seen)


def members(store: Store, thin: Thin, answers: Answers) -> Bool[np.ndarray, " record"]:
    """Say which records are of a subgroup."""
    inside = dict(zip(store.records["record_id"].astype(str), thin.group(store.records), strict=True))
    return np.array([inside[str(record)] for record in np.asarray(answers.record)])


def parted(truth: Matrix, inside: Bool[np.ndarray, " record"]) -> Iterator[tuple[str, Matrix]]:
    """Yield the truth, that of a subgroup only, and that of all others: NaN takes no part."""
    yield "", truth
    yield " inside", np.where(inside[:, None], truth, np.nan)
    yield " outside", np.where(inside[:, None], np.nan, truth)


def positives(truth: Matrix, above: float) -> Matrix:
    """Say which numbers lie above one."""
    return np.where(np.isnan(truth), np.nan, truth.astype(np.float32) > np.float32(above))


def column(task: str, metric: str) -> str:
    """Name a metric of a task, as the page does: an area under the curve goes without saying."""
    name, _, where = metric.partition(" ")
    return " ".join([task, *([] if name == "auroc" else [SPELT[name]]), *([where] if where else [])])


def mean(scores: Sequence[Score]) -> Score:
    """Average scores, resample by resample."""
    return Score(float(np.mean([s.value for s in scores])), np.mean([s.draws for s in scores], axis=0))


def less(a: Score, b: Score) -> Score:
    """Subtract b from a, resample by resample: both drew the same patients."""
    return Score(a.value - b.value, a.draws - b.draws)


def bounds(score: Score) -> Interval:
    """Return the 95 % interval of a score."""
    return interval(np.asarray(score.value), score.draws)


def judged(gap: Score, seeds: tuple[int, ...]) -> Gain:
    """Return a difference with its interval and the two-sided p of no difference."""
    found = bounds(gap)
    p = np.nan if np.isnan(found.low) else float(no_difference(gap.draws))
    return Gain(found.value, found.low, found.high, p, seeds)
