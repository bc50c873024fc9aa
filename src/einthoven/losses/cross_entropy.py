"""Cross-entropy between classes that exclude each other."""

from jaxtyping import Float
from torch import Tensor

from einthoven.layers.known import known
from einthoven.types import Batch, Loss, Outputs

__all__ = ["CrossEntropy"]


class CrossEntropy(Loss):
    """Mean over known records of -log p(class); the target is one-hot."""

    serves = ("multiclass",)

    def forward(self, outputs: Outputs, batch: Batch) -> Float[Tensor, ""]:
        """Compare `logits` with the target."""
        target, where = known(batch)
        each = -(target * outputs["logits"].float().log_softmax(1)).sum(1)
        rows = where.all(1)
        return (each * rows).sum() / rows.sum().clamp(min=1)
