"""Several views of each record, for losses that compare them."""

from typing import ClassVar

import torch

from einthoven.types import Augment, Batch

__all__ = ["Repeat"]


class Repeat(Augment):
    """Repeat a batch `views` times: all first views, then all second ones.

    The augmentations that follow make them differ.
    """

    views: ClassVar[bool] = True

    def __init__(self, *, views: int = 2):
        super().__init__()
        if views < 2:
            raise ValueError(f"Augment 'repeat' makes 2 views or more of a record, got views = {views}.")
        self.times = views

    def forward(self, batch: Batch) -> Batch:
        """Repeat."""
        return batch.take(torch.arange(len(batch.row), device=batch.row.device).repeat(self.times))
