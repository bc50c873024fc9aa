"""Triplets by how much two sets of labels share (Jaccard's index)."""

from einthoven.layers.kin import identity
from einthoven.layers.pick import by_record, near_and_far
from einthoven.layers.space import products
from einthoven.types import Batch, Miner, Outputs, Triplets

__all__ = ["LabelOverlap"]


class LabelOverlap(Miner):
    """Positive: the record whose labels overlap most with the anchor's; negative: least.

    Overlap is the number of labels that both have, divided by that of labels that either has; two records
    without any label overlap fully (1). Chance decides among equals. The negative overlaps less than the
    positive; an anchor for which there is no such pair gets no triplet. Records with an unknown label (NaN)
    take no part; no view of the anchor's record is its positive or negative.
    """

    serves = ("labels", "multiclass")

    def forward(self, outputs: Outputs, batch: Batch) -> Triplets:
        """Choose by the target."""
        target, record = by_record(batch.row, identity(batch, "target"))
        both = products(target, target)  # NaN where either is unknown
        has = target.sum(1)
        either = has[:, None] + has - both
        overlap = (both / either).where(either != 0, 1.0)
        # Without any overlap the nearest lies at 1, and nothing lies farther: no triplet.
        return near_and_far(1 - overlap, record)
