"""Triplet loss: the positive nearer than the negative, by a margin.

Schroff et al. 2015 (arXiv:1503.03832); soft margin: Hermans et al. 2017 (arXiv:1703.07737).
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from einthoven.layers.space import embedded, mean, root, squares
from einthoven.types import Batch, Loss, Miner, Outputs

__all__ = ["Triplet"]


class Triplet(Loss):
    """Mean over mined triplets of relu(d(a, p) - d(a, n) + margin), satisfied ones counting as zeros.

    d is the Euclidean distance of embeddings as they come, not normalised; `squared` by default. `soft`
    takes log(1 + exp(d(a, p) - d(a, n))) instead, which has no margin.
    """

    asks = ("embedding",)
    serves = ("labels", "multiclass", "regression", "unlabelled")

    def __init__(self, *, miner: Miner, margin: float = 0.2, squared: bool = True, soft: bool = False):
        super().__init__()
        if margin < 0:
            raise ValueError(f"Loss 'triplet' needs a margin from 0, got {margin:g}.")
        self.miner, self.margin, self.squared, self.soft = miner, margin, squared, soft

    def forward(self, outputs: Outputs, batch: Batch) -> Float[Tensor, ""]:
        """Compare the mined triplets in `embedding`."""
        mined, embedding = self.miner(outputs, batch), embedded(outputs)
        near = squares(embedding, mined.anchor, mined.positive)
        far = squares(embedding, mined.anchor, mined.negative)
        gap = near - far if self.squared else root(near) - root(far)
        return mean(F.softplus(gap) if self.soft else (gap + self.margin).relu())
