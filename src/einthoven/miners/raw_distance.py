"""Triplets by how far whole raw ECGs lie apart: no label is read.

"Deep Metric Learning for the Hemodynamics Inference with Electrocardiogram Signals", Proceedings of
Machine Learning Research 219, 2023.
"""

from typing import Literal

import torch

from einthoven.layers.pick import near_and_far
from einthoven.types import Batch, Distance, Miner, Outputs, Triplets

__all__ = ["RawDistance"]


class RawDistance(Miner):
    """Positive: the nearest raw ECG in the batch; negative: one of the `top_k` farthest, or "any" other.

    Distances are between records, as stored: crops and augmentations change nothing, and a record counts
    once however many views it has. No view of the anchor's record is its positive or negative; which view
    of another record is chosen, is chance. A negative is farther than the positive, so an anchor needs two
    other records in the batch, and gets no triplet where all are equally far.
    """

    def __init__(self, *, distance: Distance, negative: Literal["far", "any"] = "far", top_k: int = 2):
        super().__init__()
        if top_k < 1:
            raise ValueError(f"Miner 'raw_distance' needs top_k from 1, got {top_k}.")
        self.distance, self.count = distance, top_k if negative == "far" else None

    def forward(self, outputs: Outputs, batch: Batch) -> Triplets:
        """Choose by `batch.row`."""
        rows, record = batch.row.unique(return_inverse=True)
        apart = self.distance.among(rows.cpu().numpy())
        table = torch.tensor(apart, dtype=torch.float32, device=rows.device)
        return near_and_far(table, record, count=self.count)
