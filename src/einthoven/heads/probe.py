"""A linear probe: what features tell without being changed. [train] solver = "probe" fits it exactly."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from einthoven.layers.pool import Pool
from einthoven.types import Head, Tokens

__all__ = ["Probe"]


class Probe(Head):
    """Pool, standardise, one linear layer; gives `logits`, and the vector that it reads as `pooled`."""

    gives = ("logits", "pooled")

    def __init__(self, dim: int, labels: int, *, pool: Sequence[str] = ("mean",)):
        super().__init__()
        self.pool = Pool(dim, pool)
        self.linear = nn.Linear(self.pool.dim, labels)
        self.register_buffer("mean", torch.zeros(self.pool.dim))
        self.register_buffer("scale", torch.ones(self.pool.dim))
        self.mean: Tensor
        self.scale: Tensor

    def forward(self, tokens: Tokens) -> dict[str, Tensor]:
        """Answer, and say from what."""
        pooled = self.pool(tokens).float()
        with torch.autocast(pooled.device.type, enabled=False):
            return {"logits": self.linear((pooled - self.mean) * self.scale), "pooled": pooled}

    @torch.no_grad()
    def take(
        self,
        mean: Float[Tensor, " pooled"],
        scale: Float[Tensor, " pooled"],
        weights: Float[Tensor, "pooled label"],
        level: Float[Tensor, " label"],
    ) -> None:
        """Become the probe that was fitted elsewhere."""
        for mine, given in (
            (self.mean, mean),
            (self.scale, scale),
            (self.linear.weight, weights.T),
            (self.linear.bias, level),
        ):
            mine.copy_(given)
