"""Backbone, heads, losses: supervised, decoupled, metric and contrastive learning alike."""

from torch import Tensor

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
        """Learn."""
        logs: dict[str, Tensor] = self.losses(self.outputs(batch), batch)
        return logs
