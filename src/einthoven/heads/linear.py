"""The head of the PTB-XL benchmark: concat pooling, then small dense layers to one logit per label.

Strodthoff et al. 2021, doi:10.1109/JBHI.2020.3022989. `hidden = []` makes it one linear layer.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from einthoven.layers.conv import kaiming
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
        widths = [self.pool.dim, *hidden, labels]
        layers: list[nn.Module] = []
        for i, (width, after) in enumerate(pairwise(widths)):
            last = i == len(hidden)
            layers += [nn.BatchNorm1d(width), nn.Dropout(dropout if last else dropout / 2)]
            layers += [nn.Linear(width, after)] if last else [nn.Linear(width, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        kaiming(self)

    def forward(self, tokens: Tokens) -> dict[str, Tensor]:
        """Classify."""
        return {"logits": self.layers(self.pool(tokens))}
