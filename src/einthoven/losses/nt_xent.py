"""NT-Xent: find your partner among all rows of the batch, by cosine.

Two views of a record: SimCLR (Chen et al. 2020, arXiv:2002.05709). ECGs of a patient: CLOCS (Kiyasseh et al.
2021, arXiv:2005.13249) and PCLR (Diamant et al. 2022, doi:10.1371/journal.pcbi.1009862).
"""

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from einthoven.layers.kin import itself, together
from einthoven.layers.space import cosines, embedded, log_sum
from einthoven.types import Batch, Loss, Outputs

__all__ = ["NTXent"]


class NTXent(Loss):
    """Mean over ordered pairs (i, j) that belong together of -log(e_ij / (e_ij + sum over others k of e_ik)).

    e = exp(cosine / temperature). The others are all rows that do not belong with i: a further view or ECG of
    its own is not pushed away while one is drawn near. With two rows of each record (or patient) this is
    SimCLR's loss as published. A row without a partner is only a negative of the others.
    """

    asks = ("embedding",)
    serves = ("labels", "multiclass", "regression", "unlabelled")

    def __init__(self, *, same: Literal["record", "patient"] = "record", temperature: float = 0.1):
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"Loss 'nt_xent' needs a temperature above 0, got {temperature:g}.")
        self.same, self.temperature = same, temperature

    def forward(self, outputs: Outputs, batch: Batch) -> Float[Tensor, ""]:
        """Compare all rows in `embedding`."""
        score, kin = cosines(embedded(outputs)) / self.temperature, together(batch, self.same)
        each = F.softplus(log_sum(score, ~kin & ~itself(kin)) - score)
        return (each * kin).sum() / kin.sum().clamp(min=1)
