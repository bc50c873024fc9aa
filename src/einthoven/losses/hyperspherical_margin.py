"""Hyperspherical margin weighting: samples that lie nearer to another class's prototype count less.

Zhang et al. 2024 (AAAI) for classes that exclude each other; for labels that may meet, our extension.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from einthoven.layers.known import average, known
from einthoven.types import Batch, Loss, Outputs

__all__ = ["HypersphericalMargin"]


class HypersphericalMargin(Loss):
    """Cross-entropy (BCE for labels), each sample (each sample's label) times how far its label is believed.

    The distance to a prototype is d = (1 - cosine) / 2. Classes: d_y is that of the sample's own class, d1
    of the nearest other one, d2 the mean of the next k = max(int(0.01 (C - 2)), 1) others. The weight

        (sigmoid(s (d1 - d_y)) + exp(s (d1 - d2))) / 2,    s = `sharpness`

    is in (0, 1) since d1 <= d2: about 1 where the own class is clearly nearest and the others are equally
    far, about 1/2 where they are not, and about 0 where one other class is nearer than the own and than all
    the rest, as for a wrong label. Two classes have no d2: their weight is the sigmoid.

    Labels: the prototype is w for present and -w for absent, d = (1 -+ cosine) / 2, and the weight
    sigmoid(s (d_other - d_own)).

    Weights are averaged over what each record's were in all epochs i so far, in the proportions
    exp(1 + cos(pi i / E)), where i / E is the share of the training that was done then. Early epochs so
    count up to 7.4 times as much as late ones: a network learns what is common before it learns wrong
    labels by heart, so its early doubts are the ones to trust. During the first `warmup` of the training
    the weights are noted, and 1 is used.

    No weight is used, nor noted, in eval mode. Outside a run (no `records` and `steps`) there is nothing to
    remember: each call weighs by its own distances.
    """

    asks = ("logits", "cosine")
    serves = ("labels", "multiclass")

    def __init__(
        self,
        labels: int = 0,
        exclusive: bool = False,
        records: int = 0,
        steps: int = 0,
        *,
        sharpness: float = 100.0,
        warmup: float = 1 / 3,
    ):
        super().__init__()
        if not 0 <= warmup <= 1 or not sharpness > 0:
            raise ValueError(
                "Loss 'hyperspherical_margin' needs a warmup from 0 to 1 and sharpness above 0, "
                f"got {warmup:g} and {sharpness:g}."
            )
        self.exclusive, self.steps, self.warmup, self.sharpness = exclusive, steps, warmup, sharpness
        self.remembers = records > 0 and steps > 0
        # The memory of a training, not weights of a model: saved to go on from, not to answer with.
        size = records if self.remembers else 0
        self.register_buffer("sum", torch.zeros(size, 1 if exclusive else labels), persistent=False)
        self.register_buffer("mass", torch.zeros(size, 1), persistent=False)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64), persistent=False)
        self.sum: Tensor
        self.mass: Tensor
        self.step: Tensor

    def forward(self, outputs: Outputs, batch: Batch) -> Float[Tensor, ""]:
        """Compare `logits` with the target; weigh by `cosine`."""
        target, where = known(batch)
        logits = outputs["logits"].float()
        if self.exclusive:
            each = -(target * logits.log_softmax(1)).sum(1, keepdim=True)
            where = where.all(1, keepdim=True)
        else:
            each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        if self.training:
            each = each * self.weigh(outputs["cosine"].detach().float(), target, batch.row)
        return average(each, where)

    @torch.no_grad()
    def weigh(
        self,
        cosine: Float[Tensor, "batch label"],
        target: Float[Tensor, "batch label"],
        row: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch weight"]:
        """Return what each sample counts now, and note it; unknown targets get any weight."""
        now = of_classes(cosine, target, self.sharpness) if self.exclusive else self.of_labels(cosine, target)
        if not self.remembers:
            return now
        done = self.step / self.steps
        portion = (1 + (torch.pi * done).cos()).exp()
        self.sum.index_add_(0, row, portion * now)
        self.mass.index_add_(0, row, portion.expand(len(row), 1))
        self.step += 1
        return torch.where(done < self.warmup, 1.0, self.sum[row] / self.mass[row])

    def of_labels(
        self, cosine: Float[Tensor, "batch label"], target: Float[Tensor, "batch label"]
    ) -> Float[Tensor, "batch label"]:
        """Weigh by which of w and -w is nearer: d_other - d_own is the cosine, or less it where absent."""
        return (self.sharpness * (2 * target - 1) * cosine).sigmoid()


def of_classes(
    cosine: Float[Tensor, "batch label"], target: Float[Tensor, "batch label"], sharpness: float
) -> Float[Tensor, "batch 1"]:
    """Weigh by the own class, the nearest other one and the ones after it."""
    distance, place = (1 - cosine) / 2, target.argmax(1, keepdim=True)
    own = distance.gather(1, place)
    others = distance.scatter(1, place, torch.inf).sort(1).values[:, :-1]
    nearest, classes = others[:, :1], distance.shape[1]
    apart = (sharpness * (nearest - own)).sigmoid()
    if classes < 3:
        return apart
    few = max(int(0.01 * (classes - 2)), 1)
    alone = (sharpness * (nearest - others[:, 1 : 1 + few].mean(1, keepdim=True))).exp()
    return (apart + alone) / 2
