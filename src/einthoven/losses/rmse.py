"""Root mean squared error."""

from jaxtyping import Float
from torch import Tensor

from einthoven.layers.known import average, known
from einthoven.types import Batch, Loss, Outputs

__all__ = ["RMSE"]


class RMSE(Loss):
    """Over known values, in the unit of the scaled target; smooth at zero."""

    serves = ("regression",)

    def forward(self, outputs: Outputs, batch: Batch) -> Float[Tensor, ""]:
        """Compare `logits` with the target."""
        target, where = known(batch)
        return (average((outputs["logits"].float() - target).square(), where) + 1e-6).sqrt()
