"""The N-pair term: one positive against all negatives of a batch (Sohn 2016, NeurIPS).

Two losses have it: `n_pair` alone, `angular` beside its angles.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from einthoven.layers.kin import itself, together
from einthoven.layers.space import log_sum, mean, products
from einthoven.types import Batch, Miner, Triplets


def n_pair(
    embedding: Float[Tensor, "batch dim"], mined: Triplets, rivals: Bool[Tensor, "triplet batch"]
) -> Float[Tensor, ""]:
    """Average log(1 + sum over rivals n of exp(a.(n - p))) over triplets; a.(n - p) is held within +-50."""
    score = products(embedding, embedding)
    own = score[mined.anchor, mined.positive]
    gap = (score[mined.anchor] - own[:, None]).clamp(-50, 50)
    return mean(F.softplus(log_sum(gap, rivals)[:, 0]))


def rivals_of(mined: Triplets, batch: Batch, miner: Miner) -> Bool[Tensor, "triplet batch"]:
    """Say which rows are negatives of each triplet's anchor.

    Its own negatives; and every row that is somebody's negative, once however often it was mined, but
    for those that belong with the anchor: views of its record, what was mined as its positive, and rows
    with its labels if the miner reads labels, of its patient if it does not.
    """
    reads_labels = "unlabelled" not in miner.serves and batch.target is not None and batch.target.shape[1]
    kin = together(batch, "record") | together(batch, "target" if reads_labels else "patient")
    kin = kin | itself(kin)
    kin[mined.anchor, mined.positive] = True
    kin[mined.anchor, mined.negative] = False
    somebody = torch.zeros_like(kin[0])
    somebody[mined.negative] = True
    return (somebody & ~kin)[mined.anchor]


def size_of(embedding: Float[Tensor, "batch dim"], mined: Triplets) -> Float[Tensor, ""]:
    """Return the mean length of a batch's embeddings: zero where nothing was mined."""
    length: Tensor = embedding.norm(dim=1).mean()
    return length * (len(mined.anchor) > 0)
