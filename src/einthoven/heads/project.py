"""Pool, then project: the space in which distances are learned."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from einthoven.layers.pool import Pool
from einthoven.types import Head, Tokens

__all__ = ["Project"]


class Project(Head):
    """One linear layer into `size` dimensions, or with `hidden` a small network; gives `embedding`.

    `hidden` is the width of one layer before (linear, batch norm, ReLU), as in SimCLR's projection.
    `normalise` puts the embedding on the unit sphere.
    """

    gives = ("embedding",)

    def __init__(
        self,
        dim: int,
        *,
        size: int = 128,
        hidden: int = 0,
        normalise: bool = False,
        pool: Sequence[str] = ("mean",),
    ):
        super().__init__()
        if size < 1 or hidden < 0:
            raise ValueError(f"Head 'project' needs size from 1 and hidden from 0, got {size} and {hidden}.")
        self.pool, self.normalise = Pool(dim, pool), normalise
        width = hidden or self.pool.dim
        self.linear = nn.Linear(width, size)
        self.hidden: nn.Module = nn.Identity()
        if hidden:  # without a bias: the batch norm has one
            before = nn.Linear(self.pool.dim, hidden, bias=False)
            self.hidden = nn.Sequential(before, nn.BatchNorm1d(hidden), nn.ReLU())

    def forward(self, tokens: Tokens) -> dict[str, Tensor]:
        """Project."""
        embedding: Tensor = self.linear(self.hidden(self.pool(tokens)))
        return {"embedding": F.normalize(embedding.float(), dim=1) if self.normalise else embedding}
