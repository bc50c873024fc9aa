"""A semi-hard triplet loss in each label's own space.

Zhang et al. 2023, doi:10.1016/j.knosys.2023.110298, after Schroff et al. 2015 (arXiv:1503.03832).
"""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from einthoven.layers.known import known
from einthoven.types import Batch, Loss, Outputs

__all__ = ["LabelTriplet"]


class LabelTriplet(Loss):
    """Draw records with one value of a label together and those with the other apart, on the unit sphere.

    For each label the mean, over ordered pairs of records with the same value, of
    relu(margin + d(i, j) - d(i, n)), d the squared distance (0 to 4) and n the semi-hard negative. Then
    the mean over the labels that hold both values in the batch; with `absent = "collapse"`, as published,
    over all labels, those with one value counting as margin + d(i, j). `pairs = "positives"` anchors on
    records that have the label only, instead of absent pairs too.
    """

    serves = ("labels", "multiclass")
    asks: ClassVar[tuple[str, ...]] = ("label_embedding",)

    def __init__(
        self,
        *,
        margin: float = 2.0,
        absent: Literal["skip", "collapse"] = "skip",
        pairs: Literal["all", "positives"] = "all",
    ):
        super().__init__()
        if margin <= 0:
            raise ValueError(f"Loss 'label_triplet' needs a margin above 0, got {margin}.")
        self.margin, self.absent, self.pairs = margin, absent, pairs

    def forward(self, outputs: Outputs, batch: Batch) -> Float[Tensor, ""]:
        """Compare the records of a batch in `label_embedding`."""
        from einthoven.layers.semihard import Values, slopes  # numba: `einthoven list` need not wait for it

        target, where = known(batch)
        with torch.autocast(target.device.type, enabled=False):
            unit = F.normalize(outputs["label_embedding"].float(), dim=2).transpose(0, 1)
            distance = (2 - 2 * unit @ unit.mT).clamp(min=0)
        present, absent = ((target > 0.5) & where).T, ((target <= 0.5) & where).T
        values = Values(present, absent, present if self.pairs == "positives" else present | absent)
        slope, share = slopes(distance, values, self.margin)
        part = (values.pairs() > 0) & values.both()
        if self.absent == "collapse":
            alone = (values.pairs() > 0) & ~values.both()
            slope = slope + values.same() * (alone / values.pairs().clamp(min=1))[:, None, None]
            share, part = share + alone, torch.ones_like(part)
        return ((slope * distance).sum() + self.margin * share.sum()) / part.sum().clamp(min=1)
