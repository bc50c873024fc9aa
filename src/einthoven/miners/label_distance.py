"""Triplets by the difference of a number: pressure, age, any column of the store."""

from jaxtyping import Float
from torch import Tensor

from einthoven.layers.kin import name
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

    def value(self, batch: Batch) -> Float[Tensor, " batch"]:
        """Return the number that is compared."""
        if not self.column:
            return name(batch, "target")[:, 0]
        if self.column not in batch.columns:
            raise ValueError(f"Miner 'label_distance' reads column {self.column!r}, which this batch lacks.")
        return batch.columns[self.column]

    def forward(self, outputs: Outputs, batch: Batch) -> Triplets:
        """Choose by value."""
        value, record = by_record(batch.row, self.value(batch).float())
        rounding = 1e-6 * value.abs().nan_to_num().amax()  # a scaled target is not exact: 61 - 60 = 60 - 59
        apart = (value[:, None] - value).abs()
        return near_and_far(apart, record, count=self.top_k, tolerance=rounding)
