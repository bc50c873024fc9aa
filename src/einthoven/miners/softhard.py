"""Triplets harder than the easiest: a positive beyond some negative, a negative before some positive.

Roth et al. 2020, arXiv:2002.08473; the hardest of each anchor: Hermans et al. 2017, arXiv:1703.07737.
"""

from typing import ClassVar

import torch

from einthoven.layers.pick import plain_distances, prefer, same_and_other_class, triplets
from einthoven.types import Batch, Miner, Outputs, Triplets

__all__ = ["Softhard"]


class Softhard(Miner):
    """Positive: farther than the nearest negative; negative: nearer than the farthest positive.

    Each is chosen at random among those, or, where there are none, among all of its kind. With `hardest` it
    is the farthest positive and the nearest negative ("batch hard"); chance decides between equals alone.
    Distances are Euclidean, of embeddings; their squares would choose the same. Classes, unknown labels and
    views are as for `n_pair`.
    """

    asks: ClassVar[tuple[str, ...]] = ("embedding",)
    serves = ("labels", "multiclass")

    def __init__(self, *, hardest: bool = False):
        super().__init__()
        self.hardest = hardest

    def forward(self, outputs: Outputs, batch: Batch) -> Triplets:
        """Choose by the target and `embedding`."""
        same, other = same_and_other_class(batch)
        away = plain_distances(outputs)
        nearest_negative = away.masked_fill(~other, torch.inf).amin(1, keepdim=True)
        farthest_positive = away.masked_fill(~same, -torch.inf).amax(1, keepdim=True)
        if self.hardest:
            return triplets(same & (away == farthest_positive), other & (away == nearest_negative))
        positive = prefer(same & (away > nearest_negative), same)
        return triplets(positive, prefer(other & (away < farthest_positive), other))
