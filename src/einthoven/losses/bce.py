"""Binary cross-entropy, one per label."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from einthoven.layers.known import average, known
from einthoven.types import Batch, Loss, Outputs

__all__ = ["BCE"]


class BCE(Loss):
    """Mean over known labels of -log p for present and -log(1 - p) for absent ones."""

    serves = ("labels",)

    def forward(self, outputs: Outputs, batch: Batch) -> Float[Tensor, ""]:
        """Compare `logits` with the target."""
        target, where = known(batch)
        logits = outputs["logits"].float()
        return average(F.binary_cross_entropy_with_logits(logits, target, reduction="none"), where)
