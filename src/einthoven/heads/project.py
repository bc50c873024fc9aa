"""Pool, then project: the space in which distances are learned."""

from collections.abc import Sequence

from torch import Tensor, nn

from einthoven.layers.pool import Pool
from einthoven.types import Head, Tokens

__all__ = ["Project"]


class Project(Head):
    """One linear layer into `size` dimensions; gives `embedding`."""

    gives = ("embedding",)

    def __init__(self, dim: int, *, size: int = 128, pool: Sequence[str] = ("mean",)):
        super().__init__()
        self.pool = Pool(dim, pool)
        self.linear = nn.Linear(self.pool.dim, size)

    def forward(self, tokens: Tokens) -> dict[str, Tensor]:
        """Project."""
        return {"embedding": self.linear(self.pool(tokens))}
