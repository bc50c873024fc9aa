"""Nearest-neighbour answers: what the training records around an embedding say, with no fitting at all.

How many neighbours vote is chosen on validation. Records tied at the last place share what is left of it.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from einthoven.evaluate.metric import macro_of
from einthoven.evaluate.nearest import Distance, Vectors, blocks
from einthoven.evaluate.regression import rmse
from einthoven.evaluate.scores import macro_auroc

Vote = Literal["uniform", "distance"]
NEIGHBOURS = (1, 3, 5, 10, 20, 50, 100)


class Answered(NamedTuple):
    """The answers for the test records, and how many neighbours gave them."""

    score: Float[np.ndarray, "record label"]
    neighbours: int


def knn(
    train: Vectors,
    validation: Vectors,
    test_x: Float[np.ndarray, "test dim"],
    *,
    regression: bool = False,
    neighbours: Sequence[int] = NEIGHBOURS,
    distance: Distance = "cosine",
    weights: Vote = "uniform",
) -> Answered:
    """Answer for the test records: the share of positive neighbours, or (`regression`) their mean.

    Validation's macro AUROC (RMSE) chooses one number of `neighbours` for all labels, the smaller of
    equals. NaN truth has no vote; where no neighbour knows, the training mean answers. With `weights` =
    "distance" a vote counts 1 / distance, and exact copies outvote all others.
    """
    ks = sorted({k for k in neighbours if 0 < k <= len(train.vector)})
    if not ks:
        raise ValueError(f"{len(train.vector)} training records have no {min(neighbours)} nearest ones.")
    how: Any = {"distance": distance, "weights": weights}
    best = ks[choice(validation.truth, votes(train, validation.vector, ks, **how), regression=regression)]
    return Answered(votes(train, test_x, [best], **how)[0], best)


def votes(
    train: Vectors,
    query: Float[np.ndarray, "query dim"],
    neighbours: Sequence[int],
    *,
    distance: Distance = "cosine",
    weights: Vote = "uniform",
) -> Float[np.ndarray, "k query label"]:
    """Return the weighted mean truth of the k nearest training records, for each (rising) k."""
    from einthoven.evaluate.nearest_walks import vote_walk

    truth = np.asarray(train.truth, float)
    power = 0.0 if weights == "uniform" else -1.0 if distance == "cosine" else -0.5
    ks, out = np.array(neighbours), np.empty((len(neighbours), len(query), truth.shape[1]))
    for block in blocks(query, train.vector, distance, top=int(ks[-1])):
        ties = (block.tied, block.shelf_tied)
        vote_walk(block.far, block.order, truth, *ties, power, ks, out[:, block.rows])
    return np.where(np.isnan(out), average(truth), out)


def average(truth: Float[np.ndarray, "train label"]) -> Float[np.ndarray, " label"]:
    """Return the mean of what is known of each label; 0 where nothing is."""
    known = ~np.isnan(truth)
    return np.asarray(np.where(known, truth, 0.0).sum(0) / np.maximum(known.sum(0), 1))


def choice(
    truth: Shaped[np.ndarray, "record label"],
    tried: Float[np.ndarray, "k record label"],
    *,
    regression: bool,
) -> int:
    """Return which of the tried answers fits best; the first of equals."""
    truth = np.asarray(truth, float)
    scores = [-macro_of(rmse)(truth, said) if regression else macro_auroc(truth, said) for said in tried]
    return int(np.argmax(np.nan_to_num(scores, nan=-np.inf)))
