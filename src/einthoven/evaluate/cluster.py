"""Clustering: do the groups that k-means finds in embeddings agree with the labels?

NMI is the mutual information of cluster and class over the mean of their entropies; ARI the Rand index less
what chance gives. NMI is not 0 by chance: `chance` says what the same clusters reach when patients swap
classes; a patient's records stay together, for they share more than the class. The interval is a jackknife
over patients with the clusters as they are: what other patients would give. A bootstrap would not do: it
repeats records, and repeated records always agree with themselves, which lifts the NMI. `sd` is what other
starts of k-means would give; it is not part of the interval.
"""

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from einthoven.evaluate.answers import Texts
from einthoven.evaluate.bootstrap import Interval
from einthoven.evaluate.nearest import Distance, Points, label_sets, placed

Tables = Float[np.ndarray, "*table cls group"]
Numbers = Int[np.ndarray, " record"]
SHUFFLES = 100


class Clustered(NamedTuple):
    """How well clusters agree with classes; `sd` and `chance` are (NMI, ARI).

    Of a single patient nobody knows the chance nor the interval: NaN.
    """

    nmi: Interval
    ari: Interval
    chance: tuple[float, float]
    sd: tuple[float, float]
    clusters: int
    records: int


def classes_of(truth: Shaped[np.ndarray, "record label"]) -> Numbers:
    """Give each record one class: of several labels the only one it has, of one label 0 or 1; -1: none.

    >>> classes_of(np.array([[0, 1], [1, 1], [1, 0], [0, 0]])).tolist()
    [1, -1, 0, -1]
    """
    if truth.shape[1] == 1:
        return label_sets(truth)
    single = np.asarray(truth == 1).sum(1) == 1
    return np.where(single & ~np.isnan(truth.astype(float)).any(1), np.asarray(truth == 1).argmax(1), -1)


def cluster(
    vectors: Points,
    classes: Numbers,
    patient: Texts,
    *,
    distance: Distance = "cosine",
    clusters: int | None = None,
    starts: int = 10,
    seed: int = 0,
) -> Clustered:
    """Compare the best of several starts of k-means with classes; records of class -1 take no part.

    There are as many `clusters` as classes unless said otherwise. The best start is the one with the
    tightest clusters; the classes have no say in it.
    """
    some = classes >= 0
    present, named = np.unique(classes[some], return_inverse=True)
    if len(present) < 2:
        raise ValueError(
            f"Clusters are compared with classes, of which {int(some.sum())} records have {len(present)}."
        )
    points = placed(vectors[some], distance)
    count = min(clusters or len(present), len(points))
    found = [k_means(points, count, seed + start) for start in range(starts)]
    best = found[int(np.argmin([spread for _, spread in found]))][0]
    scores = np.array([agreement(contingency(named, groups)) for groups, _ in found])
    mixed = [agreement(contingency(other, best)) for other in shuffled(named, patient[some], seed)]
    chance, sd = np.mean(mixed, axis=0) if mixed else np.full(2, np.nan), scores.std(axis=0)
    nmi, ari = jackknife(named, best, patient[some])
    told = [(float(pair[0]), float(pair[1])) for pair in (chance, sd)]
    return Clustered(nmi, ari, told[0], told[1], count, len(points))


def shuffled(named: Numbers, patient: Texts, seed: int) -> list[Numbers]:
    """Give each patient's records the classes of another's, SHUFFLES times; of a single patient never.

    If that one has fewer records, their classes come round again; if more, the last are left out.
    """
    _, who, count = np.unique(patient.astype(str), return_inverse=True, return_counts=True)
    if len(count) < 2:
        return []
    order, first = np.argsort(who, kind="stable"), np.cumsum(count) - count
    place = np.empty(len(who), np.int64)  # of each record among its patient's
    place[order] = np.arange(len(who)) - np.repeat(first, count)
    mix = np.random.default_rng(seed)
    donors = (mix.permutation(len(count))[who] for _ in range(SHUFFLES))
    return [named[order[first[donor] + place % count[donor]]] for donor in donors]


def k_means(points: Points, clusters: int, seed: int) -> tuple[Numbers, float]:
    """Return the group of each record, and how far records lie from their centres."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # Fewer different points than clusters: some clusters stay empty, and the agreement says so.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = KMeans(clusters, n_init=1, random_state=seed).fit(points)
    return np.asarray(fitted.labels_, np.int64), float(fitted.inertia_)


def contingency(named: Numbers, groups: Numbers) -> Float[np.ndarray, "cls group"]:
    """Count the records of each class in each group."""
    table = np.zeros((int(named.max()) + 1, int(groups.max()) + 1))
    np.add.at(table, (named, groups), 1)
    return table


def agreement(table: Tables) -> Float[np.ndarray, "*table two"]:
    """Return NMI and ARI of tables of counts."""
    return np.stack([mutual_information(table), rand_index(table)], axis=-1)


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


def jackknife(named: Numbers, groups: Numbers, patient: Texts) -> tuple[Interval, Interval]:
    """Return NMI and ARI with normal intervals from leaving out each patient once; NaN of a single one."""
    whole = contingency(named, groups)
    value = agreement(whole)
    who = np.unique(patient.astype(str), return_inverse=True)[1]
    count, cells = int(who.max()) + 1, whole.size
    if count < 2:
        nmi, ari = (Interval(float(one), np.nan, np.nan) for one in value)
        return nmi, ari
    size = max(1, 4_000_000 // cells)
    without = []
    for first in range(0, count, size):
        here = (who >= first) & (who < first + size)
        own = np.zeros((min(size, count - first), *whole.shape))
        np.add.at(own, (who[here] - first, named[here], groups[here]), 1)
        without.append(agreement(whole - own))
    left = np.concatenate(without)
    error = np.sqrt((count - 1) / count * np.square(left - left.mean(0)).sum(0))
    low, high = np.maximum(value - 1.96 * error, [0, -1]), np.minimum(value + 1.96 * error, 1)
    nmi, ari = (Interval(float(value[i]), float(low[i]), float(high[i])) for i in range(2))
    return nmi, ari
