"""What it costs a subgroup to be rare in training: a permutation test by patient, never one on resamples."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from einthoven.bench.curve import panels
from einthoven.bench.spell import aligned, figure, gap, p_value
from einthoven.bench.table import Finished, Table
from einthoven.evaluate.permute import Permuted, permute_models


class Pair(NamedTuple):
    """The runs with the most and the least of a subgroup, seed by seed."""

    most: dict[int, Finished]
    least: dict[int, Finished]


def thinned_part(table: Table) -> Iterator[str]:
    """Yield a table of what the subgroups lose, and on whom it was measured."""
    rows = [row for panel in panels(table) if panel.group for row in rows_of(table, *panel)]
    if not rows:
        return
    yield "## Subgroups\n"
    yield (
        "The score with the least of a subgroup in training, less that with the most, on its own test "
        "records and on all others;\neach that of the mean answers over seeds. p: the answers of both "
        "swapped at random, patient by patient, 1,000 times.\n"
    )
    yield aligned(["subgroup", "network", "arm", "judged", "most", "least", "difference"], rows, left=4)


def rows_of(table: Table, task: str, recipe: str, metric: str) -> Iterator[list[str]]:
    """Yield a line for each arm that has finished both ends."""
    name, group = task.split("~")
    shares = sorted(
        float(other.partition("@")[2]) for other in table.grid.tasks if other.startswith(f"{task}@")
    )
    ends = [f"{task}@{share:g}" for share in (shares[-1], shares[0])]
    for arm in table.grid.arms:
        pair = Pair(*(table.runs(end, recipe, arm) for end in ends))
        if pair.most.keys() & pair.least.keys() and ends[0] != ends[1]:
            key = (task, recipe, arm, metric, *pair.most, *pair.least)
            if key not in table.tests:
                table.tests[key] = compared(table, ends[0], metric, pair)
            one, other, found = table.tests[key]
            where = [f"{group} ({name})", recipe, arm, metric.partition(" ")[2]]
            yield [*where, figure(one), figure(other), f"{gap(found.difference)} {p_value(found.p)}"]


def compared(table: Table, task: str, metric: str, pair: Pair) -> tuple[float, float, Permuted]:
    """Score the mean answers of both ends, and test the difference."""
    referee, seeds = table.referees[task], sorted(pair.most.keys() & pair.least.keys())
    a, b = (np.mean([referee.answers(runs[seed].run) for seed in seeds], axis=0) for runs in pair)
    truth, judge = referee.truths[metric], referee.metrics[metric]
    some = ~np.isnan(truth).all(1)
    if np.isnan(referee.score(metric, a).value):  # nobody, or nobody to tell apart
        return np.nan, np.nan, Permuted(np.nan, np.nan)
    found = permute_models(judge, truth[some], a[some], b[some], referee.first.patient[some])
    return float(judge(truth[some], a[some])), float(judge(truth[some], b[some])), found
