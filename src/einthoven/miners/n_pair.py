"""Triplets by class, at random."""

from einthoven.layers.pick import same_and_other_class, triplets
from einthoven.types import Batch, Miner, Outputs, Triplets

__all__ = ["NPair"]


class NPair(Miner):
    """Positive: any other record of the same class; negative: any record of another class.

    With several labels a class is an identical set of them. An anchor without a positive or a negative gets
    no triplet; records with an unknown label (NaN) take no part; no view of the anchor's record is its
    positive or negative.
    """

    serves = ("labels", "multiclass")

    def forward(self, outputs: Outputs, batch: Batch) -> Triplets:
        """Choose by the target."""
        return triplets(*same_and_other_class(batch))
