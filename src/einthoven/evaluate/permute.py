"""Permutation tests by patient: could this difference be chance?

Under the null hypothesis the labels "model a" and "model b" (or "this group" and "the rest") may be swapped
within (or among) patients. p is the share of swaps that differ at least as much, two-sided, the observed
one counted in: (1 + count) / (1 + permutations), so never 0. Permutations of which the difference is
undefined (a group without a positive, say) are left out; where more than half are, p is NaN. Bootstrap
replicates are no data: a test on them measures how many there are.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from einthoven.evaluate.bootstrap import Score, Table
from einthoven.evaluate.metric import Metric
from einthoven.evaluate.metric import macro as average

Draw = Bool[np.ndarray, "permutation record"]
RANKED = ("auroc", "auprc", "fmax_labels")  # metrics that read only the order of scores
SCALED = ("pearson",)  # that read neither their unit nor their zero
SAME = 1e-12  # sums in another order differ in the last bits


class Permuted(NamedTuple):
    """A difference and its two-sided p: floats, or arrays where the metric gives arrays."""

    difference: Any
    p: Any


def permute_models(
    metric: Score,
    truth: Table,
    a: Table,
    b: Table,
    patient: Shaped[np.ndarray, " record"],
    *,
    permutations: int = 1000,
    seed: int = 0,
) -> Permuted:
    """Test metric(b) - metric(a) of two models on the same records, swapping their answers by patient.

    Where the metric reads only the order of scores (AUROC, AUPRC), each model's scores become ranks first;
    for Pearson's r, numbers of mean 0 and sd 1. That changes no figure, and without it two models of
    different calibration or unit could not be swapped.
    """
    a, b = comparable(metric, truth, a), comparable(metric, truth, b)
    who = np.unique(np.asarray(patient).astype(str), return_inverse=True)[1]
    chance = np.random.default_rng(seed)
    swap = chance.random((permutations + 1, int(who.max()) + 1))[:, who] < 0.5
    swap[0] = False  # as it was
    # Both models' answers lie on one pile, sorted once: a swap only says who owns which copy.
    pile, twice = np.concatenate([a, b]), np.concatenate([truth, truth])
    from_b, from_a = np.concatenate([swap, ~swap], axis=1), np.concatenate([~swap, swap], axis=1)
    return judged(measured(metric, twice, pile, from_b) - measured(metric, twice, pile, from_a))


class Group(NamedTuple):
    """Some of the records, by patient.

    `strata`, one value per patient, names what members and the rest differ in anyway: they then trade
    places only with patients of their stratum.
    """

    member: Bool[np.ndarray, " record"]
    patient: Shaped[np.ndarray, " record"]
    strata: Shaped[np.ndarray, " record"] | None = None


def permute_groups(
    metric: Score,
    truth: Table,
    score: Table,
    group: Group,
    *,
    macro: bool = False,
    permutations: int = 1000,
    seed: int = 0,
) -> Permuted:
    """Test metric(members) - metric(the rest), shuffling who is a member among the patients.

    The null hypothesis is that both groups are alike in all that the metric reads. `macro` averages the
    difference of a metric per label over the labels that both groups can score; a macro metric would
    average different labels.
    """
    member, strata, names = group.member, group.strata, np.asarray(group.patient).astype(str)
    _, one, who = np.unique(names, return_index=True, return_inverse=True)
    layer = np.zeros(len(names), int) if strata is None else np.unique(strata, return_inverse=True)[1]
    for value, what in ((member, "the group and the rest"), (layer, "two strata")):
        if (differ := value != value[one][who]).any():
            patient = str(names[int(differ.argmax())])
            raise ValueError(f"Patient {patient!r} stands in {what}: say one for all of a patient's records.")
    inside = shuffled(member[one], layer[one], permutations, seed)[:, who]
    gap = measured(metric, truth, score, inside) - measured(metric, truth, score, ~inside)
    return judged(average(gap) if macro else gap)


def shuffled(
    member: Bool[np.ndarray, " patient"], layer: Int[np.ndarray, " patient"], permutations: int, seed: int
) -> Bool[np.ndarray, "permutation patient"]:
    """Return who is a member, first as it was, then shuffled within each stratum."""
    chance = np.random.default_rng(seed)
    inside = np.empty((permutations + 1, len(member)), bool)
    inside[0] = member
    still = np.argsort(layer, kind="stable")
    for line in inside[1:]:
        line[np.lexsort((chance.random(len(member)), layer))] = member[still]
    return inside


def comparable(metric: Score, truth: Table, score: Table) -> Table:
    """Take from scores what the metric does not read."""
    name = metric.name.removeprefix("macro_") if isinstance(metric, Metric) else ""
    return ranks(truth, score) if name in RANKED else standard(truth, score) if name in SCALED else score


def standard(truth: Table, score: Table) -> Float[np.ndarray, "record *label"]:
    """Bring scores to mean 0 and sd 1 over the records whose truth is known; a constant to 0."""
    known = ~np.isnan(np.asarray(truth, float))
    count = np.maximum(known.sum(0), 1)
    centred = np.where(known, score - np.where(known, score, 0.0).sum(0) / count, 0.0)
    sd = np.sqrt(np.square(centred).sum(0) / count)
    return np.asarray(centred / np.where(sd > 0, sd, 1.0))


def ranks(truth: Table, score: Table) -> Float[np.ndarray, "record *label"]:
    """Return the rank of each score among the records whose truth is known; ties share theirs."""
    from scipy.stats import rankdata

    known = ~np.isnan(np.asarray(truth, float))
    filled = np.where(known, score, np.inf)
    return np.asarray(np.where(known, rankdata(filled, axis=0), 0.0))


def measured(
    metric: Score, truth: Table, score: Table, taken: Draw
) -> Float[np.ndarray, "permutation *result"]:
    """Return the metric of the records taken in each permutation."""
    if isinstance(metric, Metric):
        return metric.weighted(truth, score, taken.astype(np.int16))
    return np.array([metric(truth[rows], score[rows]) for rows in taken], float)


def judged(gaps: Float[np.ndarray, "permutation *result"]) -> Permuted:
    """Compare the first difference with those of the others that are defined."""
    seen, others = gaps[0], gaps[1:]
    defined = (~np.isnan(others)).sum(0)
    as_far = (np.abs(others) >= np.abs(seen) - SAME).sum(0)
    unknown = np.isnan(seen) | (2 * defined < len(others))
    p = np.where(unknown, np.nan, (1 + as_far) / (1 + defined))
    return Permuted(plain(seen), plain(p))


def plain(value: Any) -> Any:
    """Return a float for an array of no axes."""
    return float(value) if np.ndim(value) == 0 else np.asarray(value)
