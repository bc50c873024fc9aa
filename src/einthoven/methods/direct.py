"""Backbone, heads, losses: supervised, decoupled, metric and contrastive learning alike."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from einthoven.layers.paired import all_alike, spreads
from einthoven.layers.several import Heads, Losses
from einthoven.types import Backbone, Batch, Method, Outputs

__all__ = ["Direct"]


class Direct(Method):
    """What differs between these families is the heads, the losses, the sampler and the augments."""

    def __init__(self, backbone: Backbone, heads: Heads, losses: Losses):
        super().__init__()
        self.backbone, self.heads, self.losses = backbone, heads, losses

    def outputs(self, batch: Batch) -> Outputs:
        """Answer."""
        outputs: Outputs = self.heads(self.backbone(batch.ecg, batch.leads))
        return outputs

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Learn; on validation, measure whether the embeddings of ECGs still differ."""
        outputs = self.outputs(batch)
        logs: dict[str, Tensor] = self.losses(outputs, batch)
        if self.training or "embedding" not in outputs:
            return logs
        return logs | spreads({"embedding": outputs["embedding"]})

    def alarms(self, logs: Mapping[str, float]) -> Sequence[str]:
        """Say whether all embeddings are alike; one direction is enough, for numbers order ECGs along one."""
        return all_alike({"embedding_sd": logs.get("embedding_sd", 1.0)}, {"embedding": "ECG"})
