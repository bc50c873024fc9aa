"""From the answers of finished runs to the lines of a table: means over seeds, paired gains, ensembles.

All runs of a task are scored on the same drawn patients, so any of them can be subtracted.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from einthoven.bench.grid import ENSEMBLE, MEAN, Cell, Grid
from einthoven.data.store import Store
from einthoven.evaluate.answers import Answers, read_answers
from einthoven.evaluate.bootstrap import Interval, evaluated, interval, resample_weights
from einthoven.evaluate.compare import matching
from einthoven.evaluate.scores import macro_auroc
from einthoven.results import read_results


class Score(NamedTuple):
    """Test macro AUROC of the records as they are, and of every resample of the patients."""

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
    recipe: str  # or "ensemble", or "mean": over recipes
    arm: str
    of: str  # "run", or "seeds": the mean over them
    seeds: tuple[int, ...]
    score: Interval | None
    sd: float  # over seeds, NaN for one
    gain: Gain | None
    parameters: int | None


class Finished(NamedTuple):
    """What a finished run is to the table."""

    run: Path
    score: Score
    results: Mapping[str, Any]
    environment: Mapping[str, Any]

    @property
    def seconds(self) -> float:
        """How long the run took, training and evaluation."""
        return float(sum(self.environment["seconds"].values()))


class Referee:
    """Scores the answers to one task: the same records in the same order, the same drawn patients."""

    def __init__(self, run: Path, resamples: int):
        self.run, self.first = run, read_answers(run)
        self.weights: Int[np.ndarray, "resample record"] = resample_weights(self.first.patient, resamples)

    def answers(self, run: Path) -> Float[np.ndarray, "record label"]:
        """Read a run's probabilities, in the order of the first run's records."""
        read: Answers = read_answers(run)
        rows = matching(self.first, read, self.run, run)
        return np.asarray(read.score[rows])

    def score(self, answers: Float[np.ndarray, "record label"]) -> Score:
        """Score probabilities."""
        value, draws = evaluated(macro_auroc, self.first.truth, answers, self.weights)
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
    ensembles: dict[tuple[Path, ...], Score] = field(default_factory=dict)

    def take(self, cell: Cell, run: Path) -> str:
        """Take in a finished run; return why it cannot be compared, or nothing."""
        try:
            referee = self.referees.get(cell.task) or Referee(run, self.resamples)
            score = referee.score(referee.answers(run))
            results = read_results(run)
        except ValueError as wrong:
            return " ".join(str(wrong).split())
        environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
        self.referees[cell.task] = referee
        self.finished[cell] = Finished(run, score, results, environment)
        return ""

    def runs(self, task: str, recipe: str, arm: str) -> dict[int, Finished]:
        """Return the finished runs of a network by seed."""
        mine = (task, recipe, arm)
        found = {c.seed: f for c, f in self.finished.items() if (c.task, c.recipe, c.arm) == mine}
        return dict(sorted(found.items()))

    def members(self, task: str) -> dict[int, tuple[str, ...]]:
        """Return who is in the ensemble of each seed: the recipes that have finished it in every arm."""
        seeds = sorted({cell.seed for cell in self.grid.cells if cell.task == task})
        told = {}
        for seed in seeds if self.grid.ensemble else ():
            ready = [
                recipe
                for recipe in self.grid.recipes(task)
                if all(seed in self.runs(task, recipe, arm) for arm in self.grid.arms)
            ]
            if len(ready) > 1:
                told[seed] = tuple(ready)
        return told

    def scores(self, task: str, recipe: str, arm: str) -> dict[int, Score]:
        """Return the scores of a network, or of the ensemble, by seed."""
        if recipe != ENSEMBLE:
            return {seed: run.score for seed, run in self.runs(task, recipe, arm).items()}
        return {
            seed: self.together(task, [self.runs(task, name, arm)[seed].run for name in names])
            for seed, names in self.members(task).items()
        }

    def together(self, task: str, runs: Sequence[Path]) -> Score:
        """Score the mean of some runs' probabilities."""
        key, referee = tuple(runs), self.referees[task]
        if key not in self.ensembles:
            total = reduce(np.add, (referee.answers(run) for run in runs))
            self.ensembles[key] = referee.score(total / len(runs))
        return self.ensembles[key]

    def rows(self, task: str) -> tuple[str, ...]:
        """Return the networks of a task, the ensemble last."""
        return self.grid.recipes(task) + ((ENSEMBLE,) if self.members(task) else ())

    def gap(self, task: str, recipe: str, arm: str) -> tuple[Score, tuple[int, ...]] | None:
        """Return an arm less the first one, over the seeds that both have finished."""
        base, mine = (self.scores(task, recipe, name) for name in (self.grid.arms[0], arm))
        seeds = tuple(sorted(base.keys() & mine.keys()))
        if arm == self.grid.arms[0] or not seeds:
            return None
        return mean([less(mine[seed], base[seed]) for seed in seeds]), seeds

    def lines(self) -> Iterator[Line]:
        """Yield the long table in the order of the grid."""
        for task in self.grid.tasks:
            for recipe in self.rows(task):
                for arm in self.grid.arms:
                    yield from self.network_lines(task, recipe, arm)
            for arm in self.grid.arms[1:]:
                gaps = [gap[0] for name in self.grid.recipes(task) if (gap := self.gap(task, name, arm))]
                if len(gaps) > 1:
                    gain = judged(mean(gaps), ())
                    yield Line(task, MEAN, arm, "recipes", (), None, np.nan, gain, None)

    def network_lines(self, task: str, recipe: str, arm: str) -> Iterator[Line]:
        """Yield the runs of a network, then their mean over seeds."""
        scores = self.scores(task, recipe, arm)
        if not scores:
            return
        runs = {} if recipe == ENSEMBLE else self.runs(task, recipe, arm)
        weights = next(iter(runs.values())).results["model"]["parameters"] if runs else None
        base = {} if arm == self.grid.arms[0] else self.scores(task, recipe, self.grid.arms[0])
        for seed, score in scores.items():
            gain = judged(less(score, base[seed]), (seed,)) if seed in base else None
            yield Line(task, recipe, arm, "run", (seed,), bounds(score), np.nan, gain, weights)
        several = list(scores.values())
        sd = float(np.std([s.value for s in several], ddof=1)) if len(several) > 1 else np.nan
        gap = self.gap(task, recipe, arm)
        gain = judged(*gap) if gap else None
        yield Line(task, recipe, arm, "seeds", tuple(scores), bounds(mean(several)), sd, gain, weights)


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
    """Return a difference with its interval and the two-sided p of no difference, as `paired` has it."""
    found = bounds(gap)
    drawn = gap.draws[~np.isnan(gap.draws)]
    # One is added to both counts, so that 1,000 resamples never claim p = 0.
    tail = (min((drawn > 0).sum(), (drawn < 0).sum()) + (drawn == 0).sum() + 1) / (len(drawn) + 1)
    p = np.nan if np.isnan(found.low) else min(2 * tail, 1.0)
    return Gain(found.value, found.low, found.high, float(p), seeds)


def records_per_second(run: Path) -> float:
    """Return how fast a run learned, from its log."""
    with open(run / "log.csv", encoding="utf-8", newline="") as file:
        lines = [(float(x["seconds"]), float(x["records_per_second"])) for x in csv.DictReader(file)]
    return sum(seconds * rate for seconds, rate in lines) / max(sum(seconds for seconds, _ in lines), 1e-9)
