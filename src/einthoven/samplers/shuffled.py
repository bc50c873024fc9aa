"""Every record once per epoch, in a new order."""

import torch
from jaxtyping import Int
from torch import Tensor

from einthoven.types import Sampler

__all__ = ["Shuffled"]


class Shuffled(Sampler):
    """The default; the records that do not fill a batch wait for another epoch."""

    def __init__(self, rows: Int[Tensor, " record"], batch: int, seed: int):
        self.rows, self.batch, self.seed = rows, min(batch, len(rows)), seed
        self.steps = len(rows) // self.batch

    def plan(self, epoch: int) -> Int[Tensor, "step batch"]:
        """Shuffle by (seed, epoch)."""
        chance = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.rows), generator=chance)[: self.steps * self.batch]
        return self.rows[order].view(self.steps, self.batch)
