"""The head of the PTB-XL benchmark: concat pooling, then small dense layers to one logit per label.

Strodthoff et al. 2021, doi:10.1109/JBHI.2020.3022989. `hidden = []` makes it one linear layer.
"""

from collections.abc import Sequence

from torch import Tensor

from einthoven.layers.conv import kaiming
from einthoven.layers.dense import dense
from einthoven.layers.pool import Pool
from einthoven.types import Head, Tokens

__all__ = ["Linear"]


class Linear(Head):
    """Batch norm, dropout and a linear layer per stage, ReLU between; gives `logits`.

    `dropout` is that of the last stage; the earlier ones drop half as much.
    """

    def __init__(
        self,
        dim: int,
        labels: int,
        *,
        pool: Sequence[str] = ("max", "mean"),
        hidden: Sequence[int] = (128,),
        dropout: float = 0.5,
    ):
        super().__init__()
        self.pool = Pool(dim, pool)
        self.layers = dense(self.pool.dim, hidden, labels, dropout)
        kaiming(self)

    def forward(self, tokens: Tokens) -> dict[str, Tensor]:
        """Classify."""
        return {"logits": self.layers(self.pool(tokens))}
