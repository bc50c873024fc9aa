"""Angular loss: the angle at the negative, in the triangle with anchor and positive, below a bound.

Wang et al. 2017 (arXiv:1708.01682), together with the N-pair loss as there.
"""

import math

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from einthoven.layers.n_pair import n_pair, rivals_of, size_of
from einthoven.layers.space import embedded, mean
from einthoven.types import Batch, Loss, Miner, Outputs, Triplets

__all__ = ["Angular"]


class Angular(Loss):
    """`pairs` x N-pair + `angles` x mean log(1 + e^f) over mined triplets + `size` x mean |z|.

    f = 4 tan^2(alpha) (a + p).n - 2 (1 + tan^2(alpha)) a.p on the unit sphere, one negative per triplet;
    `alpha` in degrees. The N-pair term and the lengths |z| are those of loss `n_pair`, on embeddings as they
    come: its negatives are all of the batch, each once, without those that belong with the anchor.
    """

    asks = ("embedding",)
    serves = ("labels", "multiclass", "regression", "unlabelled")

    def __init__(
        self,
        *,
        miner: Miner,
        alpha: float = 45.0,
        pairs: float = 1.0,
        angles: float = 2.0,
        size: float = 0.005,
    ):
        super().__init__()
        if not 0 < alpha < 90 or min(pairs, angles, size) < 0:
            raise ValueError(
                f"Loss 'angular' needs alpha between 0 and 90 degrees, got {alpha:g}; and pairs, angles and "
                f"size from 0, got {pairs:g}, {angles:g} and {size:g}."
            )
        self.miner, self.pairs, self.angles, self.size = miner, pairs, angles, size
        self.bound = math.tan(math.radians(alpha)) ** 2

    def forward(self, outputs: Outputs, batch: Batch) -> Float[Tensor, ""]:
        """Compare the mined triplets in `embedding`."""
        mined, embedding = self.miner(outputs, batch), embedded(outputs)
        pairs = n_pair(embedding, mined, rivals_of(mined, batch, self.miner))
        angles = self.angle(F.normalize(embedding, dim=1), mined)
        return self.pairs * pairs + self.angles * angles + self.size * size_of(embedding, mined)

    def angle(self, unit: Float[Tensor, "batch dim"], mined: Triplets) -> Float[Tensor, ""]:
        """Average log(1 + e^f) over the triplets of a batch on the unit sphere."""
        anchor, positive, negative = (unit[place] for place in mined)
        wide = ((anchor + positive) * negative).sum(1)
        f = 4 * self.bound * wide - 2 * (1 + self.bound) * (anchor * positive).sum(1)
        return mean(F.softplus(f))
