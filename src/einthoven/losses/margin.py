"""Margin loss: positives within a learned radius of the anchor, negatives beyond it.

Wu et al. 2017 (arXiv:1706.07567).
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from einthoven.layers.space import embedded, squares
from einthoven.types import Batch, Loss, Miner, Outputs

__all__ = ["Margin"]


class Margin(Loss):
    """Sum over mined triplets of relu(d(a, p) - r + margin) + relu(r - d(a, n) + margin), by terms above 0.

    d = sqrt(|x - y|^2 + 1e-8) of embeddings as they come. The radius r is learned, one for each label, from
    `beta` on; give it a rate of its own with `lr`. An anchor's is the mean over the labels that it has. One
    more radius serves anchors that have none or are unlabelled, and every anchor of a regression. Weight
    decay leaves radii alone. Nothing keeps one above 0, and nothing needs to: below it every positive pulls
    it up, and no more negatives push it down.
    """

    asks = ("embedding",)
    serves = ("labels", "multiclass", "regression", "unlabelled")
    undecayed: ClassVar[tuple[str, ...]] = ("beta",)  # a radius is a length in the space, not a slope

    def __init__(self, labels: int = 0, *, miner: Miner, margin: float = 0.2, beta: float = 1.2):
        super().__init__()
        if margin < 0 or beta <= 0:
            raise ValueError(
                f"Loss 'margin' needs a margin from 0 and beta above 0, got {margin:g} and {beta:g}."
            )
        self.miner, self.margin = miner, margin
        self.beta = nn.Parameter(torch.full((labels + 1,), beta))

    def forward(self, outputs: Outputs, batch: Batch) -> Float[Tensor, ""]:
        """Compare the mined triplets in `embedding`."""
        mined, embedding = self.miner(outputs, batch), embedded(outputs)
        radius = self.radius(batch)[mined.anchor]
        near = (squares(embedding, mined.anchor, mined.positive) + 1e-8).sqrt()
        far = (squares(embedding, mined.anchor, mined.negative) + 1e-8).sqrt()
        each = torch.stack([near - radius + self.margin, radius - far + self.margin]).relu()
        return each.sum() / (each > 0).sum().clamp(min=1)

    def radius(self, batch: Batch) -> Float[Tensor, " batch"]:
        """Return each row's radius."""
        target = batch.target
        if target is None or len(self.beta) == 1:
            return self.beta[-1].expand(len(batch.row))
        yes_or_no = ((target == 0) | (target == 1) | target.isnan()).all()  # a regression is neither
        has = (target == 1) & yes_or_no
        share = torch.cat([has, ~has.any(1, keepdim=True)], 1).to(self.beta.dtype)
        return (share * self.beta).sum(1) / share.sum(1)
