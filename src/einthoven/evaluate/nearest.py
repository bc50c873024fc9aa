"""Who lies near whom among embeddings: distances block by block, and which of them are ties.

Ties are shared out, never broken by the order of the records: a network that collapsed onto one point
must score as chance does. Two distances tie where float32 embeddings of that length could not tell them
apart; one record that lies far out makes no others tie.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from einthoven.evaluate.answers import Texts

Distance = Literal["cosine", "euclidean"]
Points = Float[np.ndarray, "record dim"]
Rows = Int[np.ndarray, " row"] | Bool[np.ndarray, " record"]
ENTRIES = 2_000_000  # of a block of distances: no more than some 50 MB at once
TIED = 1e-12  # squared distances nearer than this share of the squared vectors' longest are the same


@dataclass(frozen=True)
class Vectors:
    """Records as vectors, with what is known of them: truth is 0, 1 or NaN per label, or numbers."""

    vector: Float[np.ndarray, "record dim"]
    truth: Shaped[np.ndarray, "record label"]
    patient: Texts

    def take(self, rows: Rows) -> "Vectors":
        """Pick records."""
        return Vectors(self.vector[rows], self.truth[rows], self.patient[rows])

    def collapsed(self) -> "Vectors":
        """Put every record at one point: what ranks such vectors, ranks by chance."""
        return replace(self, vector=np.zeros((len(self.vector), 1)))


class Block(NamedTuple):
    """Some queries against the whole gallery; what is hidden lies infinitely far away."""

    rows: slice  # of the queries
    far: Float[np.ndarray, "block gallery"]  # squared distance; cosine: 1 - cosine
    order: Int[np.ndarray, "block place"]  # into the gallery, nearest first
    tied: Float[np.ndarray, " block"]  # distances of each query that differ by no more are ties,
    shelf_tied: Float[np.ndarray, " gallery"]  # and distances to each of the gallery: the larger one holds


def blocks(
    query: Float[np.ndarray, "query dim"],
    gallery: Float[np.ndarray, "gallery dim"],
    distance: Distance,
    hidden: Callable[[slice], Bool[np.ndarray, "block gallery"] | None] = lambda rows: None,
    *,
    top: int | None = None,
) -> Iterator[Block]:
    """Rank the gallery for each query, a few queries at a time; `hidden` says what they must not find.

    With `top` the ranking may end there, if no tie goes on beyond it.
    """
    left, right = placed(query, distance), placed(gallery, distance)
    squares = [np.square(side).sum(1) for side in (left, right)]
    tied = [TIED * (np.ones(len(side)) if distance == "cosine" else side) for side in squares]
    size = max(1, ENTRIES // max(len(right), 1))
    for first in range(0, len(left), size):
        rows = slice(first, first + size)
        inner = left[rows] @ right.T
        far = 1 - inner if distance == "cosine" else squares[0][rows, None] + squares[1] - 2 * inner
        far[far <= np.maximum(tied[0][rows, None], tied[1])] = 0.0  # a copy, whatever rounding made of it
        if (unseen := hidden(rows)) is not None:
            far[unseen] = np.inf
        order = ranking(far, tied[0][rows], tied[1], top or far.shape[1])
        yield Block(rows, far, order, tied[0][rows], tied[1])


def ranking(
    far: Float[np.ndarray, "block gallery"],
    tied: Float[np.ndarray, " block"],
    shelf_tied: Float[np.ndarray, " gallery"],
    top: int,
) -> Int[np.ndarray, "block place"]:
    """Sort each line, or only its `top` smallest."""
    if top < far.shape[1]:
        some = np.argpartition(far, top, axis=1)[:, : top + 1]
        near = np.take_along_axis(far, some, axis=1)
        order = np.argsort(near, axis=1)
        order = np.take_along_axis(some, order, axis=1)
        last = order[:, top - 1 :]
        rise = np.diff(np.take_along_axis(far, last, axis=1))[:, 0]
        if (rise > np.maximum(tied, shelf_tied[last].max(1))).all():
            return order[:, :top]
    return np.argsort(far, axis=1)


def placed(vectors: Points, distance: Distance) -> Points:
    """Return vectors in float64, for the cosine at unit length; one of length 0 stays there."""
    if not np.isfinite(vectors).all():
        bad = int(np.argmin(np.isfinite(vectors).all(1)))
        raise ValueError(f"The embedding of record {bad} holds NaN or infinity: did the training diverge?")
    points = np.asarray(vectors, np.float64)
    if distance != "cosine":
        return points
    length = np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(points / np.where(length > 0, length, 1.0))


def label_sets(truth: Shaped[np.ndarray, "record label"]) -> Int[np.ndarray, " record"]:
    """Number the different rows of truth, so that equal numbers mean equal label sets; -1 where unknown.

    >>> label_sets(np.array([[0, 1], [1, 1], [0, 1], [np.nan, 1]])).tolist()
    [0, 1, 0, -1]
    """
    known = ~np.isnan(np.asarray(truth, float)).any(1)
    number = np.full(len(truth), -1)
    number[known] = np.unique(truth[known], axis=0, return_inverse=True)[1].reshape(-1)
    return number
