"""Huber's loss: squared near zero, linear far away (Huber 1964, doi:10.1214/aoms/1177703732)."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from einthoven.layers.known import average, known
from einthoven.types import Batch, Loss, Outputs

__all__ = ["Huber"]


class Huber(Loss):
    """Over known values; `delta` is where it turns linear, in the unit of the scaled target."""

    serves = ("regression",)

    def __init__(self, *, delta: float = 1.0):
        super().__init__()
        self.delta = delta

    def forward(self, outputs: Outputs, batch: Batch) -> Float[Tensor, ""]:
        """Compare `logits` with the target."""
        target, where = known(batch)
        logits = outputs["logits"].float()
        return average(F.huber_loss(logits, target, reduction="none", delta=self.delta), where)
