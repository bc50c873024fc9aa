"""A head that compares directions: how near each ECG's features point to one prototype per label."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from einthoven.layers.conv import kaiming
from einthoven.layers.dense import dense
from einthoven.layers.pool import Pool
from einthoven.types import Head, Tokens

__all__ = ["Cosine"]


class Cosine(Head):
    """The stages of head `linear`, the last linear layer replaced by the angle to one prototype per label.

    Gives `cosine`, each label's cos(f, w) of features and prototype, and `logits` = s cos(f, w) + b.
    Lengths play no part (L2-normalised, as in Wang et al. 2017, arXiv:1704.06369), so a network cannot
    grow sure by growing features; how sure it gets is the one learned scale s, which begins at `scale`.
    `bias`: b begins at `prior`, the logits of the training split's prevalence, so that a cosine above 0
    means "likelier than for anyone" for a rare label too; without b, a rare label needs all cosines below 0.

    `dropout` is that of the last stage; the earlier ones drop half as much.
    """

    gives = ("logits", "cosine")

    def __init__(
        self,
        dim: int,
        labels: int,
        prior: Float[Tensor, " labels"] | None = None,
        *,
        pool: Sequence[str] = ("max", "mean"),
        hidden: Sequence[int] = (128,),
        dropout: float = 0.5,
        scale: float = 10.0,
        bias: bool = True,
    ):
        super().__init__()
        if not scale > 0:
            raise ValueError(f"Head 'cosine': scale is above 0, got {scale:g}.")
        self.pool = Pool(dim, pool)
        self.layers = dense(self.pool.dim, hidden, labels, dropout)[:-1]  # all but the last linear map
        kaiming(self)
        self.prototypes = nn.Parameter(torch.randn(labels, hidden[-1] if hidden else self.pool.dim))
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        begun = torch.zeros(labels) if prior is None else prior.float().clone()
        self.bias = nn.Parameter(begun) if bias else None

    def forward(self, tokens: Tokens) -> dict[str, Tensor]:
        """Compare; in fp32, for what reads the cosines tells small angles apart."""
        features = self.layers(self.pool(tokens))
        with torch.autocast(features.device.type, enabled=False):
            cosine = F.linear(F.normalize(features.float()), F.normalize(self.prototypes))
            logits = self.log_scale.exp() * cosine
        return {"logits": logits if self.bias is None else logits + self.bias, "cosine": cosine}
