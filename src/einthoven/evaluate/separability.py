"""Label separability: how far apart the TRUE classes lie in an embedding. No clustering takes part.

Silhouette (Rousseeuw 1987, doi:10.1016/0377-0427(87)90125-7): how much nearer a record lies to its own class
than to the next, from -1 to 1. Davies-Bouldin (1979, doi:10.1109/TPAMI.1979.4766909): how wide classes are
against the gaps between their centres, 0 at best. Calinski-Harabasz (1974, doi:10.1080/03610927408827101):
the spread between centres over that within, which also grows with the number of records. Chance is what the
same vectors reach when patients swap classes. Where centres coincide there is no figure: NaN.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from einthoven.evaluate.agreement import Numbers, shuffled
from einthoven.evaluate.answers import Texts
from einthoven.evaluate.bootstrap import Interval
from einthoven.evaluate.cluster import classed
from einthoven.evaluate.jackknife import normal_interval, parts_of
from einthoven.evaluate.nearest import Distance, Points, placed

SCORES = ("silhouette", "davies_bouldin", "calinski_harabasz")
PARTS = 200  # left out in turn: every patient, or where there are more, so many groups of patients
CELLS = 10_000_000  # numbers in a table of labellings: some 80 MB at once

Labellings = Int[np.ndarray, "labelling record"]  # classes from 0; -1: takes no part


class Separated(NamedTuple):
    """How far apart classes lie: the scores in the order of SCORES, and what chance gives for each."""

    silhouette: Interval
    davies_bouldin: Interval
    calinski_harabasz: Interval
    chance: tuple[float, float, float]
    records: int


def separability(
    vectors: Points, classes: Numbers, patient: Texts, *, distance: Distance = "cosine", seed: int = 0
) -> Separated:
    """Score how well true classes are told apart by distance; records of class -1 take no part.

    With `distance` = "cosine" vectors are brought to length 1. The interval leaves out patients.
    """
    some, named = classed(classes)
    points, patient = placed(vectors[some], distance), patient[some]
    parts = parts_of(patient, PARTS, seed)
    count = int(parts.max()) + 1
    without = [np.where(parts == part, -1, named) for part in range(count)] if count > 1 else []
    mixed = shuffled(named, patient, seed)
    scores = scored(points, np.stack([named, *without, *mixed]))
    bounds = np.array([-1.0, 0.0, 0.0]), np.array([1.0, np.inf, np.inf])
    width, bouldin, harabasz = normal_interval(scores[0], scores[1 : 1 + len(without)], *bounds)
    known = [column[~np.isnan(column)] for column in scores[1 + len(without) :].T]
    chance = [float(column.mean()) if len(column) else np.nan for column in known]
    return Separated(width, bouldin, harabasz, (chance[0], chance[1], chance[2]), len(points))


def scored(points: Points, labellings: Labellings) -> Float[np.ndarray, "labelling score"]:
    """Return the three scores of each labelling of the same points."""
    around = [around_centres(points, named) for named in labellings]
    return np.column_stack([silhouettes(points, labellings), np.array(around)])


def around_centres(points: Points, named: Numbers) -> tuple[float, float]:
    """Return Davies-Bouldin and Calinski-Harabasz of one labelling."""
    some = named >= 0
    points, named = points[some], np.unique(named[some], return_inverse=True)[1]
    count = np.bincount(named)
    classes, records = len(count), len(points)
    if not 2 <= classes < records:
        return np.nan, np.nan
    centres = members(named[None], classes).T @ points / count[:, None]
    away = np.square(points - centres[named]).sum(1)
    gaps = np.sqrt(np.square(centres[:, None] - centres).sum(2))
    gaps[np.diag_indices(classes)] = np.inf
    radius = np.bincount(named, np.sqrt(away)) / count
    spread = np.square(centres - points.mean(0)).sum(1)
    least = 1e-12 * np.square(points).sum(1).mean()  # what rounding makes of nothing
    apart, wide = gaps.min() ** 2 > least, away.mean() > least
    bouldin = ((radius[:, None] + radius) / gaps).max(1).mean() if apart else np.nan
    odds = (count * spread).sum() / away.sum() * (records - classes) / (classes - 1) if wide else np.nan
    return float(bouldin), float(odds)


def silhouettes(points: Points, labellings: Labellings) -> Float[np.ndarray, " labelling"]:
    """Return the mean silhouette of each labelling; a record that is alone in its class counts 0."""
    classes = int(labellings.max()) + 1
    at_once = max(1, CELLS // (len(points) * classes))
    return np.concatenate(
        [some_silhouettes(points, labellings[i : i + at_once]) for i in range(0, len(labellings), at_once)]
    )


def some_silhouettes(points: Points, labellings: Labellings) -> Float[np.ndarray, " labelling"]:
    """Return mean silhouettes, reading each distance once for all labellings."""
    classes, total = int(labellings.max()) + 1, np.zeros(len(labellings))
    member = members(labellings, classes)
    size = member.sum(0).reshape(len(labellings), classes)
    block = max(1, CELLS // max(member.shape[1], len(points)))
    for rows, far in distances(points, block):
        sums = (far @ member).reshape(len(far), len(labellings), classes)
        total += np.where(labellings[:, rows].T >= 0, widths(sums, labellings[:, rows].T, size), 0).sum(0)
    total[(size > 0).sum(1) < 2] = np.nan
    return np.asarray(total / np.maximum((labellings >= 0).sum(1), 1))


def widths(
    sums: Float[np.ndarray, "row labelling cls"],
    own: Int[np.ndarray, "row labelling"],
    size: Float[np.ndarray, "labelling cls"],
) -> Float[np.ndarray, "row labelling"]:
    """Return the silhouette of some records from the sums of their distances to each class."""
    place = np.maximum(own, 0)[..., None]
    mates = size[np.arange(len(size)), place[..., 0]] - 1
    inside = np.take_along_axis(sums, place, 2)[..., 0] / np.maximum(mates, 1)
    means = sums / np.maximum(size, 1)
    means[:, size == 0] = np.inf
    np.put_along_axis(means, place, np.inf, 2)
    nearest = means.min(2)
    longer = np.maximum(inside, nearest)
    clear = (mates > 0) & (longer > 0) & np.isfinite(longer)
    return np.asarray(np.where(clear, (nearest - inside) / np.where(clear, longer, 1), 0.0))


def members(labellings: Labellings, classes: int) -> Float[np.ndarray, "record member"]:
    """Say as 0 and 1 who belongs to which class of which labelling, labelling by labelling."""
    belongs: Bool[np.ndarray, "record labelling cls"] = labellings.T[..., None] == np.arange(classes)
    return belongs.reshape(labellings.shape[1], -1).astype(np.float64)


def distances(points: Points, block: int) -> Iterator[tuple[slice, Float[np.ndarray, "block record"]]]:
    """Yield the Euclidean distances of some records at a time to all."""
    squares = np.square(points).sum(1)
    for first in range(0, len(points), block):
        rows = slice(first, min(first + block, len(points)))
        far = squares[rows, None] + squares - 2 * (points[rows] @ points.T)
        far[np.arange(rows.stop - first), np.arange(first, rows.stop)] = 0.0
        far[far < 1e-12 * np.maximum(squares[rows, None], squares)] = (
            0.0  # a copy, whatever rounding made of it
        )
        yield rows, np.sqrt(far)
