"""Every class equally often, however rare."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from einthoven.types import Sampler

__all__ = ["Balanced"]


class Balanced(Sampler):
    """Draw a class, then one of its records, with repetition; an epoch is as long as the set.

    The classes are the labels, and "none of them" if some records have none.
    """

    def __init__(
        self,
        rows: Int[Tensor, " record"],
        targets: Float[Tensor, "record label"],
        batch: int,
        seed: int,
    ):
        self.rows, self.batch, self.seed = rows, min(batch, len(rows)), seed
        self.steps = len(rows) // self.batch
        known = ~targets.isnan()
        if not ((targets == 0) | (targets == 1) | ~known).all():
            raise ValueError("Sampler 'balanced' draws classes; for a regression use 'shuffled'.")
        positive = targets == 1
        member = torch.cat([positive, (known & ~positive).all(1, keepdim=True)], 1)
        self.groups = [where.nonzero()[:, 0] for where in member.T if where.any()]

    def plan(self, epoch: int) -> Int[Tensor, "step batch"]:
        """Draw by (seed, epoch)."""
        chance = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        count = self.steps * self.batch
        group = torch.randint(len(self.groups), (count,), generator=chance)
        luck = torch.rand(count, generator=chance, dtype=torch.float64)
        chosen = torch.empty(count, dtype=torch.long)
        for number, members in enumerate(self.groups):
            mine = group == number
            chosen[mine] = members[(luck[mine] * len(members)).long()]
        return self.rows[chosen].view(self.steps, self.batch)
