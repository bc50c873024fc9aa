"""Triplets by the difference of a number: pressure, age, any column of the store."""

from einthoven.layers.kin import gaps, number
from einthoven.layers.pick import by_record, near_and_far
from einthoven.types import Batch, Miner, Outputs, Triplets

__all__ = ["LabelDistance"]


class LabelDistance(Miner):
    """Positive: the record with the nearest value; negative: one of the `top_k` with the farthest.

    The value is that of `column` of the store, or the task's number. Among records equally near, or as far as
    the last of the farthest, chance decides. Every farthest value is one of the two ends of a batch:
    with a larger `top_k` its anchors do not all share two negatives. An anchor whose
    others are all equally far gets no triplet. Records of unknown value (NaN) take no part; no view of the
    anchor's record is its positive or negative.
    """

    serves: tuple[str, ...] = ("regression",)

    def __init__(self, *, column: str = "", top_k: int = 1):
        super().__init__()
        if top_k < 1:
            raise ValueError(f"Miner 'label_distance' needs top_k from 1, got {top_k}.")
        self.column, self.top_k = column, top_k
        if column:
            self.reads, self.serves = (column,), Miner.serves

    def forward(self, outputs: Outputs, batch: Batch) -> Triplets:
        """Choose by value."""
        value = number(batch, self.column, "Miner 'label_distance'")
        value, record = by_record(batch.row, value)
        apart, rounding = gaps(value)
        return near_and_far(apart, record, count=self.top_k, tolerance=rounding)
