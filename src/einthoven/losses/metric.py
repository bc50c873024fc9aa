"""Any loss of pytorch-metric-learning by its class name (Musgrave et al. 2020, arXiv:2008.09164)."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from einthoven.layers.kin import Same, identity, itself, known, together
from einthoven.layers.space import embedded
from einthoven.parts import hint
from einthoven.types import Batch, Loss, Miner, Outputs

__all__ = ["Metric"]

# Bases of the others; embeddings read as logits; no labels; two lists of embeddings.
UNFIT = ("BaseMetricLossFunction", "GenericPairLoss", "InstanceLoss", "ManifoldLoss", "VICRegLoss")


class Metric(Loss):
    """Loss `CircleLoss` with `options = {m = 0.4}`, say; with a miner, on its triplets.

    Rows with the same labels are of one class (without a task: views of one record); rows with an unknown
    label take no part. Losses with weights for each class (`num_classes`, `embedding_size`) need classes that
    exclude each other, or one label.
    """

    asks = ("embedding",)
    serves: tuple[str, ...] = ("labels", "multiclass", "unlabelled")

    def __init__(
        self,
        labels: int = 0,
        exclusive: bool = False,
        *,
        loss: str = "MultiSimilarityLoss",
        options: Mapping[str, Any] | None = None,
        miner: Miner | None = None,
    ):
        super().__init__()
        self.loss, self.miner = published(loss, options or {}), miner
        self.numbered = "num_classes" in (options or {})
        if self.numbered and not (exclusive or labels == 1):
            raise ValueError(f"{loss} has weights for each class: it needs classes that exclude each other.")
        if self.numbered:
            self.serves = ("labels", "multiclass")
        elif miner is not None:
            self.serves = ("labels", "multiclass", "regression", "unlabelled")

    def forward(self, outputs: Outputs, batch: Batch) -> Float[Tensor, ""]:
        """Compare all rows, or the mined triplets, in `embedding`."""
        labelled = self.numbered or (batch.target is not None and batch.target.shape[1] > 0)
        same: Same = "target" if labelled else "record"
        embedding, classes, mined = embedded(outputs), self.classes(batch, same), None
        if self.miner is not None:
            mined = tuple(self.miner(outputs, batch))
        else:
            part = known(batch, same)
            embedding, classes = embedding[part], classes[part]
        if len(embedding) < 2 or (mined and not len(mined[0])):
            return embedding.sum() * 0
        with torch.autocast(embedding.device.type, enabled=False):
            value: Tensor = self.loss(embedding, classes, mined)
        return value

    def classes(self, batch: Batch, same: Same) -> Int[Tensor, " batch"]:
        """Number the classes of a batch; any number where unknown."""
        if self.numbered:  # its weights know them by number
            target = identity(batch, same).nan_to_num()
            return target.argmax(1) if target.shape[1] > 1 else target[:, 0].long()
        kin = together(batch, same)
        return (kin | itself(kin)).int().argmax(1)  # the first row of each class


def published(loss: str, options: Mapping[str, Any]) -> nn.Module:
    """Build a loss of pytorch-metric-learning."""
    try:
        from pytorch_metric_learning import losses
    except ImportError as missing:
        raise ValueError("Loss 'metric' needs: pip install 'einthoven[metric]'") from missing
    known = [
        key
        for key, part in vars(losses).items()
        if inspect.isclass(part) and issubclass(part, losses.BaseMetricLossFunction) and key not in UNFIT
    ]
    if loss not in known:
        raise ValueError(f"Loss 'metric' knows no {loss!r} of pytorch-metric-learning.{hint(loss, known)}")
    try:
        made: nn.Module = getattr(losses, loss)(**options)
    except (TypeError, ValueError) as wrong:
        raise ValueError(f"Loss 'metric', {loss}: {wrong}.") from wrong
    return made
