"""How well groups agree with classes: NMI, ARI and purity of a table of counts, with chance and intervals.

NMI is the mutual information of group and class over the mean of their entropies; ARI the Rand index less
what chance gives; purity the share of records whose class is the commonest of their group.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from einthoven.evaluate.answers import Texts
from einthoven.evaluate.bootstrap import Interval
from einthoven.evaluate.jackknife import normal_interval, numbered

Tables = Float[np.ndarray, "*table cls group"]
Numbers = Int[np.ndarray, " record"]
SHUFFLES = 100


def contingency(named: Numbers, groups: Numbers, count: int | None = None) -> Float[np.ndarray, "cls group"]:
    """Count the records of each class in each of `count` groups (None: those that are there)."""
    table = np.zeros((int(named.max()) + 1, count or int(groups.max()) + 1))
    np.add.at(table, (named, groups), 1)
    return table


def agreement(table: Tables) -> Float[np.ndarray, "*table three"]:
    """Return NMI, ARI and purity of tables of counts."""
    return np.stack([mutual_information(table), rand_index(table), purity(table)], axis=-1)


def mutual_information(table: Tables) -> Float[np.ndarray, "*table"]:
    """Return the mutual information of rows and columns over the mean of their entropies."""
    joint = entropy(table.reshape(*table.shape[:-2], -1))
    rows, columns = entropy(table.sum(-1)), entropy(table.sum(-2))
    shared, size = rows + columns - joint, (rows + columns) / 2
    return np.asarray(np.where(size > 1e-12, np.maximum(shared, 0) / np.where(size > 1e-12, size, 1), 1.0))


def entropy(counts: Float[np.ndarray, "*table cell"]) -> Float[np.ndarray, "*table"]:
    """Return the entropy (nats) of shares given by counts."""
    share = counts / counts.sum(-1, keepdims=True)
    return np.asarray(-(share * np.log(np.where(share > 0, share, 1.0))).sum(-1))


def rand_index(table: Tables) -> Float[np.ndarray, "*table"]:
    """Return Hubert and Arabie's adjusted Rand index (1985, doi:10.1007/BF01908075)."""

    def pairs(counts: Float[np.ndarray, "*table _"]) -> Float[np.ndarray, "*table"]:
        return np.asarray((counts * (counts - 1) / 2).sum(-1))

    total = table.sum((-2, -1))
    both = pairs(table.reshape(*table.shape[:-2], -1))
    rows, columns = pairs(table.sum(-1)), pairs(table.sum(-2))
    expected, most = rows * columns / np.maximum(total * (total - 1) / 2, 1), (rows + columns) / 2
    same = np.abs(most - expected) < 1e-12
    return np.asarray(np.where(same, 1.0, (both - expected) / np.where(same, 1.0, most - expected)))


def purity(table: Tables) -> Float[np.ndarray, "*table"]:
    """Return the share of records that are of the commonest class of their group."""
    return np.asarray(table.max(-2).sum(-1) / table.sum((-2, -1)))


def shuffled(named: Numbers, patient: Texts, seed: int) -> list[Numbers]:
    """Give each patient's records the classes of another's, SHUFFLES times; of a single patient never.

    If that one has fewer records, their classes come round again; if more, the last are left out.
    """
    who = numbered(patient)
    count = np.bincount(who)
    if len(count) < 2:
        return []
    order, first = np.argsort(who, kind="stable"), np.cumsum(count) - count
    place = np.empty(len(who), np.int64)  # of each record among its patient's
    place[order] = np.arange(len(who)) - np.repeat(first, count)
    mix = np.random.default_rng(seed)
    donors = (mix.permutation(len(count))[who] for _ in range(SHUFFLES))
    return [named[order[first[donor] + place % count[donor]]] for donor in donors]


def jackknife(
    named: Numbers,
    groups: Numbers,
    patient: Texts,
    score: Callable[[Tables], Float[np.ndarray, "*table figure"]] = agreement,
    count: int | None = None,
) -> list[Interval]:
    """Return what `score` says of the table of counts, with intervals from leaving out each patient once."""
    whole, who = contingency(named, groups, count), numbered(patient)
    people = int(who.max()) + 1
    value, size = score(whole), max(1, 4_000_000 // whole.size)
    without = [np.empty((0, len(value)))]
    for first in range(0, people if people > 1 else 0, size):
        here = (who >= first) & (who < first + size)
        own = np.zeros((min(size, people - first), *whole.shape))
        np.add.at(own, (who[here] - first, named[here], groups[here]), 1)
        without.append(score(whole - own))
    least = np.where(np.arange(len(value)) == 1, -1.0, 0.0)  # ARI alone can be negative
    return normal_interval(value, np.concatenate(without), least, np.ones(len(value)))
