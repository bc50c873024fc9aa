"""Retrieval: does an embedding bring records that belong together close to each other?

For each query the gallery is ranked by distance. Recall@k: is one of the k nearest relevant (Recall@1 is
precision@1)? With R records to find, R-precision is the share of relevant ones among the R nearest, and
MAP@R averages, over those R places, the precision at each relevant one (Musgrave et al. 2020,
arXiv:2003.08505). A query with nothing to find has no score. Ties count as the mean over all their orders.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from einthoven.evaluate.metric import Draws, Matrix, Metric
from einthoven.evaluate.nearest import Distance, Vectors, blocks, label_sets
from einthoven.evaluate.regression import mean

Relevance = Literal["identical", "shared", "patient"]
RECALLS = (1, 5, 10)


class Retrieved(NamedTuple):
    """The scores of every query; NaN where the gallery holds nothing to find."""

    recall: Float[np.ndarray, "query k"]
    map_at_r: Float[np.ndarray, " query"]
    r_precision: Float[np.ndarray, " query"]


def retrieve(
    query: Vectors,
    gallery: Vectors | None = None,
    *,
    relevant: Relevance = "identical",
    distance: Distance = "cosine",
    ks: Sequence[int] = RECALLS,
    same_patient: bool = False,
) -> Retrieved:
    """Look for each query's relevant records in the gallery; without one, among the other queries.

    Recalls stand in the order of `ks`.
    Relevant is what has the "identical" label set, a "shared" positive label, or the same "patient". A
    record with an unknown label is no query, and cannot be found, where labels say what is relevant. There a
    patient's own other records are hidden, too, unless `same_patient`: they are alike for other reasons.
    """
    from einthoven.evaluate.nearest_walks import find_walk

    shelf = query if gallery is None else gallery
    match = Match.of(query, shelf, relevant)
    itself = gallery is None
    found = np.empty((len(query.vector), len(ks) + 2))
    own = codes(query.patient, shelf.patient)

    def hidden(rows: slice) -> Bool[np.ndarray, "block gallery"]:
        unseen = np.broadcast_to(~match.right_known, (len(own[0][rows]), len(own[1]))).copy()
        if relevant != "patient" and not same_patient:
            unseen |= own[0][rows, None] == own[1]
        if itself:
            places = np.arange(len(own[1]))
            unseen |= places[rows, None] == places
        return unseen

    for block in blocks(query.vector, shelf.vector, distance, hidden):
        belongs, ties = match.belongs(block.rows), (block.tied, block.shelf_tied)
        find_walk(block.far, block.order, belongs, *ties, np.array(ks), found[block.rows])
    return Retrieved(found[:, :-2], found[:, -2], found[:, -1])


class Match(NamedTuple):
    """Which records of the gallery belong to which queries: by equal numbers, or by any shared label."""

    left: Int[np.ndarray, "query value"]
    right: Int[np.ndarray, "gallery value"]
    left_known: Bool[np.ndarray, " query"]
    right_known: Bool[np.ndarray, " gallery"]
    equal: bool

    @classmethod
    def of(cls, query: Vectors, gallery: Vectors, relevant: Relevance) -> "Match":
        """Number what is compared."""
        count = len(query.vector)
        if relevant == "patient":
            left, right = codes(query.patient, gallery.patient)
            return cls(left[:, None], right[:, None], left >= 0, right >= 0, equal=True)
        truth = np.concatenate([query.truth, gallery.truth]).astype(float)
        known = ~np.isnan(truth).any(1)
        if not np.isin(truth[known], (0, 1)).all():
            raise ValueError("Retrieval by label needs truth of 0 and 1; of numbers, retrieve by patient.")
        value = label_sets(truth)[:, None] if relevant == "identical" else np.nan_to_num(truth).astype(int)
        return cls(value[:count], value[count:], known[:count], known[count:], equal=relevant == "identical")

    def belongs(self, rows: slice) -> Bool[np.ndarray, "block gallery"]:
        """Say what is relevant to some queries."""
        if self.equal:
            match = self.left[rows] == self.right[:, 0]
        else:  # counted in floats, which multiply far faster than whole numbers
            match = self.left[rows].astype(np.float32) @ self.right.T.astype(np.float32) > 0
        return np.asarray(match & self.left_known[rows, None] & self.right_known)


def codes(
    left: Shaped[np.ndarray, " query"], right: Shaped[np.ndarray, " gallery"]
) -> tuple[Int[np.ndarray, " query"], Int[np.ndarray, " gallery"]]:
    """Number the patients of both sides."""
    number = np.unique(np.concatenate([left, right]).astype(str), return_inverse=True)[1]
    return number[: len(left)], number[len(left) :]


@Metric
def mean_score(truth: Matrix, score: Matrix, weights: Draws) -> Float[np.ndarray, "resample label"]:
    """Average scores that each record has by itself; a record whose `truth` is NaN has none."""
    return mean(np.where(np.isnan(truth), np.nan, score), weights)
