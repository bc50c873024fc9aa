"""Clustering: do the groups that k-means or HDBSCAN find in embeddings agree with the labels?

NMI and purity are not 0 by chance: `chance` says what the same clusters reach when patients swap classes; a
patient's records stay together, for they share more than the class. The interval is a jackknife over patients
with the clusters as they are: what other patients would give. `sd` is what other starts of k-means would
give; it is not part of the interval. HDBSCAN leaves records out as noise: all of these count as one cluster
more, so that who calls everything noise agrees with nothing, and the share of noise stands beside the scores.
"""

import warnings
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from einthoven.evaluate.agreement import Numbers, Tables, agreement, contingency, jackknife, shuffled
from einthoven.evaluate.answers import Texts
from einthoven.evaluate.bootstrap import Interval
from einthoven.evaluate.nearest import Distance, Points, label_sets, placed

Way = Literal["k-means", "HDBSCAN"]
Three = tuple[float, float, float]


class Grouped(NamedTuple):
    """The group of each record from 0, how many there are (the last may be noise), and scores of starts."""

    group: Numbers
    groups: int
    sd: Three


class Clustered(NamedTuple):
    """How well clusters agree with classes; `sd` and `chance` are (NMI, ARI, purity).

    Of a single patient nobody knows the chance nor the interval: NaN. `noise` is the share of records in no
    cluster; `clusters` does not count them. HDBSCAN has no starts: its `sd` is 0.
    """

    nmi: Interval
    ari: Interval
    purity: Interval
    noise: Interval
    chance: Three
    sd: Three
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


def classed(classes: Numbers) -> tuple[Bool[np.ndarray, " record"], Int[np.ndarray, " classed"]]:
    """Say which records have a class, and number the classes of these from 0; refuse a single one."""
    some = classes >= 0
    present, named = np.unique(classes[some], return_inverse=True)
    if len(present) < 2:
        raise ValueError(
            f"Embeddings are compared with classes, of which {int(some.sum())} records have {len(present)}."
        )
    return some, named


def cluster(
    vectors: Points,
    classes: Numbers,
    patient: Texts,
    *,
    way: Way = "k-means",
    distance: Distance = "cosine",
    starts: int = 10,
    smallest: int = 0,
    seed: int = 0,
) -> Clustered:
    """Compare clusters with classes; records of class -1 take no part, and the classes have no say in them.

    k-means makes as many clusters as there are classes, the tightest of several `starts`. HDBSCAN finds how
    many there are, each of at least `smallest` records (0: a hundredth of all, but at least 5).
    """
    some, named = classed(classes)
    points = placed(vectors[some], distance)
    if way == "k-means":
        found = several_starts(points, named, min(int(named.max()) + 1, len(points)), starts, seed)
    else:
        found = hdbscan(points, smallest or max(5, len(points) // 100))
    noisy = way == "HDBSCAN"
    mixed = [
        agreement(contingency(other, found.group, found.groups))
        for other in shuffled(named, patient[some], seed)
    ]
    chance = np.mean(mixed, axis=0) if mixed else np.full(3, np.nan)

    def scored(table: Tables) -> Float[np.ndarray, "*table four"]:
        left = table[..., -1].sum(-1) / table.sum((-2, -1)) * noisy
        return np.concatenate([agreement(table), left[..., None]], axis=-1)

    nmi, ari, purity, noise = jackknife(named, found.group, patient[some], scored, found.groups)
    return Clustered(nmi, ari, purity, noise, three(chance), found.sd, found.groups - noisy, len(points))


def several_starts(points: Points, named: Numbers, clusters: int, starts: int, seed: int) -> Grouped:
    """Return the tightest of several k-means, and how the agreement of the starts with classes spreads."""
    found = [k_means(points, clusters, seed + start) for start in range(starts)]
    best = found[int(np.argmin([spread for _, spread in found]))][0]
    scores = np.array([agreement(contingency(named, groups)) for groups, _ in found])
    return Grouped(best, clusters, three(scores.std(axis=0)))


def k_means(points: Points, clusters: int, seed: int) -> tuple[Numbers, float]:
    """Return the group of each record, and how far records lie from their centres."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # Fewer different points than clusters: some clusters stay empty, and the agreement says so.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = KMeans(clusters, n_init=1, random_state=seed).fit(points)
    return np.asarray(fitted.labels_, np.int64), float(fitted.inertia_)


def hdbscan(points: Points, smallest: int) -> Grouped:
    """Return the clusters of HDBSCAN (Campello et al. 2013, doi:10.1007/978-3-642-37456-2_14), noise last."""
    from sklearn.cluster import HDBSCAN

    if len(points) < smallest or not np.ptp(points, axis=0).any():  # too few, or all at one point
        return Grouped(np.zeros(len(points), np.int64), 1, (0.0, 0.0, 0.0))
    found = np.asarray(HDBSCAN(min_cluster_size=smallest, copy=True).fit(points).labels_, np.int64)
    clusters = int(found.max()) + 1
    return Grouped(np.where(found < 0, clusters, found), clusters + 1, (0.0, 0.0, 0.0))


def three(values: Float[np.ndarray, "three"]) -> Three:
    """Return three plain numbers."""
    return float(values[0]), float(values[1]), float(values[2])
