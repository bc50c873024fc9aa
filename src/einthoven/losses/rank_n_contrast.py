"""Rank-N-Contrast: order a space as a number orders its records (Zha et al. 2023, arXiv:2210.01189)."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from einthoven.layers.kin import gaps, itself, number
from einthoven.layers.space import embedded
from einthoven.types import Batch, Loss, Outputs

__all__ = ["RankNContrast"]


class RankNContrast(Loss):
    """Mean over pairs (i, j) of -log(s_ij / sum of s_ik over all k whose value is as far from i's as j's).

    "As far" is as far (but for rounding) or farther, j itself among them; s = exp(-distance / temperature),
    the distance of embeddings as they come, `l2` or `l1`. The value is the (first) target's, or that of any
    `column` of the store, which may be another than the task's. Records without one take no part.
    """

    asks = ("embedding",)
    serves: tuple[str, ...] = ("regression",)

    def __init__(self, *, temperature: float = 2.0, column: str = "", distance: Literal["l1", "l2"] = "l2"):
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"Loss 'rank_n_contrast' needs a temperature above 0, got {temperature:g}.")
        self.temperature, self.column, self.power = temperature, column, {"l1": 1.0, "l2": 2.0}[distance]
        if column:
            self.reads = (column,)
            self.serves = ("labels", "multiclass", "regression", "unlabelled")

    def forward(self, outputs: Outputs, batch: Batch) -> Float[Tensor, ""]:
        """Compare all rows in `embedding`."""
        value = number(batch, self.column, "Loss 'rank_n_contrast'")
        known = ~value.isnan()
        value, embedding = value[known], embedded(outputs)[known]
        exact = "donot_use_mm_for_euclid_dist"
        score = -torch.cdist(embedding, embedding, self.power, exact) / self.temperature
        gap, rounding = gaps(value)
        least, most = (  # that a gap may be; itself: nearer than all
            bound.masked_fill(itself(score), -1) for bound in ((gap - rounding).clamp(min=0), gap + rounding)
        )
        rising, order = most.sort(1)
        farther = score.gather(1, order).flip(1).logcumsumexp(1).flip(1)  # log of the sum from each place on
        first = torch.searchsorted(rising, least)  # of those as far as j
        lost = (farther.gather(1, first) - score).masked_fill(itself(score), 0)
        return lost.sum() / max(len(value) * (len(value) - 1), 1)
