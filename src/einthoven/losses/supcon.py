"""Supervised contrastive loss (Khosla et al. 2020, arXiv:2004.11362)."""

from jaxtyping import Float
from torch import Tensor

from einthoven.layers.kin import Same, itself, known, together
from einthoven.layers.space import cosines, embedded, log_sum
from einthoven.types import Batch, Loss, Outputs

__all__ = ["SupCon"]


class SupCon(Loss):
    """Mean over anchors i of the mean over their positives j of -log(e_ij / sum over k other than i of e_ik).

    e = exp(cosine / temperature); the paper's L_out. Positives have the same labels, all of them: the same
    class, or for labels that may meet, the same set. A row with an unknown label takes no part; one without
    a positive is only a negative of the others.
    """

    asks = ("embedding",)
    serves: tuple[str, ...] = ("labels", "multiclass")

    def __init__(self, *, same: Same = "target", temperature: float = 0.1):
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"Loss 'supcon' needs a temperature above 0, got {temperature:g}.")
        self.same, self.temperature = same, temperature
        if same != "target":
            self.serves = ("labels", "multiclass", "regression", "unlabelled")

    def forward(self, outputs: Outputs, batch: Batch) -> Float[Tensor, ""]:
        """Compare all rows in `embedding`."""
        score, kin = cosines(embedded(outputs)) / self.temperature, together(batch, self.same)
        lost = log_sum(score, known(batch, self.same) & ~itself(kin)) - score
        positives = kin.sum(1)
        each = (lost * kin).sum(1) / positives.clamp(min=1)
        return each.sum() / (positives > 0).sum().clamp(min=1)
